"""The size of a run: the full run for docs/performance.md, and a quick one."""

from collections.abc import Mapping
from dataclasses import dataclass

CONTENT_BYTES = 1_024
SUBJECTS = 1_000
CONNECTIONS = 50  # divides the subjects, so that each subject keeps to one connection and its messages have an order
CONCURRENCY = 64  # attempts at once: the default of `delivery.concurrencyPerPod`, and the bare client's connections
BATCH_CONNECTIONS = 8
BATCH_LINES = 500
PARTITIONS = 4

HOT_ANSWER_MS = 40
HOT_BATCH_LINES = 100
OTHER_SUBJECTS = 200


@dataclass(frozen=True, slots=True)
class EnginePlan:
    """The load of the delivery engine and of ingest on the SQS protocol."""

    repetitions: int  # of each pair: compared programs run alternately
    saturated: int
    slow: int
    calm: int
    calm_rate: float
    hot: int  # messages, 82 of 100 of one subject
    naive: Mapping[str, int]  # messages for the naive loop, by load: it is slow
    ingest: int
    half_ingest: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The number of messages of each measurement."""

    name: str
    floor_requests: int
    backlog: int  # accepted first, then drained
    together: int  # accepted and delivered at the same time
    calm_rate: int  # messages a second while latency is measured
    calm_messages: int
    hot: int  # the skew: messages of the one subject, ...
    others: int  # ... of all the others, ...
    skew_seconds: float  # ... and for how long both are sent
    engine: EnginePlan


FULL = Plan(
    name="full",
    floor_requests=30_000,
    backlog=30_000,
    together=20_000,
    calm_rate=100,
    calm_messages=2_000,
    hot=59_383,
    others=12_617,
    skew_seconds=84.0,
    engine=EnginePlan(
        repetitions=3,
        saturated=20_000,
        slow=10_000,
        calm=1_500,
        calm_rate=100.0,
        hot=2_000,
        naive={"saturated": 2_000, "slow": 200, "calm": 1_000, "hot": 500},
        ingest=20_000,
        half_ingest=20_000,
    ),
)
QUICK = Plan(
    name="quick",
    floor_requests=3_000,
    backlog=3_000,
    together=2_000,
    calm_rate=100,
    calm_messages=300,
    hot=5_938,
    others=1_262,
    skew_seconds=5.0,
    engine=EnginePlan(
        repetitions=1,
        saturated=4_000,
        slow=2_000,
        calm=300,
        calm_rate=100.0,
        hot=500,
        naive={"saturated": 200, "slow": 50, "calm": 100, "hot": 100},
        ingest=3_000,
        half_ingest=3_000,
    ),
)
