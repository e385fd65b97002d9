"""The messages to send, in order, in a temporary file: memory stays flat for any number."""

import sqlite3
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from chaski_core import json_codec
from chaski_core.dead_letter import DeadLetterKey, ReplayMark
from chaski_core.ports import OutgoingMessage
from chaski_replay.selection import Ready

_PAGE = 500
_SEQUENCE_DIGITS = 40  # 128 bits have 39, and 40 sort as text
_COLUMNS = (
    "accepted, sequence, dead_lettered_at, message_id, subject, route, label, mark, queue, target, epoch, body, "
    "group_id, dedup_id"
)
# By time of acceptance; within a subject by sequence number, whatever the clocks of the accepting Pods: a message never
# precedes one of its subject with a lower number. Bodies stay out of the sort.
_IN_ORDER = """
    INSERT INTO ordered (entry) SELECT entry FROM (
      SELECT entry, sequence, dead_lettered_at, message_id, subject, route,
        CASE WHEN sequence = '' THEN accepted
        ELSE max(accepted) OVER (PARTITION BY sequence = '', route, subject ORDER BY sequence) END AS place
      FROM ready
    ) ORDER BY place, sequence, dead_lettered_at, message_id, subject, route
"""


class Spool:
    """A context manager. SQLite deletes the file with the connection, however the process ends."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect("", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute(
            "CREATE TABLE ready (entry INTEGER PRIMARY KEY, accepted INTEGER, sequence TEXT, dead_lettered_at INTEGER, "
            "message_id TEXT, subject TEXT, route TEXT, label TEXT, mark TEXT, queue TEXT, target TEXT, "
            "epoch INTEGER, body BLOB, group_id TEXT, dedup_id TEXT, "
            "UNIQUE (dead_lettered_at, message_id, subject, route))"
        )
        self._connection.execute("CREATE TABLE ordered (place INTEGER PRIMARY KEY, entry INTEGER)")

    def add(self, entries: Sequence[Ready]) -> None:
        """Adds entries; an entry replaces one with the same key."""
        self._connection.executemany(
            f"INSERT OR REPLACE INTO ready ({_COLUMNS}) VALUES ({','.join('?' * 14)})",  # noqa: S608 - constants
            map(_row, entries),
        )

    def __len__(self) -> int:
        return int(self._connection.execute("SELECT count(*) FROM ready").fetchone()[0])

    def __iter__(self) -> Iterator[Ready]:
        """In order of acceptance; entries with the same position by the time at which they became dead letters."""
        self._connection.execute("DELETE FROM ordered")
        self._connection.execute(_IN_ORDER)
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM ordered JOIN ready USING (entry) ORDER BY place"  # noqa: S608 - constants
        )
        while page := rows.fetchmany(_PAGE):
            yield from map(_entry, page)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._connection.close()


def _row(entry: Ready) -> tuple[object, ...]:
    sequence, mark = entry.sequence_number, entry.mark
    return (
        entry.order,
        "" if sequence is None else f"{sequence:0{_SEQUENCE_DIGITS}d}",
        entry.key.dead_lettered_at,
        entry.key.message_id,
        entry.key.subject,
        entry.key.route,
        entry.id,
        None if mark is None else json_codec.dumps([mark.run, mark.epoch, mark.at, mark.message_id]).decode(),
        entry.queue_url,
        entry.target,
        entry.epoch,
        entry.message.body,
        entry.message.group_id,
        entry.message.deduplication_id,
    )


def _entry(row: Sequence[Any]) -> Ready:
    accepted, sequence, dead_lettered_at, message_id, subject, route, label, mark, url, target, epoch, *message = row
    return Ready(
        DeadLetterKey(dead_lettered_at, message_id, subject, route),
        label,
        accepted,
        int(sequence) if sequence else None,
        None if mark is None else ReplayMark(*json_codec.loads(mark.encode())),
        url,
        target,
        epoch,
        OutgoingMessage(*message),
    )
