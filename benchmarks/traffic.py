"""The messages of a measurement, shared by both load generators, so that each path has the same."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields

import orjson

from benchmarks.plan import CONTENT_BYTES

MARK_HEADER = "Bench"  # reaches the target: which message this is, and when it was sent
_CONTENT = "x" * CONTENT_BYTES


@dataclass(frozen=True, slots=True)
class Job:
    """One stream of messages."""

    url: str  # where it is posted to
    messages: int
    connections: int
    subjects: int  # a multiple of the connections
    kind: str = "other"  # `hot` or `other`: the target answers them differently
    target_url: str = ""  # in the message; "" posts the content to `url` itself, with nothing between
    lines: int = 1  # messages of one request; more than one goes as NDJSON
    rate: float = 0.0  # messages a second in all; 0: as fast as answers come
    client: str = "lean"  # `lean` or `aiohttp`
    loop: str = "uvloop"  # `uvloop` or `asyncio`

    def __post_init__(self) -> None:
        if self.subjects % self.connections:
            raise ValueError(f"{self.subjects} subjects can't be spread over {self.connections} connections")

    def as_json(self) -> str:
        """The job as a program's argument."""
        return orjson.dumps(asdict(self)).decode()


def read_job(text: str) -> Job:
    """The job of a program's argument. Raises KeyError and ValueError for an invalid one."""
    given = orjson.loads(text)
    return Job(**{field.name: given[field.name] for field in fields(Job)})


def chunks(job: Job, connection: int) -> Iterator[range]:
    """The numbers of the messages that one connection sends, request by request."""
    step = job.connections * job.lines
    for first in range(connection, job.messages, step):
        yield range(first, min(first + step, job.messages), job.connections)


def mark(job: Job, number: int, sent: float) -> str:
    """The header's value for the target: kind, subject, number within the subject, time of sending."""
    return f"{job.kind} {number % job.subjects} {number // job.subjects} {sent:.6f}"


def content() -> bytes:
    """The content of every message."""
    return _CONTENT.encode()


def message(job: Job, number: int, sent: float) -> bytes:
    """One message as a producer sends it."""
    body = {
        "url": job.target_url,
        "headers": {MARK_HEADER: mark(job, number, sent), "Content-Type": "text/plain"},
        "content": _CONTENT,
    }
    return orjson.dumps({"subject": f"{job.kind}-{number % job.subjects}", "body": body})
