"""`kubectl chaski status`, and the route by which the other commands of the plugin find queues and table."""

import io
from typing import Any

import pytest
from rich.console import Console

from chaski_cli.cluster.routes import resolved_of
from chaski_cli.cluster.status import status_json, status_view
from chaski_core.route.resolved_document import load_resolved, resolved_document
from chaski_core.timestamps import milliseconds
from chaski_runtime.process.command_error import CommandError
from support.resolved import resolved_text

NOW = milliseconds("2026-11-30T12:00:00Z") or 0


def condition(name: str, status: str, reason: str) -> dict[str, str]:
    """A condition since two hours."""
    at = "2026-11-30T10:00:00Z"
    return {"type": name, "status": status, "reason": reason, "message": f"{reason}.", "lastTransitionTime": at}


def document(ready: str = "True", **status: Any) -> dict[str, Any]:
    """A ChaskiRoute as the API server returns it."""
    (resolved,) = load_resolved(resolved_text("orders"))
    written = resolved_document(resolved)
    conditions = [
        condition("Ready", ready, "Ready" if ready == "True" else "QueueNotOwned"),
        condition("Drifted", "False", "InSync"),
    ]
    return {
        **written["route"],
        "metadata": {"name": "orders", "namespace": "n", "generation": 2},
        "status": {
            "observedGeneration": 2,
            "conditions": conditions,
            "backlog": 7,
            "queues": [{"name": "messages", "role": "Queue", "state": "Active", "partitions": 1, "visible": 7}],
            "resolved": written["resolved"],
            **status,
        },
    }


def shown(route: dict[str, Any], *, wide: bool = False) -> str:
    """The status in a file."""
    console = Console(file=io.StringIO(), width=200, color_system=None, soft_wrap=True)
    console.print(status_view(route, NOW, wide=wide))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_ready_route_is_shown_without_its_good_conditions() -> None:
    """`wide` shows them; unknown counts are dashes, not zeros."""
    text = shown(document())
    assert text.startswith("n/orders: ready\nReady: Ready.\n7 messages waiting")
    assert "CONDITION" not in text
    assert "Drifted" in shown(document(), wide=True)
    row = next(line for line in text.splitlines() if line.startswith("messages"))
    assert row.split() == ["messages", "Active", "1", "7", "-", "-", "-/-"]
    assert "https://t.example/" in text


def test_what_needs_attention_is_shown_with_its_age() -> None:
    """And that the operator has not followed a change."""
    text = shown(document("False", observedGeneration=1))
    assert "n/orders: not ready" in text
    assert "has not followed the latest change" in text
    row = next(line for line in text.splitlines() if "QueueNotOwned." in line and "False" in line)
    assert row.split() == ["Ready", "False", "2h", "QueueNotOwned", "QueueNotOwned."]


def test_json_keeps_the_status_and_unknown_counts_as_null() -> None:
    """With generation and table."""
    found = status_json(document())
    assert (found["route"], found["ready"], found["backlog"], found["retrying"]) == ("n/orders", True, 7, None)
    assert (found["queueGeneration"], found["deadLetterTable"]) == (1, "table")
    assert status_json({"metadata": {"name": "r", "namespace": "n"}, "spec": document()["spec"]})["ready"] is False


def test_queues_and_table_come_from_the_status() -> None:
    """A route whose queues do not exist yet is an error that names the next step."""
    resolved = resolved_of(document())
    assert resolved.current.queues == {"messages": ("https://q/1",)}
    assert resolved.dead_letter_table == "table"
    for missing in ({"resolved": None}, {"resolved": {**document()["status"]["resolved"], "deadLetterTable": None}}):
        with pytest.raises(CommandError) as refused:
            resolved_of(document(**missing))
        assert refused.value.next_step == "see its conditions: kubectl chaski status n/orders"
