"""Dead letters as rows: written, read back exactly, and searched by the index that fits the filter."""

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
from chaski_core.retry.ladder import ErrorNote, Reason
from chaski_core.retry.outcome import class_of_key
from chaski_embedded.storage import ledger

PAGE = 200  # rows in memory at a time
DEFAULT_RETENTION_DAYS = 30  # of a route that is not in this folder: DESIGN's default
_DAY_MS = 86_400_000
_DIED_MS = (RETENTION_SECONDS + 86_400) * 1000  # how long a message is known to have been kept, at least
_COLUMNS = "dead_lettered_at, message_id, subject, route, id, target, error_class, item, raw, replay"
_IS_KEY = "dead_lettered_at = ? AND message_id = ? AND subject = ? AND route = ?"

Key = tuple[int, str, str, str]  # dead_lettered_at, message_id, subject, route: the order of reading
START: Key = (-(2**63), "", "", "")


def insert(connection: sqlite3.Connection, letter: DeadLetter) -> None:
    """Keeps a dead letter, for the retention of its route; where its message was kept before, nothing changes."""
    days = connection.execute("SELECT retention_days FROM routes WHERE key = ?", (letter.route,)).fetchone()
    expires_at = letter.dead_lettered_at + (days[0] if days else DEFAULT_RETENTION_DAYS) * _DAY_MS
    died = (letter.message_id, max(expires_at, letter.dead_lettered_at + _DIED_MS))
    if not connection.execute("INSERT OR IGNORE INTO died (message_id, expires_at) VALUES (?, ?)", died).rowcount:
        return
    connection.execute(
        f"INSERT INTO dead_letters ({_COLUMNS}, class, expires_at, replay_of) "  # noqa: S608 - constants
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            letter.dead_lettered_at,
            letter.message_id,
            letter.subject,
            letter.route,
            letter.id,
            letter.target,
            letter.error_class,
            _item(letter),
            letter.raw,
            _mark_json(letter.replay),
            class_of_key(letter.error_class),
            expires_at,
            letter.replay_of,
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
    """Every dead letter of an identity, of its replays, or of a label, oldest first."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM dead_letters WHERE message_id = ? OR id = ? OR replay_of = ? "  # noqa: S608 - constants
        "ORDER BY dead_lettered_at, message_id, subject, route",
        (message_id, message_id, message_id),
    )
    return [_letter(row) for row in rows.fetchall()]


def of_identity(connection: sqlite3.Connection, message_id: str) -> list[DeadLetter]:
    """Every dead letter of an identity, oldest first; several only where a release before identities kept them."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM dead_letters WHERE message_id = ? ORDER BY dead_lettered_at, subject, route",  # noqa: S608 - constants
        (message_id,),
    )
    return [_letter(row) for row in rows.fetchall()]


def claim(
    connection: sqlite3.Connection, wanted: Sequence[tuple[DeadLetterKey, ReplayMark | None]], made: ReplayClaim
) -> list[Claimed]:
    """Claims dead letters for a run that is about to send them again."""
    return [_claim(connection, key, judged, made) for key, judged in wanted]


def _claim(connection: sqlite3.Connection, key: DeadLetterKey, judged: ReplayMark | None, made: ReplayClaim) -> Claimed:
    row = connection.execute(f"SELECT replay, claim FROM dead_letters WHERE {_IS_KEY}", _values(key)).fetchone()  # noqa: S608 - constants
    if row is None:
        return Claimed.GONE
    held = None if row[1] is None else ReplayClaim(*json_codec.loads(row[1].encode()))
    found = claimable(judged, _read_mark(row[0]), held, made)
    if found is Claimed.YES:
        text = json_codec.dumps([made.run, made.at]).decode()
        connection.execute(f"UPDATE dead_letters SET claim = ? WHERE {_IS_KEY}", (text, *_values(key)))  # noqa: S608 - constants
    return found


def mark(connection: sqlite3.Connection, marks: Sequence[tuple[DeadLetterKey, ReplayMark]]) -> None:
    """Notes down that dead letters were sent again, and ends claims on them."""
    connection.executemany(
        f"UPDATE dead_letters SET replay = ?, claim = NULL WHERE {_IS_KEY}",  # noqa: S608 - constants
        [(_mark_json(made), *_values(key)) for key, made in marks],
    )


def discard(connection: sqlite3.Connection, keys: Sequence[DeadLetterKey]) -> None:
    """Deletes dead letters."""
    deleted = connection.executemany(f"DELETE FROM dead_letters WHERE {_IS_KEY}", [_values(key) for key in keys])  # noqa: S608 - as above
    ledger.note_dropped(connection, deleted.rowcount)


def _values(key: DeadLetterKey) -> Key:
    return key.dead_lettered_at, key.message_id, key.subject, key.route


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
    conditions.append("(dead_lettered_at, message_id, subject, route) > (?, ?, ?, ?)")
    values += after
    if wanted.until is not None:
        conditions.append("dead_lettered_at < ?")
        values.append(wanted.until)
    statement = (
        f"SELECT {_COLUMNS} FROM dead_letters WHERE {' AND '.join(conditions)} "  # noqa: S608 - constants
        "ORDER BY dead_lettered_at, message_id, subject, route LIMIT ?"
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
        "sequenceNumber": letter.sequence_number,
    }
    return json_codec.dumps(values).decode()


def _letter(row: Sequence[Any]) -> DeadLetter:
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
        errors=read_notes(values["errors"]),
        envelope=values["envelope"],
        raw=raw,
        detail=values["detail"],
        replay=_read_mark(replay),
        sequence_number=values.get("sequenceNumber"),
    )


def _mark_json(made: ReplayMark | None) -> str | None:
    return None if made is None else json_codec.dumps([made.run, made.epoch, made.at, made.message_id]).decode()


def _read_mark(stored: str | None) -> ReplayMark | None:
    return None if stored is None else ReplayMark(*json_codec.loads(stored.encode()))  # three values in rows of before


def notes_json(notes: Sequence[ErrorNote]) -> list[list[object]]:
    """Errors as they are stored: nothing is cut."""
    return [[note.key, note.at, note.detail, note.excerpt] for note in notes]


def read_notes(stored: Sequence[Sequence[Any]]) -> tuple[ErrorNote, ...]:
    """Errors as `notes_json` stored them."""
    return tuple(ErrorNote(key, at, detail, excerpt) for key, at, detail, excerpt in stored)


def _document(letter: DeadLetter) -> str:
    if letter.raw is not None:
        return letter.raw.decode("utf-8", "backslashreplace")
    return json_codec.dumps(letter.envelope).decode()
