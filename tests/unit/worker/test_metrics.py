"""The metrics of workers."""

import pytest

from chaski_runtime.observability.metrics.queue_gauges import QueueReading
from chaski_runtime.observability.metrics.registry import MetricsRegistry
from chaski_worker.metrics import LaneReading, WorkerMetrics
from support.metric_pages import QUEUE, ROUTE, samples, take_worker_metrics

ATTEMPT = QUEUE | {"stage": "first", "target": "t", "outcome": "failed", "error_class": "4xx"}


@pytest.fixture
def registry() -> MetricsRegistry:
    """A page on which each metric was taken once."""
    made = MetricsRegistry()
    take_worker_metrics(made)
    return made


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("chaski_attempts_total", ATTEMPT, 1),
        ("chaski_attempt_duration_seconds_count", ATTEMPT, 1),
        ("chaski_attempt_duration_seconds_sum", ATTEMPT, 0.3),
        ("chaski_messages_delivered_total", QUEUE | {"target": "t", "subject_group": "88"}, 1),
        ("chaski_messages_discarded_total", QUEUE | {"target": "t"}, 1),
        (
            "chaski_dead_letters_total",
            QUEUE | {"target": "t", "error_class": "4xx", "reason": "exhausted", "subject_group": "88"},
            1,
        ),
        ("chaski_guard_refusals_total", ROUTE | {"reason": "address"}, 1),
        ("chaski_repeats_total", QUEUE | {"stage": "first"}, 1),
        ("chaski_shortages_total", ROUTE | {"target": "t", "reason": "descriptors"}, 1),
        ("chaski_shortage", ROUTE | {"target": "all", "reason": "descriptors"}, 1),
        ("chaski_target_held", ROUTE | {"target": "t", "reason": "Suspended"}, 1),
        ("chaski_queue_oldest_message_age_seconds", QUEUE, 4.5),
        ("chaski_held_messages", QUEUE, 8),
        ("chaski_held_bytes", QUEUE, 9),
        ("chaski_subjects", QUEUE, 13),
        ("chaski_attempt_mean_seconds", QUEUE, 0.25),
        ("chaski_queue_oldest_received_age_seconds", QUEUE, 60),
        ("chaski_lanes_limit", QUEUE, 10),
        ("chaski_held_bytes_limit", QUEUE, 11),
        ("chaski_attempts_limit", QUEUE, 12),
        ("chaski_messages_settled_total", ROUTE | {"origin": "ingest", "end": "delivered"}, 1),
        ("chaski_message_latency_seconds_sum", QUEUE, 1.5),
        ("chaski_handover_failures_total", ROUTE | {"to": "dead_letters"}, 1),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_metric_has_exactly_its_documented_name_and_labels(
    registry: MetricsRegistry, name: str, labels: dict[str, str], value: float
) -> None:
    """Dashboards and alerts depend on them: no unit is appended, no scope or overflow label is added."""
    assert samples(registry)[name] == [(labels, value)]


@pytest.mark.parametrize(
    ("name", "states"),
    [
        ("chaski_queue_messages", {"visible": 1, "in_flight": 2, "delayed": 3}),
        ("chaski_lanes", {"busy": 6, "waiting": 7}),
    ],
)
def test_a_gauge_of_states_has_a_series_for_each(
    registry: MetricsRegistry, name: str, states: dict[str, float]
) -> None:
    """All by one label, `state`."""
    assert samples(registry)[name] == [(QUEUE | {"state": state}, value) for state, value in states.items()]


def test_buckets_of_durations_reach_from_milliseconds_to_the_longest_timeout(registry: MetricsRegistry) -> None:
    """A route's `timeoutSeconds` may be 300."""
    buckets = samples(registry)["chaski_attempt_duration_seconds_bucket"]
    values = {labels["le"]: value for labels, value in buckets}
    assert next(iter(values)) == "0.005"
    assert list(values)[-2:] == ["300.0", "+Inf"]
    assert (values["0.25"], values["0.5"], values["+Inf"]) == (0, 1, 1)


@pytest.mark.promise(8)
def test_an_unknown_value_has_no_series() -> None:
    """Unknown is not zero."""
    registry = MetricsRegistry()
    metrics = WorkerMetrics(registry)
    metrics.observe_queue(lambda: [QueueReading("n", "r", "q", None, None)])
    metrics.observe_lanes(lambda: [LaneReading("n", "r", "q", 6, 7, 8, 9, 10, 11, 12)])
    found = samples(registry)
    assert "chaski_queue_oldest_received_age_seconds" not in found
    assert "chaski_queue_messages" not in found
    assert "chaski_queue_oldest_message_age_seconds" not in found


@pytest.mark.promise(8)
def test_a_gauge_that_fails_is_left_out_and_the_others_stay(caplog: pytest.LogCaptureFixture) -> None:
    """One broken reading must not hide the whole page."""
    registry = MetricsRegistry()
    metrics = take_worker_metrics(registry)
    metrics.observe_queue(lambda: 1 / 0)  # type: ignore[arg-type,return-value]  # fails when read
    assert len(samples(registry)["chaski_queue_messages"]) == 3
    assert [record.levelname for record in caplog.records] == ["ERROR"]
