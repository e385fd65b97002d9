"""What Chaski counts. Names and labels are stable and documented in docs/metrics.md; no label is unbounded."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from chaski_core.ports import QueueCounts
from chaski_runtime.exposition import Exposition, Values
from chaski_runtime.subject_groups import SubjectGroups
from chaski_runtime.tally import CounterTally, HistogramTally

__all__ = ["LaneReading", "Metrics", "QueueReading", "SubjectGroups"]

_logger = logging.getLogger(__name__)

_FEW_SERIES = 2_000  # per metric, labels without the subject group
_MANY_SERIES = 10_000  # per metric, labels with it: routes x queues x up to 200 groups

_ATTEMPT_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_INGEST_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_BATCH_ENTRIES = (1, 2, 3, 5, 8, 10)

T = TypeVar("T")

_ROUTE = ("namespace", "route")
_QUEUE = (*_ROUTE, "queue")


@dataclass(frozen=True, slots=True)
class QueueReading:
    """What is known of one line. None is unknown, and shows no series: unknown is not zero."""

    namespace: str
    route: str
    queue: str  # the declared queue's name, or `rung-<name>`
    counts: QueueCounts | None  # of all partitions together
    oldest_message_age_seconds: float | None


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


class Metrics:
    """The metrics of one process. A call takes about a microsecond; labels are texts from the route, never free."""

    def __init__(self) -> None:
        self._exposition = Exposition()
        self._queue_sources: list[Callable[[], Iterable[QueueReading]]] = []
        self._lane_sources: list[Callable[[], Iterable[LaneReading]]] = []
        self._queues: tuple[QueueReading, ...] = ()
        self._lanes: tuple[LaneReading, ...] = ()
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
        self._ingest_seconds.observe((kind, f"{status // 100}xx"), duration_seconds)

    def send_batch(self, *, entries: int) -> None:
        """Messages went to the queue together."""
        self._send_entries.observe((), entries)

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
        self._attempts.add(labels)
        self._attempt_seconds.observe(labels, duration_seconds)

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

    def guard_refusal(self, *, namespace: str, route: str, reason: str) -> None:
        """A target was not dialled because the guard said no."""
        self._guard_refusals.add((namespace, route, reason))

    def repeat(self, *, namespace: str, route: str, queue: str, stage: str) -> None:
        """A message came again that an earlier receive had not finished with: its attempt may be a second one."""
        self._repeats.add((namespace, route, queue, stage))

    # ---- both

    def backend_request(self, action: str, result: str, n: int = 1) -> None:
        """Calls to the queue service. `action`: as SQS names it; `result`: ok, or a short word for what failed."""
        self._backend_requests.add((action, result), n)

    def observe_log_drops(self, read: Callable[[], int]) -> None:
        """Shows how many log lines were dropped since the start because nobody read them fast enough."""
        self._exposition.counter("chaski_log_lines_dropped", "Log lines lost to a full pipe.", (), lambda: {(): read()})

    def observe_queue(self, read: Callable[[], Iterable[QueueReading]]) -> None:
        """Asks `read` at each scrape, on the scraper's thread; it must return what is known without waiting."""
        self._queue_sources.append(read)

    def observe_lanes(self, read: Callable[[], Iterable[LaneReading]]) -> None:
        """As `observe_queue`, for what a worker holds."""
        self._lane_sources.append(read)

    def render(self) -> bytes:
        """All metrics in Prometheus' text format 0.0.4."""
        self._take_readings()
        return self._exposition.render()

    async def scrape(self) -> bytes:
        """As `render`, but only the readings are taken on the event loop; the text is made on another thread."""
        self._take_readings()
        return await asyncio.to_thread(self._exposition.render)

    def _take_readings(self) -> None:
        self._queues = tuple(_readings(self._queue_sources))
        self._lanes = tuple(_readings(self._lane_sources))

    # ---- definitions

    def _counter(self, name: str, description: str, labels: tuple[str, ...], limit: int = _FEW_SERIES) -> CounterTally:
        tally = CounterTally(labels, limit)
        self._exposition.counter(name, description, labels, tally.totals)
        return tally

    def _histogram(
        self, name: str, description: str, labels: tuple[str, ...], bounds: tuple[float, ...]
    ) -> HistogramTally:
        tally = HistogramTally(labels, bounds, _FEW_SERIES)
        self._exposition.histogram(name, description, tally)
        return tally

    def _define_ingest(self) -> None:
        self._accepted = self._counter(
            "chaski_messages_accepted", "Messages answered with 202.", (*_QUEUE, "subject_group"), _MANY_SERIES
        )
        self._rejected = self._counter(
            "chaski_ingest_rejections", "Messages answered with 4xx or 5xx.", (*_ROUTE, "reason")
        )
        self._ingest_seconds = self._histogram(
            "chaski_ingest_request_duration_seconds",
            "From a request's headers to its answer.",
            ("kind", "status"),
            _INGEST_SECONDS,
        )
        self._send_entries = self._histogram(
            "chaski_ingest_batch_entries", "Messages sent to the queue in one call.", (), _BATCH_ENTRIES
        )

    def _define_worker(self) -> None:
        attempt = (*_QUEUE, "stage", "target", "outcome", "error_class")
        self._attempts = self._counter("chaski_attempts", "HTTP requests made to targets.", attempt)
        self._attempt_seconds = self._histogram(
            "chaski_attempt_duration_seconds", "How long attempts took.", attempt, _ATTEMPT_SECONDS
        )
        self._delivered = self._counter(
            "chaski_messages_delivered",
            "Messages that a target took.",
            (*_QUEUE, "target", "subject_group"),
            _MANY_SERIES,
        )
        self._dead_letters = self._counter(
            "chaski_dead_letters",
            "Messages put to the dead letters.",
            (*_QUEUE, "target", "error_class", "reason", "subject_group"),
            _MANY_SERIES,
        )
        self._guard_refusals = self._counter(
            "chaski_guard_refusals", "Targets not dialled because the guard said no.", (*_ROUTE, "reason")
        )
        self._repeats = self._counter(
            "chaski_repeats", "Messages that came again unfinished: a crash, a pause, a lost hold.", (*_QUEUE, "stage")
        )
        self._backend_requests = self._counter(
            "chaski_sqs_requests", "Calls to the queue service.", ("action", "result")
        )

    def _define_gauges(self) -> None:
        gauge = self._exposition.gauge
        gauge("chaski_queue_messages", "Messages by state.", (*_QUEUE, "state"), self._queue_messages)
        gauge(
            "chaski_queue_oldest_message_age_seconds",
            "Age of the oldest message known.",
            _QUEUE,
            lambda: {
                (line.namespace, line.route, line.queue): line.oldest_message_age_seconds
                for line in self._queues
                if line.oldest_message_age_seconds is not None
            },
        )
        gauge("chaski_lanes", "Lanes that this worker holds.", (*_QUEUE, "state"), self._lane_states)
        gauge(
            "chaski_held_messages",
            "Messages that this worker holds.",
            _QUEUE,
            lambda: {(line.namespace, line.route, line.queue): line.held_messages for line in self._lanes},
        )
        gauge(
            "chaski_held_bytes",
            "Bytes of the messages that this worker holds.",
            _QUEUE,
            lambda: {(line.namespace, line.route, line.queue): line.held_bytes for line in self._lanes},
        )

    def _queue_messages(self) -> Values:
        return {
            (line.namespace, line.route, line.queue, state): number
            for line in self._queues
            if line.counts is not None
            for state, number in (
                ("visible", line.counts.visible),
                ("in_flight", line.counts.in_flight),
                ("delayed", line.counts.delayed),
            )
        }

    def _lane_states(self) -> Values:
        return {
            (line.namespace, line.route, line.queue, state): number
            for line in self._lanes
            for state, number in (("busy", line.busy_lanes), ("waiting", line.waiting_lanes))
        }


def _readings(sources: Iterable[Callable[[], Iterable[T]]]) -> Iterator[T]:
    for read in sources:
        try:
            yield from read()
        except Exception:
            _logger.exception("a gauge could not be read; it is left out of this scrape")
