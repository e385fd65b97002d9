import logging
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from chaski_core import __version__
from chaski_core.ports import QueueCounts
from chaski_ingest.canary.metrics import CanaryMetrics
from chaski_runtime.observability.metrics.instruments import BufferReading, LaneReading, Metrics, QueueReading
from chaski_runtime.observability.metrics.operator_metrics import OperatorMetrics
from chaski_runtime.observability.metrics.registry import MetricsRegistry

QUEUE = {"namespace": "n", "route": "r", "queue": "q"}
ROUTE = {"namespace": "n", "route": "r"}


def everything() -> Metrics:
    """Metrics of which each was taken once."""
    metrics = Metrics()
    metrics.accepted(**QUEUE, subject_group="88")
    metrics.rejected(**ROUTE, reason="invalid")
    metrics.ingest_request(kind="single", status=202, duration_seconds=0.004)
    metrics.send_batch(entries=7)
    metrics.attempt(**QUEUE, stage="first", target="t", outcome="failed", error_class="4xx", duration_seconds=0.3)
    metrics.delivered(**QUEUE, target="t", subject_group="88")
    metrics.dead_letter(**QUEUE, target="t", error_class="4xx", reason="exhausted", subject_group="88")
    metrics.guard_refusal(**ROUTE, reason="address")
    metrics.repeat(**QUEUE, stage="first")
    metrics.shortage(**ROUTE, target="t", reason="descriptors")
    metrics.observe_shortages(lambda: {("n", "r", "all", "descriptors"): 1})
    metrics.backend_request("SendMessageBatch", "ok", 3)
    metrics.store_request("PutItem", "throttled")
    metrics.settled(**ROUTE, origin="ingest", end="delivered")
    metrics.latency(**QUEUE, seconds=1.5)
    metrics.handover_failure(**ROUTE, to="dead_letters")
    metrics.observe_buffer(lambda: BufferReading(1, 10, 200, 1000))
    metrics.observe_log_drops(lambda: 5)
    metrics.observe_queue(lambda: [QueueReading("n", "r", "q", QueueCounts(1, 2, 3), 4.5)])
    metrics.observe_lanes(lambda: [LaneReading("n", "r", "q", 6, 7, 8, 9, 10, 11, 12, 13, 0.25, 60.0)])
    metrics.observe_clock(lambda: -7_200.0)
    return metrics


def all_of_the_operator() -> OperatorMetrics:
    """The operator's metrics, of which each was taken once."""
    metrics = OperatorMetrics()
    metrics.reconciled(**ROUTE, result="ok", duration_seconds=0.2)
    metrics.drift(**ROUTE, kind="Deployment")
    metrics.scaled(**QUEUE, direction="up")
    metrics.scaling_failed(**QUEUE, reason="counts")
    metrics.aws_request("sqs", "GetQueueAttributes", "ok")
    metrics.observe_conditions(lambda: {("n", "r", "Ready"): True})
    metrics.observe_replicas(lambda: {("n", "r", "q", "wanted"): 3})
    metrics.observe_watch(lambda: 7.5)
    metrics.observe_unserved(lambda: {("n", "r", "q"): 604_800.0})
    metrics.observe_queue(lambda: [QueueReading("n", "r", "q", QueueCounts(4, 0, 0), None)])
    return metrics


def all_of_the_canary() -> CanaryMetrics:
    """The canary's metrics, of which each was taken once."""
    metrics = CanaryMetrics(lambda: {("n", "r"): 3.0})
    metrics.sent(("n", "r"), "accepted")
    metrics.arrived(("n", "r"), 0.2)
    return metrics


def samples(metrics: MetricsRegistry) -> dict[str, list[tuple[dict[str, str], float]]]:
    """What Prometheus would read: labels and values by name."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


ATTEMPT = QUEUE | {"stage": "first", "target": "t", "outcome": "failed", "error_class": "4xx"}


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("chaski_messages_accepted_total", QUEUE | {"subject_group": "88"}, 1),
        ("chaski_ingest_rejections_total", ROUTE | {"reason": "invalid"}, 1),
        ("chaski_ingest_request_duration_seconds_count", {"kind": "single", "status": "2xx"}, 1),
        ("chaski_ingest_batch_entries_sum", {}, 7),
        ("chaski_attempts_total", ATTEMPT, 1),
        ("chaski_attempt_duration_seconds_count", ATTEMPT, 1),
        ("chaski_attempt_duration_seconds_sum", ATTEMPT, 0.3),
        ("chaski_messages_delivered_total", QUEUE | {"target": "t", "subject_group": "88"}, 1),
        (
            "chaski_dead_letters_total",
            QUEUE | {"target": "t", "error_class": "4xx", "reason": "exhausted", "subject_group": "88"},
            1,
        ),
        ("chaski_guard_refusals_total", ROUTE | {"reason": "address"}, 1),
        ("chaski_repeats_total", QUEUE | {"stage": "first"}, 1),
        ("chaski_shortages_total", ROUTE | {"target": "t", "reason": "descriptors"}, 1),
        ("chaski_shortage", ROUTE | {"target": "all", "reason": "descriptors"}, 1),
        ("chaski_sqs_requests_total", {"action": "SendMessageBatch", "result": "ok"}, 3),
        ("chaski_log_lines_dropped_total", {}, 5),
        ("chaski_queue_oldest_message_age_seconds", QUEUE, 4.5),
        ("chaski_held_messages", QUEUE, 8),
        ("chaski_held_bytes", QUEUE, 9),
        ("chaski_subjects", QUEUE, 13),
        ("chaski_attempt_mean_seconds", QUEUE, 0.25),
        ("chaski_queue_oldest_received_age_seconds", QUEUE, 60),
        ("chaski_clock_offset_seconds", {}, -7_200),
        ("chaski_lanes_limit", QUEUE, 10),
        ("chaski_held_bytes_limit", QUEUE, 11),
        ("chaski_attempts_limit", QUEUE, 12),
        ("chaski_dynamodb_requests_total", {"action": "PutItem", "result": "throttled"}, 1),
        ("chaski_messages_settled_total", ROUTE | {"origin": "ingest", "end": "delivered"}, 1),
        ("chaski_message_latency_seconds_sum", QUEUE, 1.5),
        ("chaski_handover_failures_total", ROUTE | {"to": "dead_letters"}, 1),
        ("chaski_ingest_buffer_messages", {}, 1),
        ("chaski_ingest_buffer_messages_limit", {}, 10),
        ("chaski_ingest_buffer_bytes", {}, 200),
        ("chaski_ingest_buffer_bytes_limit", {}, 1000),
        ("chaski_build_info", {"version": __version__}, 1),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_metric_has_exactly_its_documented_name_and_labels(name: str, labels: dict[str, str], value: float) -> None:
    """Dashboards and alerts hang on them: no unit is appended, no scope or overflow label slips in."""
    assert samples(everything())[name] == [(labels, value)]


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
        ("chaski_replicas", QUEUE | {"state": "wanted"}, 3),
        ("chaski_operator_watch_age_seconds", {}, 7.5),
        ("chaski_queue_unserved_age_seconds", QUEUE, 604_800),
        ("chaski_queue_messages", QUEUE | {"state": "delayed"}, 0),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_metric_of_the_operator_has_exactly_its_name_and_labels(
    name: str, labels: dict[str, str], value: float
) -> None:
    """As above."""
    assert (labels, value) in samples(all_of_the_operator())[name]


@pytest.mark.parametrize(
    ("name", "states"),
    [
        ("chaski_queue_messages", {"visible": 1, "in_flight": 2, "delayed": 3}),
        ("chaski_lanes", {"busy": 6, "waiting": 7}),
    ],
)
def test_a_gauge_of_states_has_a_series_for_each(name: str, states: dict[str, float]) -> None:
    """All by one label, `state`."""
    assert samples(everything())[name] == [(QUEUE | {"state": state}, value) for state, value in states.items()]


def test_there_is_no_metric_but_the_documented_ones() -> None:
    """Beside those of the process itself."""
    text = (Path(__file__).parents[5] / "docs" / "metrics.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"`(chaski_\w+)", text))
    shown = {**samples(everything()), **samples(all_of_the_operator()), **samples(all_of_the_canary())}
    names = {re.sub(r"_(bucket|count|sum)$", "", name) for name in shown if name.startswith("chaski_")}
    assert names | {"chaski_metric_overflows_total"} == documented


def test_buckets_of_durations_reach_from_milliseconds_to_the_longest_timeout() -> None:
    """A route's `timeoutSeconds` may be 300."""
    buckets = samples(everything())["chaski_attempt_duration_seconds_bucket"]
    values = {labels["le"]: value for labels, value in buckets}
    assert next(iter(values)) == "0.005"
    assert list(values)[-2:] == ["300.0", "+Inf"]
    assert (values["0.25"], values["0.5"], values["+Inf"]) == (0, 1, 1)


@pytest.mark.promise(8)
def test_what_is_unknown_has_no_series() -> None:
    """Unknown is not zero."""
    metrics = Metrics()
    metrics.observe_queue(lambda: [QueueReading("n", "r", "q", None, None)])
    metrics.observe_clock(lambda: None)
    metrics.observe_lanes(lambda: [LaneReading("n", "r", "q", 6, 7, 8, 9, 10, 11, 12)])
    found = samples(metrics)
    assert "chaski_clock_offset_seconds" not in found
    assert "chaski_queue_oldest_received_age_seconds" not in found
    assert "chaski_queue_messages" not in found
    assert "chaski_queue_oldest_message_age_seconds" not in found


@pytest.mark.promise(8)
def test_a_gauge_that_fails_is_left_out_and_the_others_stay(caplog: pytest.LogCaptureFixture) -> None:
    """One broken reading must not blind the whole scrape."""
    metrics = everything()
    metrics.observe_queue(lambda: 1 / 0)  # type: ignore[arg-type,return-value]  # fails when read
    assert len(samples(metrics)["chaski_queue_messages"]) == 3
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


@pytest.mark.promise(12)
def test_series_are_bounded_whatever_labels_come() -> None:
    """Beyond the bound all is counted under `other`."""
    metrics = Metrics()
    for n in range(2_100):
        metrics.rejected(namespace="n", route=f"r{n}", reason="invalid")
    series = samples(metrics)["chaski_ingest_rejections_total"]
    assert len(series) == 2_001
    assert ({"namespace": "other", "route": "other", "reason": "other"}, 100) in series
    overflows = samples(metrics)["chaski_metric_overflows_total"]
    assert overflows == [({"metric": "chaski_ingest_rejections_total"}, 100)]


def test_two_of_a_kind_know_nothing_of_each_other() -> None:
    """Nothing is global."""
    everything()
    assert "chaski_attempts_total" not in samples(Metrics())


async def test_a_scrape_says_the_same_as_rendering() -> None:
    """Only where it is made differs."""
    metrics = everything()

    def own(text: bytes) -> list[str]:
        return [line for line in text.decode().splitlines() if "chaski_" in line]

    assert own(await metrics.scrape()) == own(metrics.render())
