"""The metrics of the operator."""

import pytest

from chaski_core.ports import QueueCounts
from chaski_operator.metrics import OperatorMetrics
from chaski_runtime.observability.metrics.queue_gauges import QueueReading
from support.metric_pages import QUEUE, ROUTE, operator_metrics, samples


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("chaski_reconciles_total", ROUTE | {"result": "ok"}, 1),
        ("chaski_reconcile_duration_seconds_sum", {"result": "ok"}, 0.2),
        ("chaski_drifts_total", ROUTE | {"kind": "Deployment"}, 1),
        ("chaski_scaling_decisions_total", QUEUE | {"direction": "up"}, 1),
        ("chaski_scaling_failures_total", QUEUE | {"reason": "counts"}, 1),
        (
            "chaski_operator_aws_requests_total",
            {"service": "sqs", "action": "GetQueueAttributes", "result": "ok"},
            1,
        ),
        ("chaski_route_condition", ROUTE | {"condition": "Ready"}, 1),
        ("chaski_routes_left", ROUTE | {"installation": "other"}, 1),
        ("chaski_replicas", QUEUE | {"state": "wanted"}, 3),
        ("chaski_operator_watch_age_seconds", {}, 7.5),
        ("chaski_namespace_unavailable", {"namespace": "n"}, 1),
        ("chaski_queue_unserved_age_seconds", QUEUE, 604_800),
        ("chaski_queue_messages", QUEUE | {"state": "delayed"}, 0),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_metric_has_exactly_its_documented_name_and_labels(name: str, labels: dict[str, str], value: float) -> None:
    """Dashboards and alerts depend on them: no unit is appended, no scope or overflow label is added."""
    assert (labels, value) in samples(operator_metrics())[name]


def count_all(metrics: OperatorMetrics, route: str) -> None:
    """Counts each thing that can happen to a route once."""
    labels = {"namespace": "n", "route": route}
    metrics.reconciled(**labels, result="ok", duration_seconds=0.1)
    metrics.drift(**labels, kind="AWS")
    metrics.scaled(**labels, queue="q", direction="up")
    metrics.scaling_failed(**labels, queue="q", reason="pods")


def series_of(metrics: OperatorMetrics) -> set[str]:
    """The routes that have a series of any metric."""
    return {labels["route"] for found in samples(metrics).values() for labels, _ in found if "route" in labels}


@pytest.mark.promise(12)
def test_routes_that_are_made_and_deleted_leave_no_series() -> None:
    """So more of them than a metric has label sets never make a new route count as `other`."""
    metrics = OperatorMetrics()
    for number in range(5_000):
        count_all(metrics, f"r{number}")
        metrics.forget_route("n", f"r{number}")
    assert series_of(metrics) == set()
    count_all(metrics, "r1")
    assert samples(metrics)["chaski_reconciles_total"] == [({"namespace": "n", "route": "r1", "result": "ok"}, 1)]
    assert "chaski_metric_overflows_total" not in samples(metrics)


def test_a_route_that_was_counted_after_its_deletion_ends_at_the_next_scrape() -> None:
    """A check in progress may end after the deletion; what is counted beyond the limit stays."""
    metrics, routes = OperatorMetrics(), [("n", "stays")]
    metrics.observe_routes(lambda: routes)
    for number in range(2_100):
        count_all(metrics, f"gone{number}")
    count_all(metrics, "stays")
    assert series_of(metrics) == {"other"}
    count_all(metrics, "stays")
    assert series_of(metrics) == {"other", "stays"}


def test_a_second_source_of_a_gauge_replaces_the_first() -> None:
    """The autoscaler starts anew with each acquisition of the Lease, and knows other routes then."""
    metrics = OperatorMetrics()
    for route in ("old", "new"):
        metrics.observe_replicas(lambda route=route: {("n", route, "q", "set"): 1})  # type: ignore[misc]  # bound now
        metrics.observe_unserved(lambda route=route: {("n", route, "q"): 1.0})  # type: ignore[misc]
        reading = QueueReading("n", route, "q", QueueCounts(1, 0, 0), None)
        metrics.observe_queue(lambda reading=reading: [reading])  # type: ignore[misc]
        metrics.observe_conditions(lambda route=route: {("n", route, "Ready"): True})  # type: ignore[misc]
    assert series_of(metrics) == {"new"}
