"""Attempt records, control records and the journal as rows."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, fields
from operator import attrgetter
from typing import Any

from chaski_core import json_codec
from chaski_core.ports import RETENTION_SECONDS, AttemptEntry, AttemptRecord, HiddenHead
from chaski_core.retry.control import ControlAction, ControlRecord
from chaski_core.retry.ladder import LadderState, note_values, notes_of
from chaski_embedded.storage.statements import insert_rows

_RECORD_RETENTION_MS = (RETENTION_SECONDS + 86_400) * 1000  # a day longer than the message exists
_NEVER = 2**63 - 1
_ACTIONS = frozenset(action.value for action in ControlAction)
_values = attrgetter(*(field.name for field in fields(AttemptEntry)))
_COLUMNS = "message_id, id, subject, route, number, at, stage, outcome, error_class, status, duration_ms, detail"


def write_record(connection: sqlite3.Connection, message_id: str, record: AttemptRecord, now_ms: int) -> None:
    """Stores the record of a message; replaces an earlier one."""
    values = {
        "key": record.state.key,
        "retries": record.state.retries,
        "errors": note_values(record.state.errors),
        "dueAt": record.due_at,
        "exhaustedAt": record.exhausted_at,
        "receives": record.receives,
        "head": None if record.head is None else list(astuple(record.head)),
        "heldAt": record.held_at,
    }
    connection.execute(
        "INSERT OR REPLACE INTO attempt_records (message_id, record, expires_at) VALUES (?, ?, ?)",
        (message_id, json_codec.dumps(values).decode(), now_ms + _RECORD_RETENTION_MS),
    )


def read_record(connection: sqlite3.Connection, message_id: str) -> AttemptRecord | None:
    """The record of a message, if there is one."""
    row = connection.execute("SELECT record FROM attempt_records WHERE message_id = ?", (message_id,)).fetchone()
    if row is None:
        return None
    return _record(json_codec.loads(row[0].encode()))


def hidden_heads(connection: sqlite3.Connection, route: str) -> Iterator[tuple[str, AttemptRecord]]:
    """MessageId and record of each message of a route that waits at its head."""
    rows = connection.execute(
        "SELECT message_id, record FROM attempt_records WHERE json_extract(record, '$.head[0]') = ?", (route,)
    )
    for message_id, text in rows:
        yield message_id, _record(json_codec.loads(text.encode()))


def _record(values: Mapping[str, Any]) -> AttemptRecord:
    state, head = LadderState(values["key"], values["retries"], notes_of(values["errors"])), values.get("head")
    return AttemptRecord(
        state,
        values["dueAt"],
        values["exhaustedAt"],
        values.get("receives", 0),
        None if head is None else HiddenHead(*head),
        values.get("heldAt"),
    )


def delete_record(connection: sqlite3.Connection, message_id: str) -> None:
    """Deletes the record of a message, if there is one."""
    connection.execute("DELETE FROM attempt_records WHERE message_id = ?", (message_id,))


def read_controls(connection: sqlite3.Connection, route: str) -> list[ControlRecord]:
    """The control records of a route."""
    rows = connection.execute(
        "SELECT subject, action, at, message_id, attempts FROM control_records WHERE route = ?", (route,)
    )
    return [
        ControlRecord(route, subject, ControlAction(action), *rest)
        for subject, action, *rest in rows.fetchall()
        if action in _ACTIONS
    ]


def write_control(connection: sqlite3.Connection, record: ControlRecord) -> None:
    """Stores a control record; replaces one about the same message, or an earlier hold of the subject."""
    expires_at = record.at + _RECORD_RETENTION_MS if record.message_id else _NEVER
    connection.execute(
        "INSERT OR REPLACE INTO control_records (route, message_id, subject, action, at, attempts, expires_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (record.route, record.message_id, record.subject, record.action.value, record.at, record.attempts, expires_at),
    )


def remove_control(connection: sqlite3.Connection, record: ControlRecord) -> None:
    """Deletes a control record, unless another one has replaced it."""
    connection.execute(
        "DELETE FROM control_records WHERE route = ? AND message_id = ? AND subject = ? AND action = ? AND at = ?",
        (record.route, record.message_id, record.subject, record.action.value, record.at),
    )


def append_entries(connection: sqlite3.Connection, entries: Sequence[AttemptEntry]) -> None:
    """Adds attempts to the journal."""
    insert_rows(connection, f"INSERT INTO journal ({_COLUMNS})", [_values(entry) for entry in entries])


def read_entries(connection: sqlite3.Connection, message_id: str) -> list[AttemptEntry]:
    """Every attempt of an identity, oldest first. Rows of releases before identities have the label instead."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM journal WHERE message_id = ? ORDER BY at, number, row",  # noqa: S608 - constants
        (message_id,),
    )
    return [AttemptEntry(identity, label or identity, *rest) for identity, label, *rest in rows.fetchall()]


def identities(connection: sqlite3.Connection, message_id: str) -> list[str]:
    """Identities with attempts: those that are the given identity or have it as label."""
    rows = connection.execute(
        "SELECT message_id FROM journal WHERE message_id = ? OR id = ? GROUP BY 1 ORDER BY min(row)",
        (message_id, message_id),
    )
    return [identity for (identity,) in rows.fetchall()]
