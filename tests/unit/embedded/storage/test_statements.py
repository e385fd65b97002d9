"""Statements on many rows."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from chaski_embedded.storage.statements import for_keys, insert_rows, read_by_keys, update_rows


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """A table of pairs."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as opened:
        opened.execute("CREATE TABLE pairs (number INTEGER PRIMARY KEY, text)")
        yield opened


def count_statements(connection: sqlite3.Connection) -> list[str]:
    """The statements executed from now on; one of `executemany` counts for each row."""
    executed: list[str] = []
    connection.set_trace_callback(executed.append)
    return executed


@pytest.mark.parametrize(("rows", "statements"), [(0, 0), (1, 1), (64, 1), (65, 2), (191, 8)])
def test_every_row_is_inserted_updated_and_deleted(connection: sqlite3.Connection, rows: int, statements: int) -> None:
    """Whatever their number, in statements of 64 rows and of the powers of two below."""
    executed = count_statements(connection)
    insert_rows(connection, "INSERT INTO pairs (number, text)", [(number, "new") for number in range(rows)])
    assert len(executed) == statements
    update_rows(
        connection,
        "UPDATE pairs SET text = column2 FROM ({}) WHERE number = column1",
        [(number, str(number)) for number in range(rows)],
    )
    assert len(executed) == 2 * statements
    read = dict(read_by_keys(connection, "SELECT number, text FROM pairs WHERE number IN {}", list(range(rows))))
    assert read == {number: str(number) for number in range(rows)}
    for_keys(connection, "DELETE FROM pairs WHERE number IN {}", list(range(0, rows, 2)))
    left = connection.execute("SELECT number FROM pairs ORDER BY number").fetchall()
    assert left == [(number,) for number in range(1, rows, 2)]


def test_an_update_finds_its_rows_by_the_key(connection: sqlite3.Connection) -> None:
    """Without a scan of the table."""
    plan = connection.execute(
        "EXPLAIN QUERY PLAN UPDATE pairs SET text = column2 FROM (VALUES (?, ?), (?, ?)) WHERE number = column1",
        (1, "", 2, ""),
    )
    steps = [row[3] for row in plan]
    assert "SEARCH pairs USING INTEGER PRIMARY KEY (rowid=?)" in steps
