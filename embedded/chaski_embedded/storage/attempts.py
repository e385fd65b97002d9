"""Attempt records and the journal as rows."""

import sqlite3
from collections.abc import Sequence
from dataclasses import fields
from operator import attrgetter

from chaski_core import json_codec
from chaski_core.ports import RETENTION_SECONDS, AttemptEntry, AttemptRecord
from chaski_core.retry.ladder import LadderState, note_values, notes_of

_RECORD_RETENTION_MS = (RETENTION_SECONDS + 86_400) * 1000  # a day longer than the message exists
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
    values = json_codec.loads(row[0].encode())
    state = LadderState(values["key"], values["retries"], notes_of(values["errors"]))
    return AttemptRecord(state, values["dueAt"], values["exhaustedAt"], values.get("receives", 0))


def delete_record(connection: sqlite3.Connection, message_id: str) -> None:
    """Deletes the record of a message, if there is one."""
    connection.execute("DELETE FROM attempt_records WHERE message_id = ?", (message_id,))


def append_entries(connection: sqlite3.Connection, entries: Sequence[AttemptEntry]) -> None:
    """Adds attempts to the journal."""
    connection.executemany(
        f"INSERT INTO journal ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - constants
        [_values(entry) for entry in entries],
    )


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
