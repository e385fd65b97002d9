"""The metrics of ingest."""

import pytest

from chaski_ingest.metrics import IngestMetrics
from chaski_runtime.observability.metrics.registry import MetricsRegistry
from support.metric_pages import QUEUE, ROUTE, samples, take_ingest_metrics


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("chaski_messages_accepted_total", QUEUE | {"subject_group": "88"}, 1),
        ("chaski_ingest_rejections_total", ROUTE | {"reason": "invalid"}, 1),
        ("chaski_ingest_request_duration_seconds_count", {"kind": "single", "status": "2xx"}, 1),
        ("chaski_ingest_batch_entries_sum", {}, 7),
        ("chaski_ingest_buffer_messages", {}, 1),
        ("chaski_ingest_buffer_messages_limit", {}, 10),
        ("chaski_ingest_buffer_bytes", {}, 200),
        ("chaski_ingest_buffer_bytes_limit", {}, 1000),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_metric_has_exactly_its_documented_name_and_labels(name: str, labels: dict[str, str], value: float) -> None:
    """Dashboards and alerts depend on them: no unit is appended, no scope or overflow label is added."""
    registry = MetricsRegistry()
    take_ingest_metrics(registry)
    assert samples(registry)[name] == [(labels, value)]


@pytest.mark.promise(12)
def test_the_number_of_series_is_bounded() -> None:
    """Beyond the limit everything is counted under `other`."""
    registry = MetricsRegistry()
    metrics = IngestMetrics(registry)
    for n in range(2_100):
        metrics.rejected(namespace="n", route=f"r{n}", reason="invalid")
    series = samples(registry)["chaski_ingest_rejections_total"]
    assert len(series) == 2_001
    assert ({"namespace": "other", "route": "other", "reason": "other"}, 100) in series
    overflows = samples(registry)["chaski_metric_overflows_total"]
    assert overflows == [({"metric": "chaski_ingest_rejections_total"}, 100)]
