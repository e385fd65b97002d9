"""Reads figures out of a process's metrics."""

from prometheus_client.parser import text_string_to_metric_families

from chaski_runtime.observability.metrics.registry import MetricsRegistry


def value(metrics: MetricsRegistry | str, name: str, **labels: str) -> float:
    """The sum of the samples of that name with these labels; `metrics`: a process's own, or the text of a page."""
    page = metrics if isinstance(metrics, str) else metrics.render().decode()
    return sum(
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
