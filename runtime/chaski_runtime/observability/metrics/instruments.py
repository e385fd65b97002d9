"""What Chaski counts. Names and labels are stable and documented in docs/metrics.md; no label is unbounded."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from chaski_runtime.observability.metrics.counters import CounterTally, HistogramTally
from chaski_runtime.observability.metrics.prometheus import Values
from chaski_runtime.observability.metrics.queue_gauges import QueueGauges, QueueReading, readings
from chaski_runtime.observability.metrics.registry import MANY_SERIES, QUEUE, ROUTE, MetricsRegistry
from chaski_runtime.observability.metrics.subject_groups import SubjectGroups

__all__ = ["BufferReading", "LaneReading", "Metrics", "QueueReading", "RouteTotals", "SubjectGroups"]

_ATTEMPT_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_INGEST_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_LATENCY_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600, 14_400, 86_400)
_SHORTAGE = (*ROUTE, "target", "reason")
_BATCH_ENTRIES = (1, 2, 3, 5, 8, 10)


@dataclass(frozen=True, slots=True)
class LaneReading:
    """What a worker holds of one line."""

    namespace: str
    route: str
    queue: str  # as in `QueueReading`
    busy_lanes: int  # with an attempt under way
    waiting_lanes: int  # held, but waiting: for a slot, or for the head's delay
    held_messages: int
    held_bytes: int
    max_lanes: int  # polling stops at either cap
    max_bytes: int
    max_attempts: int  # that may run at once
    subjects: int = 0  # held now, or received within the last minute
    mean_attempt_seconds: float | None = None  # moving mean; None before the first attempt
    oldest_received_age_seconds: float | None = None  # of what was received of late, delivered since or not; None: none


@dataclass(frozen=True, slots=True)
class RouteTotals:
    """What this process has counted for one route since it started."""

    accepted: int = 0
    delivered: int = 0
    attempts: int = 0
    failed: int = 0  # attempts that were not delivered
    dead_letters: int = 0


@dataclass(frozen=True, slots=True)
class BufferReading:
    """What an ingest holds that no queue has answered for yet."""

    messages: int
    max_messages: int
    size: int  # bytes
    max_size: int


_STATUS_CLASSES = tuple(f"{number}xx" for number in range(10))


class Metrics(MetricsRegistry):
    """The metrics of ingest and workers. A call takes about a microsecond; labels are texts of the route, never free."""

    def __init__(self) -> None:
        super().__init__()
        self._lane_sources: list[Callable[[], Iterable[LaneReading]]] = []
        self._buffer_sources: list[Callable[[], Iterable[BufferReading]]] = []
        self._shortage_sources: list[Callable[[], Values]] = []
        self._lanes: tuple[LaneReading, ...] = ()
        self._buffers: tuple[BufferReading, ...] = ()
        self._define_ingest()
        self._define_worker()
        self._define_gauges()

    # ---- ingest

    def accepted(self, *, namespace: str, route: str, queue: str, subject_group: str) -> None:
        """A message was answered with 202."""
        self._accepted.add((namespace, route, queue, subject_group))

    def rejected(self, *, namespace: str, route: str, reason: str) -> None:
        """A message was answered with 4xx or 5xx. Both names are `none` where there is no such route."""
        self._rejected.add((namespace, route, reason))

    def ingest_request(self, *, kind: str, status: int, duration_seconds: float) -> None:
        """A request was answered. `kind`: single or batch."""
        self._ingest_seconds.observe((kind, _STATUS_CLASSES[status // 100]), duration_seconds)

    def send_batch(self, *, entries: int) -> None:
        """Messages went to the queue together."""
        self._send_entries.observe((), entries)

    def observe_buffer(self, read: Callable[[], BufferReading]) -> None:
        """As `observe_queue`, for what an ingest holds."""
        self._buffer_sources.append(lambda: [read()])

    # ---- worker

    def attempt(  # noqa: PLR0913 - one keyword a label: a bundle would have to be made for every attempt
        self,
        *,
        namespace: str,
        route: str,
        queue: str,
        stage: str,
        target: str,
        outcome: str,
        error_class: str,
        duration_seconds: float,
    ) -> None:
        """An attempt ended. `error_class` is `none` or a class, never a status."""
        labels = (namespace, route, queue, stage, target, outcome, error_class)
        self._attempts.observe(labels, duration_seconds)

    def delivered(self, *, namespace: str, route: str, queue: str, target: str, subject_group: str) -> None:
        """A target took a message."""
        self._delivered.add((namespace, route, queue, target, subject_group))

    def dead_letter(  # noqa: PLR0913 - one keyword a label, as above
        self,
        *,
        namespace: str,
        route: str,
        queue: str,
        target: str,
        error_class: str,
        reason: str,
        subject_group: str,
    ) -> None:
        """A message was put to the dead letters."""
        self._dead_letters.add((namespace, route, queue, target, error_class, reason, subject_group))

    def settled(self, *, namespace: str, route: str, origin: str, end: str) -> None:
        """A message came to its end. `origin`: ingest, replay or other; `end`: delivered or dead_lettered."""
        self._settled.add((namespace, route, origin, end))

    def latency(self, *, namespace: str, route: str, queue: str, seconds: float) -> None:
        """From a message's acceptance to its delivery."""
        self._latency.observe((namespace, route, queue), seconds)

    def handover_failure(self, *, namespace: str, route: str, to: str) -> None:
        """A message could not be put where it belongs next; it is tried again. `to`: rung, dead_letters, ..."""
        self._handover_failures.add((namespace, route, to))

    def guard_refusal(self, *, namespace: str, route: str, reason: str) -> None:
        """A target was not dialled because the guard said no."""
        self._guard_refusals.add((namespace, route, reason))

    def repeat(self, *, namespace: str, route: str, queue: str, stage: str) -> None:
        """A message came again that an earlier receive had not finished with: its attempt may be a second one."""
        self._repeats.add((namespace, route, queue, stage))

    def shortage(self, *, namespace: str, route: str, target: str, reason: str) -> None:
        """An attempt was not made for want of something that is not the target's."""
        self._shortages.add((namespace, route, target, reason))

    # ---- both

    def backend_request(self, action: str, result: str, n: int = 1) -> None:
        """Calls to the queue service. `action`: as SQS names it; `result`: ok, or a short word for what failed."""
        self._backend_requests.add((action, result), n)

    def store_request(self, action: str, result: str) -> None:
        """A call to the store of failures. `action`: as DynamoDB names it; `result`: as for `backend_request`."""
        self._store_requests.add((action, result))

    def observe_log_drops(self, read: Callable[[], int]) -> None:
        """Shows how many log lines were dropped since the start because nobody read them fast enough."""
        self.observed_counter("chaski_log_lines_dropped", "Log lines lost to a full pipe.", (), lambda: {(): read()})

    def observe_queue(self, read: Callable[[], Iterable[QueueReading]]) -> None:
        """Asks `read` at each scrape, on the scraper's thread; it must return what is known without waiting."""
        self._queue_gauges.sources.append(read)

    def observe_lanes(self, read: Callable[[], Iterable[LaneReading]]) -> None:
        """As `observe_queue`, for what a worker holds."""
        self._lane_sources.append(read)

    def observe_shortages(self, read: Callable[[], Values]) -> None:
        """As `observe_queue`, for what a worker lacks: 1 by namespace, route, target and reason; 0 where that is over."""
        self._shortage_sources.append(read)

    def totals_by_route(self) -> dict[str, RouteTotals]:
        """The main counters, by `namespace/name` of the route."""
        sums: dict[str, Counter[str]] = {}

        def add(
            what: str, tally: CounterTally | HistogramTally, *, keep: Callable[[tuple[str, ...]], bool] = lambda _: True
        ) -> None:
            for labels, number in tally.totals().items():
                if keep(labels):
                    sums.setdefault(f"{labels[0]}/{labels[1]}", Counter())[what] += number

        add("accepted", self._accepted)
        add("delivered", self._delivered)
        add("attempts", self._attempts)
        add("failed", self._attempts, keep=lambda labels: labels[5] != "delivered")
        add("dead_letters", self._dead_letters)
        return {key: RouteTotals(**counts) for key, counts in sums.items()}

    def take_readings(self) -> None:
        """Asks every source of gauges."""
        self._queue_gauges.take()
        self._lanes = tuple(readings(self._lane_sources))
        self._buffers = tuple(readings(self._buffer_sources))

    # ---- definitions

    def _define_ingest(self) -> None:
        self._accepted = self.counter(
            "chaski_messages_accepted", "Messages answered with 202.", (*QUEUE, "subject_group"), MANY_SERIES
        )
        self._rejected = self.counter(
            "chaski_ingest_rejections", "Messages answered with 4xx or 5xx.", (*ROUTE, "reason")
        )
        self._ingest_seconds = self.histogram(
            "chaski_ingest_request_duration_seconds",
            "From a request's headers to its answer.",
            ("kind", "status"),
            _INGEST_SECONDS,
        )
        self._send_entries = self.histogram(
            "chaski_ingest_batch_entries", "Messages sent to the queue in one call.", (), _BATCH_ENTRIES
        )

    def _define_worker(self) -> None:
        attempt = (*QUEUE, "stage", "target", "outcome", "error_class")
        self._attempts = self.histogram(
            "chaski_attempt_duration_seconds", "How long attempts took.", attempt, _ATTEMPT_SECONDS
        )
        self.observed_counter("chaski_attempts", "HTTP requests made to targets.", attempt, self._attempts.totals)
        self._delivered = self.counter(
            "chaski_messages_delivered",
            "Messages that a target took.",
            (*QUEUE, "target", "subject_group"),
            MANY_SERIES,
        )
        self._dead_letters = self.counter(
            "chaski_dead_letters",
            "Messages put to the dead letters.",
            (*QUEUE, "target", "error_class", "reason", "subject_group"),
            MANY_SERIES,
        )
        self._settled = self.counter(
            "chaski_messages_settled", "Messages that came to their end.", (*ROUTE, "origin", "end")
        )
        self._latency = self.histogram(
            "chaski_message_latency_seconds", "From acceptance to delivery.", QUEUE, _LATENCY_SECONDS
        )
        self._handover_failures = self.counter(
            "chaski_handover_failures", "Hand-overs that failed and are tried again.", (*ROUTE, "to")
        )
        self._guard_refusals = self.counter(
            "chaski_guard_refusals", "Targets not dialled because the guard said no.", (*ROUTE, "reason")
        )
        self._repeats = self.counter(
            "chaski_repeats", "Messages that came again unfinished: a crash, a pause, a lost hold.", (*QUEUE, "stage")
        )
        self._shortages = self.counter(
            "chaski_shortages", "Attempts not made for want of something that is not the target's.", _SHORTAGE
        )
        self._backend_requests = self.counter(
            "chaski_sqs_requests", "Calls to the queue service.", ("action", "result")
        )
        self._store_requests = self.counter(
            "chaski_dynamodb_requests", "Calls to the store of failures.", ("action", "result")
        )

    def _define_gauges(self) -> None:
        self._queue_gauges = QueueGauges(self)
        self.gauge("chaski_lanes", "Lanes that this worker holds.", (*QUEUE, "state"), self._lane_states)
        for name, description, read in (
            ("chaski_lanes_limit", "Lanes at which polling stops.", lambda line: line.max_lanes),
            ("chaski_attempts_limit", "Attempts that may run at once.", lambda line: line.max_attempts),
            ("chaski_subjects", "Subjects held now or within the last minute.", lambda line: line.subjects),
            ("chaski_held_messages", "Messages that this worker holds.", lambda line: line.held_messages),
            ("chaski_held_bytes", "Bytes of the messages that this worker holds.", lambda line: line.held_bytes),
            ("chaski_held_bytes_limit", "Bytes at which polling stops.", lambda line: line.max_bytes),
        ):
            self.gauge(name, description, QUEUE, self._of_lanes(read))
        self.gauge(
            "chaski_queue_oldest_received_age_seconds",
            "Age of the oldest message received within the last minutes, delivered since or not.",
            QUEUE,
            self._oldest_received,
        )
        self.gauge(
            "chaski_attempt_mean_seconds",
            "How long an attempt takes, as a moving mean.",
            QUEUE,
            lambda: {
                (line.namespace, line.route, line.queue): line.mean_attempt_seconds
                for line in self._lanes
                if line.mean_attempt_seconds is not None
            },
        )
        self.gauge(
            "chaski_shortage",
            "1 while attempts can't be made for want of something that is not the target's.",
            _SHORTAGE,
            lambda: {key: value for read in self._shortage_sources for key, value in read().items()},
        )
        for name, description, part in (
            (
                "chaski_ingest_buffer_messages",
                "Messages that no queue has answered for yet.",
                lambda held: held.messages,
            ),
            (
                "chaski_ingest_buffer_messages_limit",
                "Messages at which ingest says 503.",
                lambda held: held.max_messages,
            ),
            ("chaski_ingest_buffer_bytes", "Bytes of these messages.", lambda held: held.size),
            ("chaski_ingest_buffer_bytes_limit", "Bytes at which ingest says 503.", lambda held: held.max_size),
        ):
            self.gauge(name, description, (), self._of_buffers(part))

    def _oldest_received(self) -> Values:
        ages: dict[tuple[str, ...], float] = {}
        for line in self._lanes:
            if line.oldest_received_age_seconds is not None:
                key = (line.namespace, line.route, line.queue)
                ages[key] = max(ages.get(key, 0.0), line.oldest_received_age_seconds)
        return ages

    def _of_lanes(self, read: Callable[[LaneReading], int]) -> Callable[[], Values]:
        return lambda: _summed(((line.namespace, line.route, line.queue), read(line)) for line in self._lanes)

    def _of_buffers(self, read: Callable[[BufferReading], int]) -> Callable[[], Values]:
        return lambda: _summed(((), read(each)) for each in self._buffers)

    def _lane_states(self) -> Values:
        return _summed(
            ((line.namespace, line.route, line.queue, state), number)
            for line in self._lanes
            for state, number in (("busy", line.busy_lanes), ("waiting", line.waiting_lanes))
        )


def _summed(values: Iterable[tuple[tuple[str, ...], int]]) -> Values:
    # Two consumers of one name run side by side for a moment when a route's queues change.
    sums: dict[tuple[str, ...], int] = {}
    for key, value in values:
        sums[key] = sums.get(key, 0) + value
    return sums
