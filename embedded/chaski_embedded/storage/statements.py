"""Statements on many rows, each a single step of SQLite.

`executemany` runs a step for every row, and Python's sqlite3 gives up and reacquires the interpreter for each: beside a
busy event loop a row then costs a switch between two threads. One step on 64 rows switches once.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, TypeVar

_MOST = 64  # rows of one statement
Row = TypeVar("Row")


def insert_rows(connection: sqlite3.Connection, into: str, rows: Sequence[Sequence[object]]) -> None:
    """Inserts rows of equal length. `into`: the statement up to VALUES, such as `INSERT INTO bodies (sequence, body)`."""
    for part in _parts(rows):
        values = [value for row in part for value in row]
        connection.execute(_with_rows(f"{into} VALUES {{}}", len(part), len(part[0])), values)


def update_rows(connection: sqlite3.Connection, statement: str, rows: Sequence[Sequence[object]]) -> None:
    """Updates rows of equal length; `{}` in the statement is `VALUES (…), …`, whose columns are `column1` and so on."""
    for part in _parts(rows):
        values = [value for row in part for value in row]
        connection.execute(_with_rows(statement.replace("{}", "VALUES {}"), len(part), len(part[0])), values)


def for_keys(connection: sqlite3.Connection, statement: str, keys: Sequence[int]) -> None:
    """Executes a statement for many keys; `{}` in the statement is the list of them, as in `sequence IN {}`."""
    for part in _parts(keys):
        connection.execute(_with_rows(statement, 1, len(part)), part)


def read_by_keys(connection: sqlite3.Connection, query: str, keys: Sequence[int]) -> Iterator[Any]:
    """The rows of a query for many keys; `{}` in the query is the list of them, as in `sequence IN {}`."""
    for part in _parts(keys):
        yield from connection.execute(_with_rows(query, 1, len(part)), part)


def _parts(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """The rows in parts whose sizes are powers of two, so that only few different statements are prepared."""
    start = 0
    while start < len(rows):
        size = min(_MOST, 1 << (len(rows) - start).bit_length() - 1)
        yield rows[start : start + size]
        start += size


@cache
def _with_rows(statement: str, rows: int, columns: int) -> str:
    row = f"({','.join('?' * columns)})"
    return statement.replace("{}", ",".join([row] * rows))
