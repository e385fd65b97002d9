"""The metrics of the operator."""

import pytest

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
