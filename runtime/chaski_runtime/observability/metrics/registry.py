"""What every set of metrics is made of: tallies and gauges with names, and the page that shows them."""

import asyncio
from collections.abc import Callable, Sequence

from chaski_core import __version__
from chaski_runtime.observability.metrics.counters import CounterTally, HistogramTally
from chaski_runtime.observability.metrics.prometheus import Exposition, Values

FEW_SERIES = 2_000  # label sets of a metric that are told apart
MANY_SERIES = 10_000  # where the subject group is among the labels: routes x queues x up to 200 groups

ROUTE = ("namespace", "route")
QUEUE = (*ROUTE, "queue")


class MetricsRegistry:
    """The metrics of one process. Nothing is global."""

    def __init__(self) -> None:
        self._exposition = Exposition()
        self._tallies: dict[str, CounterTally | HistogramTally] = {}
        self.gauge("chaski_build_info", "The release that runs.", ("version",), lambda: {(__version__,): 1})
        self._exposition.counter(
            "chaski_metric_overflows",
            "Observations counted under `other`, because the metric has too many label sets.",
            ("metric",),
            lambda: {(name,): tally.overflowed for name, tally in self._tallies.items() if tally.overflowed},
        )

    def counter(self, name: str, description: str, labels: Sequence[str], limit: int = FEW_SERIES) -> CounterTally:
        """A new counter, shown as `<name>_total`."""
        tally = CounterTally(labels, limit)
        self._tallies[f"{name}_total"] = tally
        self._exposition.counter(name, description, labels, tally.totals)
        return tally

    def histogram(self, name: str, description: str, labels: Sequence[str], bounds: Sequence[float]) -> HistogramTally:
        """A new histogram with these upper bounds of buckets."""
        tally = HistogramTally(labels, bounds, FEW_SERIES)
        self._tallies[name] = tally
        self._exposition.histogram(name, description, tally)
        return tally

    def gauge(self, name: str, description: str, labels: Sequence[str], read: Callable[[], Values]) -> None:
        """A new gauge: what `read` returns by label values; a label set that it leaves out is unknown, not zero."""
        self._exposition.gauge(name, description, labels, read)

    def observed_counter(self, name: str, description: str, labels: Sequence[str], read: Callable[[], Values]) -> None:
        """A new counter whose totals somebody else keeps."""
        self._exposition.counter(name, description, labels, read)

    def observe_clock(self, read: Callable[[], float | None]) -> None:
        """Shows by how many seconds this machine's clock is corrected; `read` returns None while that is unknown."""

        def offsets() -> Values:
            offset = read()
            return {} if offset is None else {(): offset}

        text = "Seconds that are added to this machine's wall clock, because AWS's differs; 0 while it is right."
        self.gauge("chaski_clock_offset_seconds", text, (), offsets)

    def render(self) -> bytes:
        """All metrics in Prometheus' text format 0.0.4."""
        self.take_readings()
        return self._exposition.render()

    async def scrape(self) -> bytes:
        """As `render`, but only the readings are taken on the event loop; the text is made on another thread."""
        self.take_readings()
        return await asyncio.to_thread(self._exposition.render)

    def take_readings(self) -> None:
        """Called on the scraper's thread before a page is made."""
