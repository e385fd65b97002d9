"""The metrics of workers. Names and labels are stable and documented in docs/metrics.md; no label is unbounded."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from chaski_runtime.observability.metrics.queue_gauges import Observers, QueueGauges, QueueReading, readings
from chaski_runtime.observability.metrics.registry import MANY_SERIES, QUEUE, ROUTE, MetricsRegistry, Values
from chaski_runtime.observability.metrics.route_totals import RouteTotals, by_route

_ATTEMPT_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_LATENCY_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600, 14_400, 86_400)
_ATTEMPT = (*QUEUE, "stage", "target", "outcome", "error_class")  # the class: `none` or a class, never a status
_OUTCOME = _ATTEMPT.index("outcome")
_SHORTAGE = (*ROUTE, "target", "reason")


@dataclass(frozen=True, slots=True)
class LaneReading:
    """What a worker holds of one queue."""

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
    oldest_received_age_seconds: float | None = None  # of recently received messages, delivered or not; None: none


class WorkerMetrics:
    """Counters and gauges of workers. Values of labels come from the route.

    The public counters and histograms take the values of their labels in the order of their definition below.
    """

    def __init__(self, registry: MetricsRegistry) -> None:
        self._registry = registry
        self._lane_sources: Observers[Iterable[LaneReading]] = Observers()
        self._shortage_sources: Observers[Values] = Observers()
        self._hold_sources: Observers[Values] = Observers()
        self._limit_sources: Observers[tuple[Values, Values]] = Observers()
        self._lanes: tuple[LaneReading, ...] = ()
        self._queue_gauges = QueueGauges(registry)
        registry.before_scrape(self._take_readings)
        self._define_counters(registry)
        self._define_histograms(registry)
        self._define_gauges(registry)

    def observe_queue(self, read: Callable[[], Iterable[QueueReading]]) -> Callable[[], None]:
        """Calls `read` at each scrape, on the scraper's thread; it must return what is known without waiting.

        Returns a function that ends this.
        """
        return self._queue_gauges.observe(read)

    def observe_lanes(self, read: Callable[[], Iterable[LaneReading]]) -> Callable[[], None]:
        """As `observe_queue`, for the lanes that a worker holds."""
        return self._lane_sources.add(read)

    def observe_shortages(self, read: Callable[[], Values]) -> Callable[[], None]:
        """As `observe_queue`, for shortages: 1 by namespace, route, target and reason; 0 once it is over."""
        return self._shortage_sources.add(read)

    def observe_holds(self, read: Callable[[], Values]) -> Callable[[], None]:
        """As `observe_queue`, for holds: 1 by namespace, route, target and reason; 0 once they have ended."""
        return self._hold_sources.add(read)

    def observe_limits(self, read: Callable[[], tuple[Values, Values]]) -> Callable[[], None]:
        """As `observe_queue`, for limits, by namespace, route and target: lanes that wait in place, and the leased part."""
        return self._limit_sources.add(read)

    def end_subject_groups(self, namespace: str, route: str, groups: Collection[str]) -> None:
        """Ends the series of subject groups of a route."""
        self._registry.end_subject_groups(namespace, route, groups)

    def totals_by_route(self) -> dict[str, RouteTotals]:
        """All main counters but `accepted`, by `namespace/name` of the route."""
        delivered, attempts, dead_letters = (
            by_route(self.delivered),
            by_route(self.attempts),
            by_route(self.dead_letters),
        )
        failed = by_route(self.attempts, include=lambda labels: labels[_OUTCOME] != "delivered")
        return {
            key: RouteTotals(
                delivered=delivered.get(key, 0),
                attempts=attempts.get(key, 0),
                failed=failed.get(key, 0),
                dead_letters=dead_letters.get(key, 0),
            )
            for key in {**delivered, **attempts, **dead_letters}
        }

    def _take_readings(self) -> None:
        self._lanes = tuple(readings(self._lane_sources))

    # ---- definitions

    def _define_counters(self, registry: MetricsRegistry) -> None:
        self.delivered = registry.counter(
            "chaski_messages_delivered",
            "Messages that a target accepted.",
            (*QUEUE, "target", "subject_group"),
            MANY_SERIES,
        )
        self.dead_letters = registry.counter(
            "chaski_dead_letters",
            "Messages stored as dead letters.",
            (*QUEUE, "target", "error_class", "reason", "subject_group"),
            MANY_SERIES,
        )
        self.discarded = registry.counter(
            "chaski_messages_discarded",
            "Messages deleted without a dead letter, by an outcome of the route.",
            (*QUEUE, "target"),
        )
        self.settled = registry.counter(
            "chaski_messages_settled", "Messages that reached their end.", (*ROUTE, "origin", "end")
        )
        self.handover_failures = registry.counter(
            "chaski_handover_failures", "Hand-overs that failed and are tried again.", (*ROUTE, "to")
        )
        self.guard_refusals = registry.counter(
            "chaski_guard_refusals", "Targets not dialled because the guard refused them.", (*ROUTE, "reason")
        )
        self.repeats = registry.counter(
            "chaski_repeats",
            "Messages received again unfinished: a crash, a pause, an expired visibility timeout.",
            (*QUEUE, "stage"),
        )
        self.shortages = registry.counter(
            "chaski_shortages", "Attempts not made because a resource other than the target's was short.", _SHORTAGE
        )

        self.limit_parked = registry.counter(
            "chaski_limit_parked_lanes",
            "Lanes given back without an attempt, because a limit of the target was reached.",
            (*ROUTE, "target"),
        )

    def _define_histograms(self, registry: MetricsRegistry) -> None:
        self.attempts = registry.histogram(
            "chaski_attempt_duration_seconds", "How long attempts took.", _ATTEMPT, _ATTEMPT_SECONDS
        )
        registry.observed_counter("chaski_attempts", "HTTP requests made to targets.", _ATTEMPT, self.attempts.totals)
        self.latency = registry.histogram(
            "chaski_message_latency_seconds", "From acceptance to delivery.", QUEUE, _LATENCY_SECONDS
        )

    def _define_gauges(self, registry: MetricsRegistry) -> None:
        registry.gauge("chaski_lanes", "Lanes that this worker holds.", (*QUEUE, "state"), self._lane_states)
        for name, description, read in (
            ("chaski_lanes_limit", "Lanes at which polling stops.", lambda held: held.max_lanes),
            ("chaski_attempts_limit", "Attempts that may run at once.", lambda held: held.max_attempts),
            ("chaski_subjects", "Subjects held now or within the last minute.", lambda held: held.subjects),
            ("chaski_held_messages", "Messages that this worker holds.", lambda held: held.held_messages),
            ("chaski_held_bytes", "Bytes of the messages that this worker holds.", lambda held: held.held_bytes),
            ("chaski_held_bytes_limit", "Bytes at which polling stops.", lambda held: held.max_bytes),
        ):
            registry.gauge(name, description, QUEUE, self._sum_of(read))
        registry.gauge(
            "chaski_queue_oldest_received_age_seconds",
            "Age of the oldest message received within the last minutes, delivered or not.",
            QUEUE,
            self._oldest_received,
        )
        registry.gauge(
            "chaski_attempt_mean_seconds",
            "How long an attempt takes, as a moving mean.",
            QUEUE,
            lambda: {
                (held.namespace, held.route, held.queue): held.mean_attempt_seconds
                for held in self._lanes
                if held.mean_attempt_seconds is not None
            },
        )
        registry.gauge(
            "chaski_shortage",
            "1 while attempts can't be made because a resource other than the target's is short.",
            _SHORTAGE,
            lambda: {key: value for read in self._shortage_sources for key, value in read().items()},
        )
        registry.gauge(
            "chaski_target_held",
            "1 while a host of the target is held: nothing is attempted there, and its messages wait.",
            (*ROUTE, "target", "reason"),
            lambda: {key: value for read in self._hold_sources for key, value in read().items()},
        )

        for at, (name, description) in enumerate(
            (
                ("chaski_limit_waiting_lanes", "Lanes that wait in place for a limit of the target."),
                (
                    "chaski_limit_leased_ratio",
                    "Part of the target's limits that this worker leases; of several hosts, the sum.",
                ),
            )
        ):
            registry.gauge(name, description, (*ROUTE, "target"), self._limits_at(at))

    def _limits_at(self, at: int) -> Callable[[], Values]:
        return lambda: {key: value for read in self._limit_sources for key, value in read()[at].items()}

    def _oldest_received(self) -> Values:
        ages: dict[tuple[str, ...], float] = {}
        for held in self._lanes:
            if held.oldest_received_age_seconds is not None:
                key = (held.namespace, held.route, held.queue)
                ages[key] = max(ages.get(key, 0.0), held.oldest_received_age_seconds)
        return ages

    def _sum_of(self, read: Callable[[LaneReading], int]) -> Callable[[], Values]:
        return lambda: _summed(((held.namespace, held.route, held.queue), read(held)) for held in self._lanes)

    def _lane_states(self) -> Values:
        return _summed(
            ((held.namespace, held.route, held.queue, state), number)
            for held in self._lanes
            for state, number in (("busy", held.busy_lanes), ("waiting", held.waiting_lanes))
        )


def _summed(values: Iterable[tuple[tuple[str, ...], int]]) -> Values:
    # Two consumers of one name run side by side for a moment when a route's queues change.
    sums: dict[tuple[str, ...], int] = {}
    for key, value in values:
        sums[key] = sums.get(key, 0) + value
    return sums
