"""Read access to a data folder beside the process that owns it: for `chaski dead-letters` and `chaski trace`."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from chaski_core.dead_letter import DeadLetter, DeadLetterFilter
from chaski_core.errors import BackendRejectedError
from chaski_core.ports import AttemptEntry
from chaski_embedded.storage import attempts, dead_letters, schema
from chaski_embedded.storage.ledger import Ledger, read_ledger
from chaski_embedded.storage.lineage import Lineage
from chaski_embedded.storage.traces import State, Trace, find_traces, message_ids, read_traces

__all__ = ["Reader", "State", "Trace", "open_reader"]


class Reader:
    """A data folder, read only. A context manager; every read sees the last commit."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find(self, wanted: DeadLetterFilter, *, newest_first: bool = False) -> Iterator[DeadLetter]:
        """Dead letters that pass the filter, oldest first or newest first, read page by page."""
        after: dead_letters.Key | None = dead_letters.first_page(newest_first=newest_first)
        while after is not None:
            found, after = dead_letters.page(self._connection, wanted, after, newest_first=newest_first)
            yield from found

    def get(self, message_id: str) -> Sequence[DeadLetter]:
        """Every dead letter of an identity, of its replays, or of a label, oldest first."""
        return dead_letters.of_message(self._connection, message_id)

    def attempts(self, message_id: str) -> Sequence[AttemptEntry]:
        """Every attempt of an identity, oldest first."""
        return attempts.read_entries(self._connection, message_id)

    def traces(self, message_id: str) -> list[Trace]:
        """Every message with an identity or a label, and their replays, oldest first; empty where there are none."""
        with self._snapshot():
            return find_traces(self._connection, message_id)

    def read_traces(self, identities: Iterable[str]) -> list[Trace]:
        """The traces of messages, oldest first."""
        with self._snapshot():
            return read_traces(self._connection, Lineage(self._connection), identities)

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """Within this context all reads see the same state of the file."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("COMMIT")

    def search(self, subject: str | None, text: str | None) -> Iterator[str]:
        """Identities of messages by subject or by a text in their stored content, read step by step; may have duplicates."""
        return message_ids(self._connection, subject, text)

    def ledger(self) -> Ledger:
        """The ledger of the folder."""
        return read_ledger(self._connection)

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def open_reader(folder: str | Path) -> Reader:
    """Opens a data folder for reading, also while another process owns it.

    Raises:
        BackendRejectedError: the folder has no data (DataNotFound), another release wrote it (DataTooNew,
            DataTooOld), or it can't be read (DataUnusable).
    """
    file = Path(folder) / schema.FILE_NAME
    if not file.is_file():
        raise BackendRejectedError(
            "DataNotFound", f"{folder} is not a data folder: it does not contain {schema.FILE_NAME}"
        )
    try:
        connection = schema.connect_reader(file)
        try:
            version = schema.check_version(connection, file)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise BackendRejectedError("DataUnusable", f"{file} can't be read: {error}") from error
    if version < schema.VERSION:
        connection.close()
        if version == 0:
            raise BackendRejectedError("DataNotFound", f"{file} does not contain data of Chaski yet")
        raise BackendRejectedError("DataTooOld", f"an older release wrote {file}: start `chaski dev` on it once")
    return Reader(connection)
