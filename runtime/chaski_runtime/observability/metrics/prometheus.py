"""From tallies and gauges to Prometheus' text format, by way of the OpenTelemetry SDK.

Nothing is global: each `Exposition` has a registry of its own. Counters and gauges are observable OpenTelemetry
instruments. The SDK has no observable histogram, so histograms are put on the registry as they are.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider, ObservableCounter, ObservableGauge
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from chaski_runtime.observability.metrics.counters import HistogramTally

_SDK_LIMIT = 20_000  # series of an instrument; above the tallies' own limits, which fold what is beyond them by name

Values = Mapping[tuple[str, ...], float]  # by label values


class Exposition:
    """The metrics of one process as Prometheus reads them."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        reader = PrometheusMetricReader(
            disable_target_info=True,  # one process, one scrape target: the scrape names it
            scope_info_enabled=False,  # would add three labels to every series
            registry=self._registry,
            cardinality_limits={ObservableCounter: _SDK_LIMIT, ObservableGauge: _SDK_LIMIT},
        )
        provider = MeterProvider(
            [reader],
            resource=Resource({}),
            exemplar_filter=AlwaysOffExemplarFilter(),  # the exporter drops exemplars anyway
            shutdown_on_exit=False,
        )
        self._meter = provider.get_meter("chaski")
        self._rendering = threading.Lock()  # the exporter hands collected data over through one shared queue

    def counter(self, name: str, description: str, labels: Sequence[str], read: Callable[[], Values]) -> None:
        """Shows the totals that `read` returns, by label values, as the counter `<name>_total`."""
        self._meter.create_observable_counter(name, [_observer(labels, read)], description=description)

    def gauge(self, name: str, description: str, labels: Sequence[str], read: Callable[[], Values]) -> None:
        """Shows what `read` returns, by label values; a label set that it leaves out is unknown, not zero."""
        self._meter.create_observable_gauge(name, [_observer(labels, read)], description=description)

    def histogram(self, name: str, description: str, tally: HistogramTally) -> None:
        """Shows a tally as a histogram with its own bounds as buckets."""
        self._registry.register(_HistogramCollector(name, description, tally))

    def render(self) -> bytes:
        """Everything as text, version 0.0.4. May be called from any thread."""
        with self._rendering:
            return generate_latest(self._registry)


def _observer(labels: Sequence[str], read: Callable[[], Values]) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> Iterator[Observation]:
        for values, value in read().items():
            yield Observation(value, dict(zip(labels, values, strict=True)))

    return observe


class _HistogramCollector(Collector):
    def __init__(self, name: str, description: str, tally: HistogramTally) -> None:
        self._name = name
        self._description = description
        self._tally = tally

    def describe(self) -> Iterable[Metric]:
        """What is collected, without values: lets the registry check names without a scrape."""
        return [HistogramMetricFamily(self._name, self._description, labels=self._tally.labels)]

    def collect(self) -> Iterable[Metric]:
        """The histogram as it is now."""
        family = HistogramMetricFamily(self._name, self._description, labels=self._tally.labels)
        bounds = [*(str(float(bound)) for bound in self._tally.bounds), "+Inf"]
        for values, (counts, total) in self._tally.distributions().items():
            family.add_metric(values, list(zip(bounds, accumulate(counts), strict=True)), total)
        return [family]
