"""Dead letters as rows: written, read, and searched by the index that fits the filter."""

import sqlite3
from collections.abc import Sequence
from typing import Any

from chaski_core import json_codec
from chaski_core.dead_letter import (
    Claimed,
    DeadLetter,
    DeadLetterFilter,
    DeadLetterKey,
    ReplayClaim,
    ReplayMark,
    claimable,
)
from chaski_core.ports import RETENTION_SECONDS
from chaski_core.redaction import read_redaction
from chaski_core.retry.ladder import Reason, note_values, notes_of
from chaski_core.retry.outcome import class_of_key
from chaski_embedded.storage import ledger

PAGE = 200  # rows in memory at a time
DEFAULT_RETENTION_DAYS = 30  # of a route that is not in this folder: the default of a ChaskiRoute
_DAY_MS = 86_400_000
_DIED_MS = (RETENTION_SECONDS + 86_400) * 1000  # minimum retention of the record that a message became a dead letter
_COLUMNS = "dead_lettered_at, message_id, subject, route, id, target, error_class, item, raw, replay"
_IS_KEY = "dead_lettered_at = ? AND message_id = ? AND subject = ? AND route = ?"

Key = tuple[int, str, str, str]  # dead_lettered_at, message_id, subject, route: the order of reading
START: Key = (-(2**63), "", "", "")
END: Key = (2**63 - 1, "", "", "")


def insert(connection: sqlite3.Connection, dead_letter: DeadLetter) -> None:
    """Stores a dead letter for the retention of its route, unless its identity is stored already."""
    days = connection.execute("SELECT retention_days FROM routes WHERE key = ?", (dead_letter.route,)).fetchone()
    expires_at = dead_letter.dead_lettered_at + (days[0] if days else DEFAULT_RETENTION_DAYS) * _DAY_MS
    died = (dead_letter.message_id, max(expires_at, dead_letter.dead_lettered_at + _DIED_MS))
    if not connection.execute("INSERT OR IGNORE INTO died (message_id, expires_at) VALUES (?, ?)", died).rowcount:
        return
    connection.execute(
        f"INSERT INTO dead_letters ({_COLUMNS}, class, expires_at, replay_of) "  # noqa: S608 - constants
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            dead_letter.dead_lettered_at,
            dead_letter.message_id,
            dead_letter.subject,
            dead_letter.route,
            dead_letter.id,
            dead_letter.target,
            dead_letter.error_class,
            _item(dead_letter),
            dead_letter.raw,
            _mark_json(dead_letter.replay),
            class_of_key(dead_letter.error_class),
            expires_at,
            dead_letter.replay_of,
        ),
    )


def first_page(*, newest_first: bool) -> Key:
    """Where reading starts, for `page`."""
    return END if newest_first else START


def page(
    connection: sqlite3.Connection, wanted: DeadLetterFilter, after: Key, *, newest_first: bool = False
) -> tuple[list[DeadLetter], Key | None]:
    """The next dead letters that pass the filter, and the start of the next page; None: the end.

    A page may have fewer dead letters than rows: a text is searched in the rows that were read.
    """
    statement, values = _query(wanted, after, newest_first=newest_first)
    rows = connection.execute(statement, values).fetchall()
    found = [each for each in map(_read_row, rows) if wanted.text is None or wanted.matches(each)]
    return found, rows[-1][:4] if len(rows) == PAGE else None


def of_message(connection: sqlite3.Connection, message_id: str) -> list[DeadLetter]:
    """Every dead letter of an identity, of its replays, or of a label, oldest first."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM dead_letters WHERE message_id = ? OR id = ? OR replay_of = ? "  # noqa: S608 - constants
        "ORDER BY dead_lettered_at, message_id, subject, route",
        (message_id, message_id, message_id),
    )
    return [_read_row(row) for row in rows.fetchall()]


def of_identity(connection: sqlite3.Connection, message_id: str) -> list[DeadLetter]:
    """Every dead letter of an identity, oldest first; several only from releases before identities."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM dead_letters WHERE message_id = ? ORDER BY dead_lettered_at, subject, route",  # noqa: S608 - constants
        (message_id,),
    )
    return [_read_row(row) for row in rows.fetchall()]


def claim(
    connection: sqlite3.Connection, wanted: Sequence[tuple[DeadLetterKey, ReplayMark | None]], new: ReplayClaim
) -> list[Claimed]:
    """Claims dead letters for a run that is about to replay them."""
    return [_claim(connection, key, mark, new) for key, mark in wanted]


def _claim(connection: sqlite3.Connection, key: DeadLetterKey, mark: ReplayMark | None, new: ReplayClaim) -> Claimed:
    row = connection.execute(f"SELECT replay, claim FROM dead_letters WHERE {_IS_KEY}", _values(key)).fetchone()  # noqa: S608 - constants
    if row is None:
        return Claimed.GONE
    current = None if row[1] is None else ReplayClaim(*json_codec.loads(row[1].encode()))
    result = claimable(mark, _read_mark(row[0]), current, new)
    if result is Claimed.YES:
        text = json_codec.dumps([new.run, new.at]).decode()
        connection.execute(f"UPDATE dead_letters SET claim = ? WHERE {_IS_KEY}", (text, *_values(key)))  # noqa: S608 - constants
    return result


def mark(connection: sqlite3.Connection, marks: Sequence[tuple[DeadLetterKey, ReplayMark]]) -> None:
    """Marks dead letters as replayed, and ends claims on them."""
    connection.executemany(
        f"UPDATE dead_letters SET replay = ?, claim = NULL WHERE {_IS_KEY}",  # noqa: S608 - constants
        [(_mark_json(each), *_values(key)) for key, each in marks],
    )


def discard(connection: sqlite3.Connection, keys: Sequence[DeadLetterKey]) -> None:
    """Deletes dead letters."""
    deleted = connection.executemany(f"DELETE FROM dead_letters WHERE {_IS_KEY}", [_values(key) for key in keys])  # noqa: S608 - constants
    ledger.count_dropped(connection, deleted.rowcount)


def _values(key: DeadLetterKey) -> Key:
    return key.dead_lettered_at, key.message_id, key.subject, key.route


def _query(wanted: DeadLetterFilter, after: Key, *, newest_first: bool) -> tuple[str, list[object]]:
    # Only the first equality may use an index; `+` excludes the others from the planner's choice.
    equal: list[tuple[str, str]] = []
    if wanted.subject is not None:
        equal.append(("subject", wanted.subject))
    if wanted.error_class is not None:
        specific = class_of_key(wanted.error_class) != wanted.error_class
        equal.append(("error_class" if specific else "class", wanted.error_class))
    if wanted.target is not None:
        equal.append(("target", wanted.target))
    conditions = [f"{'+' if position else ''}{column} = ?" for position, (column, _) in enumerate(equal)]
    values: list[object] = [value for _, value in equal]
    if wanted.route is not None:
        conditions.append("+route = ?")
        values.append(wanted.route)
    if wanted.replayed is not None:
        conditions.append(f"replay IS {'NOT ' if wanted.replayed else ''}NULL")
    first, last = START if wanted.since is None else (wanted.since, "", "", ""), END
    if wanted.until is not None:
        last = (wanted.until, "", "", "")
    if newest_first:
        last = min(last, after)
    else:
        first = max(first, after)
    for comparison, bound in ((">", first), ("<", last)):
        conditions.append(f"(dead_lettered_at, message_id, subject, route) {comparison} (?, ?, ?, ?)")
        values += bound
    order = ", ".join(
        f"{name}{' DESC' * newest_first}" for name in ("dead_lettered_at", "message_id", "subject", "route")
    )
    statement = f"SELECT {_COLUMNS} FROM dead_letters WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT ?"  # noqa: S608 - constants
    return statement, [*values, PAGE]


# ---- dead letter <-> row


def _item(dead_letter: DeadLetter) -> str:
    values = {
        "reason": dead_letter.reason.value,
        "url": dead_letter.url,
        "attempts": dead_letter.attempts,
        "errors": note_values(dead_letter.errors),
        "envelope": dead_letter.envelope,
        "detail": dead_letter.detail,
        "sequenceNumber": dead_letter.sequence_number,
        "redaction": dead_letter.redaction.as_text(),
    }
    return json_codec.dumps(values).decode()


def _read_row(row: Sequence[Any]) -> DeadLetter:
    dead_lettered_at, message_id, subject, route, label, target, error_class, item, raw, replay = row
    values = json_codec.loads(item.encode())
    return DeadLetter(
        route=route,
        message_id=message_id,
        id=label,
        subject=subject,
        dead_lettered_at=dead_lettered_at,
        reason=Reason(values["reason"]),
        error_class=error_class,
        target=target,
        url=values["url"],
        attempts=values["attempts"],
        errors=notes_of(values["errors"]),
        envelope=values["envelope"],
        raw=raw,
        detail=values["detail"],
        replay=_read_mark(replay),
        sequence_number=values.get("sequenceNumber"),
        redaction=read_redaction(values.get("redaction", "")),
    )


def _mark_json(mark: ReplayMark | None) -> str | None:
    return None if mark is None else json_codec.dumps([mark.run, mark.epoch, mark.at, mark.message_id]).decode()


def _read_mark(stored: str | None) -> ReplayMark | None:
    return (
        None if stored is None else ReplayMark(*json_codec.loads(stored.encode()))
    )  # three values in rows of earlier releases
