"""The experiment's expected figures."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from chaski_cli.demo.experiment import EXPECTED, Metrics, Result, Row, in_order, messages, read_metrics, rows
from chaski_cli.demo.target import ENDPOINTS
from chaski_core.dead_letter import DeadLetter
from chaski_ingest.metrics import IngestMetrics
from chaski_runtime.observability.metrics.registry import MetricsRegistry
from chaski_worker.metrics import WorkerMetrics
from support.dead_letters.builder import a_dead_letter

METRICS = Metrics(
    accepted={"test_subject": 200},
    failed_retries={"400": 200, "500": 250, "timeout": 150},
    delivered={"200": 50},
    dead_letters={"400": 50, "500": 50, "timeout": 50},
    attempts={"200": 50, "400": 250, "500": 300, "timeout": 200},
)
EXACT = Result(dict(EXPECTED), METRICS, first_attempts_in_order=True)


def dead_letter(target: str) -> DeadLetter:
    """A dead letter of that target."""
    return a_dead_letter(route="demo/experiment", error_class="400", target=target)


def test_the_expected_table_is_exact() -> None:
    """Rows and their sum."""
    assert EXACT.exact
    assert EXACT.total == Row(200, 600, 800, 150)
    assert EXACT.as_json()["sum"] == {"messages": 200, "retries": 600, "requests": 800, "deadLetters": 150}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"rows": {**EXPECTED, "400": Row(50, 193, 243, 50)}}, id="a retry is missing"),
        pytest.param({"rows": {**EXPECTED, "500": Row(50, 250, 300, 49)}}, id="a dead letter is missing"),
        pytest.param({"rows": {**EXPECTED, "none": Row(0, 0, 0, 1)}}, id="a dead letter of another target"),
        pytest.param({"metrics": replace(METRICS, accepted={"test_subject": 199})}, id="accepted"),
        pytest.param({"metrics": replace(METRICS, failed_retries={"400": 243})}, id="failed retries"),
        pytest.param({"first_attempts_in_order": False}, id="order"),
    ],
)
def test_one_wrong_figure_is_not_exact(changes: dict[str, Any]) -> None:
    """Every figure counts, and the order of first attempts."""
    assert not replace(EXACT, **changes).exact


def test_rows_come_from_the_targets_count_and_the_store() -> None:
    """Requests beyond the first of a message are retries; dead letters count by their target."""
    table = rows({"200": {"0": 1, "4": 1}, "400": {"1": 5}, "500": {}}, [dead_letter("400"), dead_letter("none")])
    assert table == {
        "200": Row(2, 0, 2, 0),
        "400": Row(1, 4, 5, 1),
        "500": Row(0, 0, 0, 0),
        "timeout": Row(0, 0, 0, 0),
        "none": Row(0, 0, 0, 1),
    }


def test_messages_go_to_the_four_endpoints_in_turn() -> None:
    """200 of one subject, 50 to each endpoint, numbered."""
    sent = messages("http://t")
    assert [message["body"]["url"] for message in sent[:4]] == [f"http://t/{endpoint}" for endpoint in ENDPOINTS]
    assert set(Counter(message["body"]["url"] for message in sent).values()) == {50}
    assert {message["subject"] for message in sent} == {"test_subject"}
    assert [message["body"]["content"]["number"] for message in sent] == list(range(200))


def test_an_overtaken_first_attempt_is_detected() -> None:
    """By the first arrival of each message at the target."""
    assert in_order([0, 1, 2])
    assert not in_order([0, 2, 1])


def test_figures_are_read_from_the_real_metrics_page() -> None:
    """The names and labels that the runtime writes are the ones that the demo reads."""
    registry = MetricsRegistry()
    ingest, worker = IngestMetrics(registry), WorkerMetrics(registry)
    route = {"namespace": "demo", "route": "experiment", "queue": "messages"}
    ingest.accepted(**route, subject_group="test_subject")
    for stage, outcome, error_class in (
        ("first", "failed", "4xx"),
        ("retry", "failed", "4xx"),
        ("retry", "delivered", "none"),
    ):
        worker.attempts.observe((*route.values(), stage, "400", outcome, error_class), 0.1)
    worker.delivered.add((*route.values(), "400", "test_subject"))
    worker.dead_letters.add((*route.values(), "500", "5xx", "exhausted", "test_subject"))
    read = read_metrics(registry.render().decode())
    assert read == Metrics({"test_subject": 1}, {"400": 1}, {"400": 1}, {"500": 1}, {"400": 3})
    assert read.settled == 2
