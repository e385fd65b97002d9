"""The metrics of one process: counters, histograms and gauges with names, and the page that shows them to Prometheus.

Nothing is global: each `MetricsRegistry` has a registry of its own. `prometheus_client` collects all metrics. The SDK of
OpenTelemetry (1.45.2) would keep every label set that a counter or gauge ever had, those of deleted routes included, and
count new ones together once there were too many.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from chaski_core import __version__
from chaski_runtime.observability.metrics.counters import CounterTally, HistogramTally

_log = logging.getLogger(__name__)

FEW_SERIES = 2_000  # label sets of a metric that are kept apart
MANY_SERIES = 10_000  # where the subject group is among the labels: routes x queues x up to 200 groups

ROUTE = ("namespace", "route")
QUEUE = (*ROUTE, "queue")

Values = Mapping[tuple[str, ...], float]  # by label values


class MetricsRegistry:
    """The metrics of one process as Prometheus reads them."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._tallies: dict[str, CounterTally | HistogramTally] = {}
        self._before_scrape: list[Callable[[], None]] = []
        self.gauge("chaski_build_info", "The release that runs.", ("version",), lambda: {(__version__,): 1})
        self.observed_counter(
            "chaski_metric_overflows",
            "Observations counted under `other`, because the metric has too many label sets.",
            ("metric",),
            lambda: {(name,): tally.overflowed for name, tally in self._tallies.items() if tally.overflowed},
        )

    # ---- definitions

    def counter(self, name: str, description: str, labels: Sequence[str], limit: int = FEW_SERIES) -> CounterTally:
        """A new counter, shown as `<name>_total`."""
        tally = CounterTally(labels, limit)
        self._tallies[f"{name}_total"] = tally
        self.observed_counter(name, description, labels, tally.totals)
        return tally

    def observed_counter(self, name: str, description: str, labels: Sequence[str], read: Callable[[], Values]) -> None:
        """A new counter, shown as `<name>_total`; `read` returns its totals by label values."""
        self._registry.register(_Readings(partial(CounterMetricFamily, name, description, labels=labels), read))

    def histogram(self, name: str, description: str, labels: Sequence[str], bounds: Sequence[float]) -> HistogramTally:
        """A new histogram with these upper bounds of buckets."""
        tally = HistogramTally(labels, bounds, FEW_SERIES)
        self._tallies[name] = tally
        self._registry.register(_HistogramCollector(name, description, tally))
        return tally

    def gauge(self, name: str, description: str, labels: Sequence[str], read: Callable[[], Values]) -> None:
        """A new gauge: what `read` returns by label values; a label set that it leaves out is unknown, not zero."""
        self._registry.register(_Readings(partial(GaugeMetricFamily, name, description, labels=labels), read))

    def retain(self, names: Sequence[str], keep: Callable[[tuple[str, ...]], bool]) -> None:
        """Drops what was counted for label sets whose values of these labels `keep` refuses.

        Such a series ends. If it is counted again, it begins at zero, which Prometheus takes for a restart.
        """
        for tally in self._tallies.values():
            tally.retain(names, keep)

    def forget_route(self, namespace: str, name: str) -> None:
        """Drops what was counted for a deleted route."""
        self.retain(ROUTE, lambda values: values != (namespace, name))

    def end_subject_groups(self, namespace: str, name: str, groups: Collection[str]) -> None:
        """Drops what was counted for these subject groups of a route."""
        self.retain((*ROUTE, "subject_group"), lambda v: v[:2] != (namespace, name) or v[2] not in groups)

    def before_scrape(self, take: Callable[[], None]) -> None:
        """Calls `take` before each page is rendered, on the scraper's thread."""
        self._before_scrape.append(take)

    # ---- what every process shows

    def observe_clock(self, read: Callable[[], float | None]) -> None:
        """Shows by how many seconds this machine's clock is corrected; `read` returns None while that is unknown."""

        def offsets() -> Values:
            offset = read()
            return {} if offset is None else {(): offset}

        text = "Seconds that are added to this machine's wall clock, because AWS's differs; 0 while it is right."
        self.gauge("chaski_clock_offset_seconds", text, (), offsets)

    def observe_api_server(self, unreachable_seconds: Callable[[], float | None]) -> None:
        """Shows how long the Kubernetes API server has been unreachable; None: the process uses none."""

        def read() -> Values:
            seconds = unreachable_seconds()
            return {} if seconds is None else {(): seconds}

        text = "Seconds since the Kubernetes API server was last reached; 0 while it answers."
        self.gauge("chaski_api_server_unreachable_seconds", text, (), read)

    def observe_log_drops(self, read: Callable[[], int]) -> None:
        """Shows how many log lines were dropped since the start because the log's reader was too slow."""
        self.observed_counter("chaski_log_lines_dropped", "Log lines lost to a full pipe.", (), lambda: {(): read()})

    # ---- the page

    def render(self) -> bytes:
        """All metrics in Prometheus' text format 0.0.4. Safe to call from any thread."""
        self._take_readings()
        return self._page()

    async def scrape(self, names: Collection[str] = ()) -> bytes:
        """As `render`, but only the readings are taken on the event loop; the text is made on another thread.

        Args:
            names: of the samples to show; empty: all.
        """
        self._take_readings()
        return await asyncio.to_thread(self._page, names)

    def _take_readings(self) -> None:
        for take in self._before_scrape:
            take()

    def _page(self, names: Collection[str] = ()) -> bytes:
        return generate_latest(self._registry.restricted_registry(names) if names else self._registry)


class BackendMetrics:
    """Counts the calls to SQS and DynamoDB of a process."""

    def __init__(self, registry: MetricsRegistry) -> None:
        labels = ("action", "result")
        self._sqs = registry.counter("chaski_sqs_requests", "Calls to the queue service.", labels)
        self._dynamodb = registry.counter("chaski_dynamodb_requests", "Calls to the store of failures.", labels)

    def sqs_request(self, action: str, result: str, n: int = 1) -> None:
        """Counts `n` calls. `action`: as SQS names it; `result`: ok, or a short word for what failed."""
        self._sqs.add((action, result), n)

    def dynamodb_request(self, action: str, result: str) -> None:
        """Counts a call. `action`: as DynamoDB names it; `result`: as for `sqs_request`."""
        self._dynamodb.add((action, result))


class _Readings(Collector):
    """A counter or a gauge whose values are read at each scrape; without values it is not on the page."""

    def __init__(
        self, family: Callable[[], CounterMetricFamily | GaugeMetricFamily], read: Callable[[], Values]
    ) -> None:
        self._family = family
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """The metric without values: lets the registry check names without a scrape."""
        return [self._family()]

    def collect(self) -> Iterable[Metric]:
        """The metric with its current values; nothing if they can't be read."""
        family = self._family()
        try:
            for values, value in self._read().items():
                family.add_metric(values, value)
        except Exception:  # noqa: BLE001 - the other metrics are shown
            _log.exception("could not read the metric %s; it is left out of this scrape", family.name)
            return []
        return [family] if family.samples else []


class _HistogramCollector(Collector):
    def __init__(self, name: str, description: str, tally: HistogramTally) -> None:
        self._name = name
        self._description = description
        self._tally = tally

    def describe(self) -> Iterable[Metric]:
        """The histogram without values: lets the registry check names without a scrape."""
        return [HistogramMetricFamily(self._name, self._description, labels=self._tally.labels)]

    def collect(self) -> Iterable[Metric]:
        """The histogram with its current values."""
        family = HistogramMetricFamily(self._name, self._description, labels=self._tally.labels)
        bounds = [*(str(float(bound)) for bound in self._tally.bounds), "+Inf"]
        for values, (counts, total) in self._tally.distributions().items():
            family.add_metric(values, list(zip(bounds, accumulate(counts), strict=True)), total)
        return [family]
