"""A message's trace for people and machines. Pure."""

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from chaski_cli.console import printable, table
from chaski_core.ports import AttemptEntry
from chaski_core.timestamps import timestamp
from chaski_embedded.reader import State, Trace


def trace_json(trace: Trace) -> dict[str, Any]:
    """`{id, subject, state, attempts: [{number, at, stage, outcome, errorClass, status, durationMs}]}`."""
    return {
        "id": trace.id,
        "subject": trace.subject,
        "state": trace.state.value,
        "attempts": [_attempt_json(entry) for entry in trace.attempts],
    }


def _attempt_json(entry: AttemptEntry) -> dict[str, Any]:
    values: dict[str, Any] = {
        "number": entry.number,
        "at": timestamp(entry.at),
        "stage": entry.stage,
        "outcome": entry.outcome,
        "errorClass": entry.error_class or None,
        "status": entry.status,
        "durationMs": round(entry.duration_ms, 3),
    }
    if entry.detail:
        values["detail"] = entry.detail
    return values


_COLORS = {State.PENDING: "yellow", State.DELIVERED: "green", State.DEAD_LETTERED: "red"}


def trace_view(trace: Trace) -> RenderableType:
    """The message's state, and a line for each attempt."""
    head = Text.assemble(
        (printable(trace.id), "bold"),
        f" of subject {printable(trace.subject)}: ",
        (trace.state.value, _COLORS[trace.state]),
    )
    if not trace.attempts:
        return Group(head, Text("no attempt was noted down yet"))
    columns = ("#", "at", "stage", "outcome", "class", "status", "ms", "what happened")
    return Group(head, table(columns, [_row(entry) for entry in trace.attempts], right=("#", "ms")))


def _row(entry: AttemptEntry) -> tuple[object, ...]:
    return (
        entry.number,
        timestamp(entry.at),
        entry.stage,
        entry.outcome,
        entry.error_class or "-",
        "-" if entry.status is None else entry.status,
        f"{entry.duration_ms:.0f}",
        entry.detail,
    )
