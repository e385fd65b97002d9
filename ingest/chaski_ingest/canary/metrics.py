"""The canary's metrics. Names and labels are documented in docs/metrics.md."""

from collections.abc import Callable, Mapping

from chaski_runtime.observability.metrics.registry import ROUTE, MetricsRegistry

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600)

RouteKey = tuple[str, str]  # namespace, name


class CanaryMetrics(MetricsRegistry):
    """The metrics of one canary."""

    def __init__(self, ages: Callable[[], Mapping[tuple[str, ...], float]]) -> None:
        """`ages`: seconds since a message last arrived through each route, or since the start where none has."""
        super().__init__()
        self._sent = self.counter("chaski_canary_messages", "Messages that the canary sent.", (*ROUTE, "result"))
        self._latency = self.histogram(
            "chaski_canary_latency_seconds", "From sending to arriving at the sink.", ROUTE, _SECONDS
        )
        self.gauge("chaski_canary_age_seconds", "Since a message last arrived.", ROUTE, ages)

    def sent(self, route: RouteKey, result: str) -> None:
        """Counts a sent message. `result`: accepted, rejected (by ingest), or unreachable."""
        self._sent.add((*route, result))

    def arrived(self, route: RouteKey, seconds: float) -> None:
        """Records the delivery time of a message that arrived for the first time."""
        self._latency.observe(route, seconds)
