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


def test_the_series_of_a_deleted_route_end_at_the_next_scrape() -> None:
    """Made again it is counted from zero; rejections of unknown routes stay."""
    registry, routes = MetricsRegistry(), {("n", "r")}
    metrics = take_ingest_metrics(registry)
    metrics.observe_routes(lambda namespace, name: (namespace, name) in routes)
    metrics.rejected(namespace="none", route="none", reason="no-route")
    names = ("chaski_messages_accepted_total", "chaski_ingest_rejections_total")
    assert [len(samples(registry)[name]) for name in names] == [1, 2]
    routes.clear()
    found = samples(registry)
    assert [found.get(name) for name in names] == [
        None,
        [({"namespace": "none", "route": "none", "reason": "no-route"}, 1)],
    ]
    routes.add(("n", "r"))
    metrics.accepted(**QUEUE, subject_group="88")
    assert samples(registry)[names[0]] == [(QUEUE | {"subject_group": "88"}, 1)]


def test_only_the_series_of_the_groups_that_lost_their_place_end() -> None:
    """Of this route."""
    registry = MetricsRegistry()
    metrics = IngestMetrics(registry)
    for route in "rs":
        for group in ("1", "2", "3"):
            metrics.accepted(namespace="n", route=route, queue="q", subject_group=group)
    metrics.end_subject_groups("n", "r", {"1", "3"})
    series = samples(registry)["chaski_messages_accepted_total"]
    assert sorted((labels["route"], labels["subject_group"]) for labels, _ in series) == [
        ("r", "2"), ("s", "1"), ("s", "2"), ("s", "3"),
    ]  # fmt: skip
