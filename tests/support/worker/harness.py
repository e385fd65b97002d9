"""A worker with an in-memory backend and a target scripted by the test."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from chaski_core.message.envelope import Metadata, write_envelope
from chaski_core.message.subject import first_deduplication_id, group_id
from chaski_core.ports import OutgoingMessage, ReceivedMessage, Sent
from chaski_core.retry.outcome import ErrorClass, Outcome, class_of_status
from chaski_core.retry.policy import Ladder, RetryPolicy, Rung
from chaski_core.route.model import AllowRule, Delivery, Ordering, QueueSpec, Route, Suspend
from chaski_core.route.resolved import Generation, ResolvedRoute, RungQueue
from chaski_runtime.observability.metrics.registry import MetricsRegistry
from chaski_worker.consumer.worker import Worker
from chaski_worker.delivery.attempt import AttemptContext
from chaski_worker.guard.guard import NO_TARGET, Guard, Target
from chaski_worker.metrics import WorkerMetrics
from chaski_worker.settings import WorkerSettings
from chaski_worker.shortage.detection import Shortage, ShortageError, ShortageReason
from support.worker.memory_backend import LoopClock, MemoryBackend

NO_DESCRIPTOR = Shortage(ShortageReason.DESCRIPTORS, "no descriptor is left", "t0")
FAST, MEDIUM = Rung("fast", 5), Rung("medium", 60)
POLICY = RetryPolicy(
    (FAST, MEDIUM),
    (
        Ladder("4xx", 2, ("fast", "medium")),
        Ladder("5xx", 5, ("fast",)),
        Ladder("timeout", 1, ("fast", "medium")),
    ),
)


def make_route(
    ordering: Ordering = Ordering.RELAXED,
    *,
    policy: RetryPolicy = POLICY,
    partitions: int = 1,
    concurrency: int = 64,
    targets: int = 1,
    suspended: bool = False,
    max_age_seconds: int | None = None,
    allow: Sequence[AllowRule] = (),
) -> Route:
    """A route with one queue and `targets` allow rules, or those of `allow`."""
    return Route(
        namespace="ns",
        name="r",
        ordering=ordering,
        queues=(QueueSpec("messages", partitions),),
        allow=tuple(allow) or tuple(AllowRule(f"t{index}", f"http://t{index}.example/") for index in range(targets)),
        delivery=Delivery(30, concurrency, max_age_seconds),
        retry=policy,
        retention_days=30,
        producers=(),
        subject_group=None,
        suspend=Suspend(delivery=suspended),
        document={},
    )


def resolve(route: Route) -> ResolvedRoute:
    """The route's queues in memory."""
    urls = tuple(f"mem://p{index}" for index in range(route.queues[0].partitions))
    rungs = route.retry.rungs if route.ordering is Ordering.RELAXED else ()
    return ResolvedRoute(
        route,
        (Generation(1, {"messages": urls}),),
        tuple(RungQueue(rung, f"mem://rung-{rung.name}") for rung in rungs),
    )


@dataclass(frozen=True)
class Call:
    """One request to the target."""

    at: float  # loop seconds at the start
    done: float
    subject: str
    number: int  # of the message within its subject
    status: int


Answer = Callable[[str, int, int], Awaitable[int] | int]  # subject, number, attempt -> status; 0 means no answer


@dataclass
class FakeTarget:
    """The last step of attempts, with responses that the test scripts."""

    answer: Answer
    calls: list[Call] = field(default_factory=list)
    retry_after_seconds: Mapping[int, float] = field(default_factory=dict)  # by message number, at its first attempt
    running: int = 0
    most_running: int = 0

    async def deliver(self, attempt: AttemptContext) -> Outcome:
        """Records one call."""
        loop = asyncio.get_running_loop()
        at = loop.time()
        subject, _, number = (attempt.label or "").rpartition("-")
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            answered = self.answer(subject, int(number), attempt.number)
            status = answered if isinstance(answered, int) else await answered
        finally:
            self.running -= 1
        self.calls.append(Call(at, loop.time(), subject, int(number), status))
        target = attempt.target.rule.name if isinstance(attempt.target, Target) else NO_TARGET
        if not status:
            return Outcome(ErrorClass.TIMEOUT, detail="no answer", target=target, duration_seconds=loop.time() - at)
        return Outcome(
            class_of_status(status),
            status=status,
            detail=f"HTTP {status}",
            target=target,
            duration_seconds=loop.time() - at,
            retry_after_seconds=self.retry_after_seconds.get(int(number), 0.0) if attempt.number == 1 else 0.0,
        )

    def of(self, subject: str) -> list[Call]:
        """The calls of one subject in the order they began."""
        return sorted((call for call in self.calls if call.subject == subject), key=lambda call: call.at)


def loop_time() -> float:
    """Seconds of the running loop."""
    return asyncio.get_running_loop().time()


def short_while(condition: Callable[[str], bool], shortage: Shortage = NO_DESCRIPTOR) -> Answer:
    """The answers of a target that a shortage makes unreachable for the subjects of a condition; else 200."""

    def answer(subject: str, _number: int, _attempt: int) -> int:
        if condition(subject):
            raise ShortageError(shortage)
        return 200

    return answer


def first_attempts(calls: Sequence[Call]) -> list[int]:
    """Message numbers of one subject in the order of their first attempts."""
    return list(dict.fromkeys(call.number for call in calls))


def received_message(body: bytes, *, group: str = "s", sent_at: int = 0) -> ReceivedMessage:
    """A message as a queue returns it; `sent_at` in epoch milliseconds."""
    return ReceivedMessage("mid", "h", body, group, "d", 1, sent_at, 1, sent_at)


@dataclass
class WorkerHarness:
    """A route, its in-memory queues, and the workers that the test starts."""

    route: Route
    target: FakeTarget
    settings: WorkerSettings = field(default_factory=lambda: WorkerSettings(observe_interval_seconds=0))
    keeps: bool = False  # its queues have no retention

    def __post_init__(self) -> None:
        self.clock = LoopClock()
        self.backend = MemoryBackend(self.clock, keeps=self.keeps)
        self.resolved = resolve(self.route)
        for rung in self.resolved.rungs:
            self.backend.delayed_queue(rung.url, rung.rung.queue_delay_seconds)
        self.metrics = MetricsRegistry()
        self.worker_metrics = WorkerMetrics(self.metrics)
        self.running: list[tuple[Worker, asyncio.Task[None]]] = []

    def worker(self, only_queue: str | None = None) -> Worker:
        """A worker, not started; of all queues, or of one."""
        return Worker(
            self.resolved,
            backend=self.backend,
            guard=Guard(self.route.allow),
            deliver=self.target.deliver,
            metrics=self.worker_metrics,
            clock=self.clock,
            settings=self.settings,
            only_queue=only_queue,
            random=lambda: 0.5,
        )

    def start(self, only_queue: str | None = None) -> Worker:
        """Starts a worker."""
        worker = self.worker(only_queue)
        self.running.append((worker, asyncio.create_task(worker.run())))
        return worker

    async def stop(self) -> None:
        """Stops every worker and waits for them."""
        for worker, _ in self.running:
            worker.stop()
        await asyncio.gather(*(task for _, task in self.running))
        self.running.clear()

    async def send(self, subject: str, number: int, target: int = 0, *, host: str | None = None) -> str:
        """Sends message `number` of a subject to its queue as ingest would, for `host` or that of rule `target`; returns its id."""
        message_id = f"{subject}-{number}"
        url = self.resolved.place(subject)[2]
        document = {"subject": subject, "body": {"url": f"http://{host or f't{target}.example'}/"}}
        metadata = Metadata(id=message_id, route=self.route.key, accepted_at=self.clock.now_ms())
        message = OutgoingMessage(
            write_envelope(document, metadata), group_id(subject), first_deduplication_id(message_id)
        )
        (result,) = await self.backend.queue(url).send([message])
        assert isinstance(result, Sent)
        return message_id

    async def put(self, url: str, body: bytes, group: str = "g", key: str = "k") -> None:
        """Sends raw bytes to a queue."""
        await self.backend.queue(url).send([OutgoingMessage(body, group, key)])

    async def kill(self) -> None:
        """SIGKILL of the only worker: everything of the process ends."""
        ((_, running),) = self.running
        self.running.clear()
        for each in asyncio.all_tasks() - {asyncio.current_task()}:
            each.cancel()
        await asyncio.gather(running, return_exceptions=True)

    def repeats(self) -> int:
        """The value of `chaski_repeats_total` over all labels."""
        lines = self.metrics.render().decode().splitlines()
        return sum(int(float(line.rpartition(" ")[2])) for line in lines if line.startswith("chaski_repeats_total{"))

    async def send_to(self, url: str, subject: str) -> None:
        """Sends a message of a subject to a queue or rung, as ingest or a worker would."""
        metadata = Metadata(id=subject, route=self.route.key, accepted_at=0)
        body = write_envelope({"subject": subject, "body": {"url": "http://t0.example/"}}, metadata)
        await self.put(url, body, subject, subject)

    async def wait_until_empty(self, within: float = 100_000, poll_every: float = 0.5) -> None:
        """Waits until no queue holds a message."""
        async with asyncio.timeout(within):
            while True:
                counts = [await queue.counts() for queue in list(self.backend.queues.values())]
                if not any(count.total for count in counts):
                    return
                await asyncio.sleep(poll_every)
