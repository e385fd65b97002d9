"""Statements over many rows.

SQLite's module lets go of the interpreter's lock for each step of a statement and waits for it again after it. With
`executemany` a busy event loop is waited for at every row; with one statement for many rows, once.
"""

import sqlite3
from collections.abc import Iterator, Sequence

_MOST_ROWS = 64  # of at most 12 values: older SQLites take 999 values in a statement


def insert(connection: sqlite3.Connection, into: str, rows: Sequence[Sequence[object]]) -> None:
    """Inserts rows; `into` names the table and its columns."""
    for part in _parts(rows):
        connection.execute(f"INSERT INTO {into} VALUES {_places(part)}", _values(part))  # noqa: S608 - our own names


def with_rows(connection: sqlite3.Connection, statement: str, rows: Sequence[Sequence[object]]) -> None:
    """Runs a statement for rows; where it says `{rows}` they stand as VALUES, with columns column1, column2, ..."""
    for part in _parts(rows):
        connection.execute(statement.format(rows=f"VALUES {_places(part)}"), _values(part))


def _parts(rows: Sequence[Sequence[object]]) -> Iterator[Sequence[Sequence[object]]]:
    """The rows in runs of 64, 32, 16 ... 1, so that there are few different statements, and they stay prepared."""
    start, size = 0, _MOST_ROWS
    while start < len(rows):
        while size > len(rows) - start:
            size //= 2
        yield rows[start : start + size]
        start += size


def _places(rows: Sequence[Sequence[object]]) -> str:
    row = f"({','.join('?' * len(rows[0]))})"
    return ",".join([row] * len(rows))


def _values(rows: Sequence[Sequence[object]]) -> list[object]:
    return [value for row in rows for value in row]
