"""The benchmarks of worker and ingest at the smallest size: their counts are right. Speed is not tested."""

from collections.abc import Awaitable
from typing import Any

import pytest

from benchmarks.engine import figures
from benchmarks.engine.measure import engine
from benchmarks.engine.results import CALM, FLOOR, HOT, NAIVE, OURS, SATURATED, SLOW, verdicts
from benchmarks.plan import EnginePlan

pytestmark = pytest.mark.landing

_SMALLEST = EnginePlan(
    repetitions=1,
    saturated=300,
    slow=60,
    calm=50,
    calm_rate=100.0,
    hot=100,
    naive={"saturated": 50, "slow": 10, "calm": 20, "hot": 20},
    ingest=400,
    half_ingest=400,
)


@pytest.mark.timeout(400)
async def test_each_measurement_finds_every_message_once_and_in_order() -> None:
    """All consumers under all loads, both servers, ingest at half load: no message missing, repeated or overtaken."""

    async def progress(_: str, work: Awaitable[Any]) -> Any:
        return await work

    measured = await engine(_SMALLEST, progress)
    runs = {(each.kind, each.load): each for each in measured.consumed}
    assert set(runs) == {(kind, load) for kind in (OURS, FLOOR, NAIVE) for load in (SATURATED, SLOW, CALM, HOT)}
    assert {(each.missing, each.repeated, each.out_of_order) for each in runs.values()} == {(0, 0, 0)}
    assert all((each.hot_ms > 5) is (load == HOT) for (_, load), each in runs.items())
    assert all(each.calls > 0.1 and each.peak_rss_mib > 0 for each in runs.values())
    # CPU time has a resolution of 10 ms: fewer messages may measure as zero.
    assert all(runs[kind, SATURATED].cpu > 0 for kind in (OURS, FLOOR, NAIVE))
    assert runs[NAIVE, SATURATED].calls >= 1.1  # one delete for each message, one receive for ten
    assert {each.kind: (each.missing, each.entries > 0) for each in measured.ingested} == {
        "handler": (0, False),
        OURS: (0, True),
    }
    assert measured.half.missing == 0
    assert measured.half.fastest_ms >= measured.send_ms  # every 202 came after the queue's acknowledgement
    assert all(verdict.what in figures.markdown(measured) for verdict in verdicts(measured))
