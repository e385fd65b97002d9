"""Dead letters as rows: written, read back exactly, and searched by the index that fits the filter."""

import sqlite3
from collections.abc import Sequence
from typing import Any

from chaski_core import jsontext
from chaski_core.deadletter import DeadLetter, DeadLetterFilter, LetterKey, ReplayMark
from chaski_core.ladder import ErrorNote, Reason
from chaski_core.outcome import class_of_key
from chaski_embedded import ledger

PAGE = 200  # rows in memory at a time
DEFAULT_RETENTION_DAYS = 30  # of a route that is not in this folder: DESIGN's default
_DAY_MS = 86_400_000
_COLUMNS = "dead_lettered_at, id, subject, route, target, error_class, item, raw, replay"
_IS_KEY = "dead_lettered_at = ? AND id = ? AND subject = ? AND route = ?"

Key = tuple[int, str, str, str]  # dead_lettered_at, id, subject, route: the order of reading
START: Key = (-(2**63), "", "", "")


def insert(connection: sqlite3.Connection, letter: DeadLetter) -> None:
    """Keeps a dead letter, for the retention of its route; one with the same key is left as it is."""
    days = connection.execute("SELECT retention_days FROM routes WHERE key = ?", (letter.route,)).fetchone()
    expires_at = letter.dead_lettered_at + (days[0] if days else DEFAULT_RETENTION_DAYS) * _DAY_MS
    connection.execute(
        f"INSERT OR IGNORE INTO dead_letters ({_COLUMNS}, class, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - constants
        (
            letter.dead_lettered_at,
            letter.id,
            letter.subject,
            letter.route,
            letter.target,
            letter.error_class,
            _item(letter),
            letter.raw,
            _mark_json(letter.replay),
            class_of_key(letter.error_class),
            expires_at,
        ),
    )


def page(connection: sqlite3.Connection, wanted: DeadLetterFilter, after: Key) -> tuple[list[DeadLetter], Key | None]:
    """The next dead letters that pass the filter, oldest first, and where the page after them begins; None: the end.

    A page may hold fewer letters than there are rows in it: texts are looked for in the rows.
    """
    statement, values = _query(wanted, after)
    rows = connection.execute(statement, values).fetchall()
    found = [letter for letter in map(_letter, rows) if wanted.text is None or wanted.keeps(letter, _document(letter))]
    return found, rows[-1][:4] if len(rows) == PAGE else None


def of_message(connection: sqlite3.Connection, message_id: str) -> list[DeadLetter]:
    """Every dead letter of a message id, oldest first."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM dead_letters WHERE id = ? "  # noqa: S608 - constants
        "ORDER BY dead_lettered_at, subject, route",
        (message_id,),
    )
    return [_letter(row) for row in rows.fetchall()]


def mark(connection: sqlite3.Connection, marks: Sequence[tuple[LetterKey, ReplayMark]]) -> None:
    """Notes down that dead letters were sent again."""
    connection.executemany(
        f"UPDATE dead_letters SET replay = ? WHERE {_IS_KEY}",  # noqa: S608 - constants
        [(_mark_json(made), *_values(key)) for key, made in marks],
    )


def discard(connection: sqlite3.Connection, keys: Sequence[LetterKey]) -> None:
    """Deletes dead letters."""
    deleted = connection.executemany(f"DELETE FROM dead_letters WHERE {_IS_KEY}", [_values(key) for key in keys])  # noqa: S608 - as above
    ledger.note_dropped(connection, deleted.rowcount)


def _values(key: LetterKey) -> Key:
    return key.dead_lettered_at, key.id, key.subject, key.route


def _query(wanted: DeadLetterFilter, after: Key) -> tuple[str, list[object]]:
    # At most one equality is left to an index; `+` keeps the others from luring the planner to a second one.
    equal: list[tuple[str, str]] = []
    if wanted.subject is not None:
        equal.append(("subject", wanted.subject))
    if wanted.error_class is not None:
        precise = class_of_key(wanted.error_class) != wanted.error_class
        equal.append(("error_class" if precise else "class", wanted.error_class))
    if wanted.target is not None:
        equal.append(("target", wanted.target))
    conditions = [f"{'+' if position else ''}{column} = ?" for position, (column, _) in enumerate(equal)]
    values: list[object] = [value for _, value in equal]
    if wanted.route is not None:
        conditions.append("+route = ?")
        values.append(wanted.route)
    if wanted.replayed is not None:
        conditions.append(f"replay IS {'NOT ' if wanted.replayed else ''}NULL")
    if wanted.since is not None:
        after = max(after, (wanted.since, "", "", ""))
    conditions.append("(dead_lettered_at, id, subject, route) > (?, ?, ?, ?)")
    values += after
    if wanted.until is not None:
        conditions.append("dead_lettered_at < ?")
        values.append(wanted.until)
    statement = (
        f"SELECT {_COLUMNS} FROM dead_letters WHERE {' AND '.join(conditions)} "  # noqa: S608 - constants
        "ORDER BY dead_lettered_at, id, subject, route LIMIT ?"
    )
    return statement, [*values, PAGE]


# ---- letter <-> row


def _item(letter: DeadLetter) -> str:
    values = {
        "reason": letter.reason.value,
        "url": letter.url,
        "attempts": letter.attempts,
        "errors": notes_json(letter.errors),
        "envelope": letter.envelope,
        "detail": letter.detail,
    }
    return jsontext.dumps(values).decode()


def _letter(row: Sequence[Any]) -> DeadLetter:
    dead_lettered_at, message_id, subject, route, target, error_class, item, raw, replay = row
    values = jsontext.loads(item.encode())
    return DeadLetter(
        route=route,
        id=message_id,
        subject=subject,
        dead_lettered_at=dead_lettered_at,
        reason=Reason(values["reason"]),
        error_class=error_class,
        target=target,
        url=values["url"],
        attempts=values["attempts"],
        errors=read_notes(values["errors"]),
        envelope=values["envelope"],
        raw=raw,
        detail=values["detail"],
        replay=None if replay is None else ReplayMark(*jsontext.loads(replay.encode())),
    )


def _mark_json(made: ReplayMark | None) -> str | None:
    return None if made is None else jsontext.dumps([made.run, made.epoch, made.at]).decode()


def notes_json(notes: Sequence[ErrorNote]) -> list[list[object]]:
    """Errors as they are stored: nothing is cut."""
    return [[note.key, note.at, note.detail, note.excerpt] for note in notes]


def read_notes(stored: Sequence[Sequence[Any]]) -> tuple[ErrorNote, ...]:
    """Errors as `notes_json` stored them."""
    return tuple(ErrorNote(key, at, detail, excerpt) for key, at, detail, excerpt in stored)


def _document(letter: DeadLetter) -> str:
    if letter.raw is not None:
        return letter.raw.decode("utf-8", "backslashreplace")
    return jsontext.dumps(letter.envelope).decode()
