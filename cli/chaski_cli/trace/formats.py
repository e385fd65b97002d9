"""Traces of messages as tables and JSON. Pure."""

from collections.abc import Iterable
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from chaski_cli.output import printable, table
from chaski_core.ports import AttemptEntry
from chaski_core.timestamps import timestamp
from chaski_embedded.storage.reader import State, Trace


def traces_json(traces: Iterable[Trace]) -> dict[str, Any]:
    """`{messages: [...]}`, one item per message.

    An item: `{messageId, id, subject, state, replayOf, attempts: [{number, at, stage, outcome, errorClass, status,
    durationMs}]}`; `replayOf` is null for a message that is not a replay.
    """
    return {"messages": [_trace_json(trace) for trace in traces]}


def _trace_json(trace: Trace) -> dict[str, Any]:
    return {
        "messageId": trace.message_id,
        "id": trace.id,
        "subject": trace.subject,
        "state": trace.state.value,
        "replayOf": trace.replay_of,
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


_COLORS = {State.PENDING: "yellow", State.DELIVERED: "green", State.DEAD_LETTERED: "red", State.DISCARDED: "yellow"}


def trace_view(trace: Trace) -> RenderableType:
    """The message's state, and one row per attempt."""
    label = f" (id {printable(trace.id)})" if trace.id != trace.message_id else ""
    origin = f", a replay of {printable(trace.replay_of)}" if trace.replay_of is not None else ""
    head = Text.assemble(
        (printable(trace.message_id), "bold"),
        f"{label} of subject {printable(trace.subject)}{origin}: ",
        (trace.state.value, _COLORS[trace.state]),
    )
    if not trace.attempts:
        return Group(head, Text("no attempts recorded yet"))
    columns = ("#", "at", "stage", "outcome", "class", "status", "ms", "error")
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
