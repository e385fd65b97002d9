"""What will be done, kept in a temporary file in the order in which it will be done: memory stays flat for any number."""

import sqlite3
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from chaski_cli.replaying.choosing import Ready
from chaski_core.deadletter import LetterKey
from chaski_core.ports import OutgoingMessage

_PAGE = 500
_COLUMNS = "turn, dead_lettered_at, id, subject, route, queue, target, epoch, body, group_id, dedup_id"


class Spool:
    """A context manager; SQLite deletes the file with the connection, however the process ends."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect("", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute(
            "CREATE TABLE ready (turn INTEGER, dead_lettered_at INTEGER, id TEXT, subject TEXT, route TEXT, queue TEXT, "
            "target TEXT, epoch INTEGER, body BLOB, group_id TEXT, dedup_id TEXT, "
            "PRIMARY KEY (turn, dead_lettered_at, id, subject, route))"
        )

    def add(self, entries: Sequence[Ready]) -> None:
        """Keeps entries."""
        self._connection.executemany(
            f"INSERT OR REPLACE INTO ready ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - constants
            [
                (
                    each.order,
                    each.key.dead_lettered_at,
                    each.key.id,
                    each.key.subject,
                    each.key.route,
                    each.url,
                    each.target,
                    each.epoch,
                    each.message.body,
                    each.message.group_id,
                    each.message.deduplication_id,
                )
                for each in entries
            ],
        )

    def __len__(self) -> int:
        return int(self._connection.execute("SELECT count(*) FROM ready").fetchone()[0])

    def __iter__(self) -> Iterator[Ready]:
        """In the order of acceptance; of one millisecond, in that in which they were given up."""
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM ready ORDER BY turn, dead_lettered_at, id, subject, route"  # noqa: S608 - constants
        )
        while page := rows.fetchmany(_PAGE):
            for turn, dead_lettered_at, message_id, subject, route, url, target, epoch, *message in page:
                key = LetterKey(dead_lettered_at, message_id, subject, route)
                yield Ready(key, turn, url, target, epoch, OutgoingMessage(*message))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._connection.close()
