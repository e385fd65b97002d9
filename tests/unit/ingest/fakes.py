"""Fakes of a queue, a backend, a route directory and a clock."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from chaski_core import json_codec
from chaski_core.ports import Failed, OutgoingMessage, Sent
from chaski_core.retry.policy import RetryPolicy
from chaski_core.route.model import Delivery, Ordering, QueueSpec, Route, SubjectGroup, Suspend
from chaski_core.route.resolved import Generation, ResolvedRoute
from chaski_ingest.auth.authenticators import Authenticated, Authenticator, NoAuthentication
from chaski_ingest.http.app import Ingest, RouteDirectory
from chaski_ingest.metrics import IngestMetrics
from chaski_ingest.settings import IngestSettings
from chaski_runtime.observability.metrics.registry import MetricsRegistry

NOW = 1_795_500_000_000
ADMITTED = Authenticated(None)
Outcome = Callable[[int, OutgoingMessage], Sent | Failed]  # called with the number of the call, from 0


def accept(_: int, message: OutgoingMessage) -> Sent:
    """The result of a queue that accepts everything."""
    return Sent(message.deduplication_id, 1)


@dataclass
class FakeQueue:
    """Records its calls; returns `outcome` of each message after `delay` seconds and once `open` is set."""

    url: str = "queue"
    atomic_batches: bool = False
    delay: float = 0.0
    outcome: Outcome = accept
    error: Exception | None = None
    calls: list[list[OutgoingMessage]] = field(default_factory=list)
    taken: list[OutgoingMessage] = field(default_factory=list)
    running: int = 0
    max_running: int = 0
    open: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.open.set()

    async def send(self, messages: Sequence[OutgoingMessage]) -> Sequence[Sent | Failed]:
        number = len(self.calls)
        self.calls.append(list(messages))
        self.running += 1
        self.max_running = max(self.max_running, self.running)
        try:
            await asyncio.sleep(self.delay)
            await self.open.wait()
            if self.error is not None:
                raise self.error
            results = [self.outcome(number, message) for message in messages]
        finally:
            self.running -= 1
        self.taken += [m for m, result in zip(messages, results, strict=True) if isinstance(result, Sent)]
        return results

    @property
    def subjects(self) -> list[list[str]]:
        """The subjects of each call."""
        return [[subject_of(message) for message in call] for call in self.calls]


def subject_of(message: OutgoingMessage) -> str:
    """The subject of a queued message."""
    subject = json_codec.loads(message.body)["subject"]
    assert isinstance(subject, str)
    return subject


class FakeBackend:
    """One fake queue for each URL, all made by `make`."""

    def __init__(self, make: Callable[[str], FakeQueue] = FakeQueue) -> None:
        self.queues: dict[str, FakeQueue] = {}
        self._make = make

    def queue(self, url: str) -> FakeQueue:
        return self.queues.setdefault(url, self._make(url))


class FakeClock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.ms = NOW
        self.seconds = 0.0

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.seconds


class Directory:
    """Routes by name."""

    def __init__(self, *routes: ResolvedRoute) -> None:
        self.routes = {(each.route.namespace, each.route.name): each for each in routes}

    def find(self, namespace: str, name: str) -> ResolvedRoute | None:
        return self.routes.get((namespace, name))


def resolved(*, suspended: bool = False, partitions: int = 4) -> ResolvedRoute:
    """The route helpdesk/conversations: assignments in one partition, messages in four."""
    queues = (QueueSpec("assignments", 1, ("pc_assignments_*",)), QueueSpec("messages", partitions))
    group = SubjectGroup(r"^pc_[a-z]+_(\d+)", 3)
    route = Route(
        namespace="helpdesk",
        name="conversations",
        ordering=Ordering.RELAXED,
        queues=queues,
        allow=(),
        delivery=Delivery(),
        retry=RetryPolicy((), ()),
        retention_days=30,
        producers=(),
        subject_group=group,
        suspend=Suspend(ingest=suspended),
        document={},
    )
    urls = {queue.name: tuple(f"{queue.name}-{index}" for index in range(queue.partitions)) for queue in queues}
    return ResolvedRoute(route, (Generation(1, urls),), ())


def make_ingest(
    backend: object,
    *,
    routes: RouteDirectory | None = None,
    settings: IngestSettings | None = None,
    metrics: IngestMetrics | None = None,
    authenticator: Authenticator | None = None,
) -> Ingest:
    """An ingest with a fake backend and a fixed clock."""
    return Ingest(
        routes or Directory(resolved()),
        backend,  # type: ignore[arg-type]  # the fake has the one method that ingest calls
        metrics or IngestMetrics(MetricsRegistry()),
        FakeClock(),
        settings or IngestSettings(),
        lambda count: b"\x5a" * count,
        authenticator=authenticator or NoAuthentication(),
    )
