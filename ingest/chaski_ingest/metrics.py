"""The metrics of ingest. Names and labels are stable and documented in docs/metrics.md; no label is unbounded."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from chaski_runtime.observability.metrics.queue_gauges import readings
from chaski_runtime.observability.metrics.registry import MANY_SERIES, QUEUE, ROUTE, MetricsRegistry
from chaski_runtime.observability.metrics.route_totals import RouteTotals, by_route

_REQUEST_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_BATCH_ENTRIES = (1, 2, 3, 5, 8, 10)
NO_ROUTE = "none"  # namespace and route of requests to unknown routes, whose names would be unbounded
_STATUS_CLASSES = tuple(f"{number}xx" for number in range(10))


@dataclass(frozen=True, slots=True)
class BufferReading:
    """What an ingest holds that no queue has answered for yet."""

    messages: int
    max_messages: int
    size: int  # bytes
    max_size: int


class IngestMetrics:
    """Counters and gauges of ingest. A call takes about a microsecond."""

    def __init__(self, registry: MetricsRegistry) -> None:
        self._registry = registry
        self._buffer_sources: list[Callable[[], Iterable[BufferReading]]] = []
        self._buffers: tuple[BufferReading, ...] = ()
        registry.before_scrape(self._take_readings)
        self._accepted = registry.counter(
            "chaski_messages_accepted", "Messages answered with 202.", (*QUEUE, "subject_group"), MANY_SERIES
        )
        self._rejected = registry.counter(
            "chaski_ingest_rejections", "Messages answered with 4xx or 5xx.", (*ROUTE, "reason")
        )
        self._request_seconds = registry.histogram(
            "chaski_ingest_request_duration_seconds",
            "From a request's headers to its answer.",
            ("kind", "status"),
            _REQUEST_SECONDS,
        )
        self._batch_entries = registry.histogram(
            "chaski_ingest_batch_entries", "Messages sent to the queue in one call.", (), _BATCH_ENTRIES
        )
        self._define_buffer_gauges(registry)

    def accepted(self, *, namespace: str, route: str, queue: str, subject_group: str) -> None:
        """Counts a message answered with 202."""
        self._accepted.add((namespace, route, queue, subject_group))

    def rejected(self, *, namespace: str, route: str, reason: str) -> None:
        """Counts a message answered with 4xx or 5xx. Both names are `none` where the route does not exist."""
        self._rejected.add((namespace, route, reason))

    def ingest_request(self, *, kind: str, status: int, duration_seconds: float) -> None:
        """Counts an answered request. `kind`: single or batch."""
        self._request_seconds.observe((kind, _STATUS_CLASSES[status // 100]), duration_seconds)

    def send_batch(self, *, entries: int) -> None:
        """Counts one call that sent messages to the queue."""
        self._batch_entries.observe((), entries)

    def observe_buffer(self, read: Callable[[], BufferReading]) -> None:
        """Calls `read` at each scrape, on the scraper's thread; it must return what is known without waiting."""
        self._buffer_sources.append(lambda: [read()])

    def end_subject_groups(self, namespace: str, route: str, groups: Collection[str]) -> None:
        """Ends the series of subject groups of a route."""
        self._registry.end_subject_groups(namespace, route, groups)

    def observe_routes(self, exists: Callable[[str, str], bool]) -> None:
        """Ends the series of routes that no longer exist at a scrape; `exists` is called with namespace and name."""

        def keep(route: tuple[str, ...]) -> bool:
            return route == (NO_ROUTE, NO_ROUTE) or exists(*route)

        self._registry.before_scrape(lambda: self._registry.retain(ROUTE, keep))

    def totals_by_route(self) -> dict[str, RouteTotals]:
        """Accepted messages, by `namespace/name` of the route."""
        return {key: RouteTotals(accepted=number) for key, number in by_route(self._accepted).items()}

    def _take_readings(self) -> None:
        self._buffers = tuple(readings(self._buffer_sources))

    def _define_buffer_gauges(self, registry: MetricsRegistry) -> None:
        for name, description, part in (
            (
                "chaski_ingest_buffer_messages",
                "Messages that no queue has answered for yet.",
                lambda held: held.messages,
            ),
            (
                "chaski_ingest_buffer_messages_limit",
                "Messages at which ingest answers 503.",
                lambda held: held.max_messages,
            ),
            ("chaski_ingest_buffer_bytes", "Bytes of these messages.", lambda held: held.size),
            ("chaski_ingest_buffer_bytes_limit", "Bytes at which ingest answers 503.", lambda held: held.max_size),
        ):
            registry.gauge(name, description, (), self._sum_of(part))

    def _sum_of(self, part: Callable[[BufferReading], int]) -> Callable[[], dict[tuple[str, ...], float]]:
        return lambda: {(): sum(map(part, self._buffers))} if self._buffers else {}
