"""A queue, a backend, a directory and a clock that tests hold in their hands."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from chaski_core import json_codec
from chaski_core.ports import Failed, OutgoingMessage, Sent
from chaski_core.retry.ladder import RetryPolicy
from chaski_core.route.model import Delivery, Ordering, QueueSpec, Route, SubjectGroup, Suspend
from chaski_core.route.resolved import Generation, ResolvedRoute
from chaski_ingest.auth.authenticators import Authenticated, Authenticator, NoAuthentication
from chaski_ingest.http.app import Ingest
from chaski_ingest.settings import IngestSettings
from chaski_runtime.observability.metrics.instruments import Metrics

NOW = 1_795_500_000_000
ADMITTED = Authenticated(None)
Answer = Callable[[int, OutgoingMessage], Sent | Failed]  # called with the number of the call, from 0


def accept(_: int, message: OutgoingMessage) -> Sent:
    """The answer of a queue that takes everything."""
    return Sent(message.deduplication_id, 1)


@dataclass
class FakeQueue:
    """Keeps what it is sent, in calls; answers as told, after `delay` seconds and once `open` is set."""

    url: str = "queue"
    atomic_batches: bool = False
    delay: float = 0.0
    answer: Answer = accept
    error: Exception | None = None
    calls: list[list[OutgoingMessage]] = field(default_factory=list)
    taken: list[OutgoingMessage] = field(default_factory=list)
    running: int = 0
    most_running: int = 0
    open: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.open.set()

    async def send(self, messages: Sequence[OutgoingMessage]) -> Sequence[Sent | Failed]:
        """Takes a batch."""
        number = len(self.calls)
        self.calls.append(list(messages))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(self.delay)
            await self.open.wait()
            if self.error is not None:
                raise self.error
            answers = [self.answer(number, message) for message in messages]
        finally:
            self.running -= 1
        self.taken += [m for m, answer in zip(messages, answers, strict=True) if isinstance(answer, Sent)]
        return answers

    @property
    def subjects(self) -> list[list[str]]:
        """The subjects of each call."""
        return [[subject_of(message) for message in call] for call in self.calls]


def subject_of(message: OutgoingMessage) -> str:
    """The subject that a queued message carries."""
    subject = json_codec.loads(message.body)["subject"]
    assert isinstance(subject, str)
    return subject


class FakeBackend:
    """One fake queue for each URL asked for, all made alike."""

    def __init__(self, make: Callable[[str], FakeQueue] = FakeQueue) -> None:
        self.queues: dict[str, FakeQueue] = {}
        self._make = make

    def queue(self, url: str) -> FakeQueue:
        """The queue of that URL."""
        return self.queues.setdefault(url, self._make(url))


class FakeClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.ms = NOW
        self.seconds = 0.0

    def now_ms(self) -> int:
        """Wall clock."""
        return self.ms

    def monotonic(self) -> float:
        """Seconds."""
        return self.seconds


class Directory:
    """Routes by name."""

    def __init__(self, *routes: ResolvedRoute) -> None:
        self.routes = {(each.route.namespace, each.route.name): each for each in routes}

    def find(self, namespace: str, name: str) -> ResolvedRoute | None:
        """The route of that name."""
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
    routes: Directory | None = None,
    settings: IngestSettings | None = None,
    metrics: Metrics | None = None,
    authenticator: Authenticator | None = None,
) -> Ingest:
    """An ingest over a fake backend, at a time that stands still."""
    return Ingest(
        routes or Directory(resolved()),
        backend,  # type: ignore[arg-type]  # the fake has the one method that ingest uses
        metrics or Metrics(),
        FakeClock(),
        settings or IngestSettings(),
        lambda count: b"\x5a" * count,
        authenticator=authenticator or NoAuthentication(),
    )
