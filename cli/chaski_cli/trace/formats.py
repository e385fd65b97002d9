"""Traces of messages as tables and JSON. Pure."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from chaski_cli.output import TextTable, age, printable, table
from chaski_core.ports import AttemptEntry
from chaski_core.timestamps import timestamp
from chaski_embedded.storage.reader import State, Trace


def traces_json(traces: Iterable[Trace]) -> dict[str, Any]:
    """`{messages: [...]}`, one item per message.

    An item: `{messageId, id, route, subject, state, replayOf, attempts: [{number, at, stage, outcome, errorClass, status,
    durationMs}]}`; `replayOf` is null for a message that is not a replay.
    """
    return {"messages": [trace_json(trace) for trace in traces]}


def trace_json(trace: Trace) -> dict[str, Any]:
    """One item of `traces_json`."""
    return {
        "messageId": trace.message_id,
        "id": trace.id,
        "route": trace.route or None,
        "subject": trace.subject,
        "state": trace.state.value,
        "replayOf": trace.replay_of,
        "attempts": [attempt_json(entry) for entry in trace.attempts],
    }


def attempt_json(entry: AttemptEntry) -> dict[str, Any]:
    """`{number, at, stage, outcome, errorClass, status, durationMs}`, and `detail` where there is one."""
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


_NARROW = ("#", "at", "outcome", "class", "ms", "error")
_COLORS = {State.PENDING: "yellow", State.DELIVERED: "green", State.DEAD_LETTERED: "red", State.DISCARDED: "yellow"}


def headline(trace: Trace) -> Text:
    """The message and its state."""
    label = f" (id {printable(trace.id)})" if trace.id != trace.message_id else ""
    origin = f", a replay of {printable(trace.replay_of)}" if trace.replay_of is not None else ""
    return Text.assemble(
        (printable(trace.message_id), "bold"),
        f"{label} of subject {printable(trace.subject)}{origin}: ",
        (trace.state.value, _COLORS[trace.state]),
    )


def trace_view(trace: Trace, *, wide: bool = False) -> RenderableType:
    """The message's state, and one row per attempt."""
    if not trace.attempts:
        return Group(headline(trace), Text("no attempts recorded yet"))
    return Group(headline(trace), attempts_table(trace.attempts, wide=wide))


def traces_table(traces: Iterable[Trace], now_ms: int, *, wide: bool) -> TextTable:
    """One row per message; a usual narrow one has 80 columns."""
    if not wide:
        rows: list[tuple[object, ...]] = [
            (each.message_id, each.state.value, len(each.attempts), _last_age(each, now_ms), each.subject)
            for each in traces
        ]
        return table(("message", "state", "#", "last", "subject"), rows, right=("#",), cut=("subject",))
    columns = ("message", "id", "route", "subject", "state", "attempts", "last attempt", "outcome")
    return table(columns, map(_wide_row, traces), right=("attempts",))


def _last_age(trace: Trace, now_ms: int) -> str:
    return age(trace.attempts[-1].at, now_ms) if trace.attempts else "-"


def _wide_row(trace: Trace) -> tuple[object, ...]:
    last = trace.attempts[-1] if trace.attempts else None
    at, outcome = ("-", "-") if last is None else (timestamp(last.at), last.detail or last.outcome)
    names = (trace.message_id, trace.id, trace.route or "-", trace.subject)
    return *names, trace.state.value, len(trace.attempts), at, outcome


def attempts_table(attempts: Iterable[AttemptEntry], *, wide: bool = False, head: bool = True) -> TextTable:
    """One row per attempt. A long error is continued on the terminal's next line: people search for its end."""
    columns = tuple(_VALUES) if wide else _NARROW
    return table(
        columns, ([_VALUES[name](entry) for name in columns] for entry in attempts), right=("#", "ms"), head=head
    )


_VALUES: Mapping[str, Callable[[AttemptEntry], object]] = {
    "#": lambda entry: entry.number,
    "at": lambda entry: timestamp(entry.at),
    "stage": lambda entry: entry.stage,
    "outcome": lambda entry: entry.outcome,
    "class": lambda entry: entry.error_class or "-",
    "status": lambda entry: "-" if entry.status is None else entry.status,
    "ms": lambda entry: f"{entry.duration_ms:.0f}",
    "error": lambda entry: entry.detail,
}
