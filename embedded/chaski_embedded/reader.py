"""Reads a data folder beside the process that owns it: for `chaski dead-letters` and `chaski trace`."""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from chaski_core.deadletter import DeadLetter, DeadLetterFilter
from chaski_core.envelope import Envelope, read_envelope
from chaski_core.errors import BackendRejectedError
from chaski_core.ports import AttemptEntry
from chaski_embedded import attempts, letters, schema
from chaski_embedded.ledger import Ledger, read_ledger
from chaski_embedded.searching import message_ids

_AFTER_COLON = ";"  # the character after `:`, where the range of texts that begin with `<id>:` ends


class State(StrEnum):
    """Where a message is."""

    PENDING = "pending"  # on a queue
    DELIVERED = "delivered"
    DEAD_LETTERED = "dead-lettered"


@dataclass(frozen=True, slots=True)
class Trace:
    """What is known of a message."""

    id: str
    subject: str
    state: State
    attempts: tuple[AttemptEntry, ...]  # oldest first


class Reader:
    """A data folder, read only. A context manager; every read sees what was committed last."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find(self, wanted: DeadLetterFilter) -> Iterator[DeadLetter]:
        """Dead letters that pass the filter, oldest first, read page by page."""
        after: letters.Key | None = letters.START
        while after is not None:
            found, after = letters.page(self._connection, wanted, after)
            yield from found

    def get(self, message_id: str) -> Sequence[DeadLetter]:
        """Every dead letter of a message id, oldest first."""
        return letters.of_message(self._connection, message_id)

    def attempts(self, message_id: str) -> Sequence[AttemptEntry]:
        """Every attempt noted for a message id, oldest first."""
        return attempts.read_entries(self._connection, message_id)

    def trace(self, message_id: str) -> Trace | None:
        """What is known of a message; None if nothing is.

        A message on a queue is pending, whatever became of earlier sendings (replays) of the same id.
        """
        self._connection.execute("BEGIN")  # one state of the file for all reads
        try:
            noted = tuple(self.attempts(message_id))
            pending = self._pending_subject(message_id)
            dead = self.get(message_id)
        finally:
            self._connection.execute("COMMIT")
        if pending is not None:
            return Trace(message_id, pending, State.PENDING, noted)
        delivered_at = max((entry.at for entry in noted if entry.outcome == "delivered"), default=None)
        if dead and (delivered_at is None or delivered_at < dead[-1].dead_lettered_at):
            return Trace(message_id, dead[-1].subject, State.DEAD_LETTERED, noted)
        if delivered_at is not None:
            return Trace(message_id, noted[-1].subject, State.DELIVERED, noted)
        return None

    def search(self, subject: str | None, text: str | None) -> Iterator[str]:
        """Ids of messages of a subject, with a text in what is kept of them; read step by step, an id may come twice."""
        return message_ids(self._connection, subject, text)

    def ledger(self) -> Ledger:
        """What became of all messages of the folder."""
        return read_ledger(self._connection)

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _pending_subject(self, message_id: str) -> str | None:
        # Chaski's deduplication ids begin with `<id>:`, so that no index is needed that every send would have to pay
        # for: a pass over rows of some hundred bytes finds it. Messages of other senders have their id in the body.
        for group_id, body in self._connection.execute(
            "SELECT group_id, body FROM messages JOIN bodies USING (sequence) "
            "WHERE gone = 0 AND dedup_id >= ? AND dedup_id < ?",
            (f"{message_id}:", message_id + _AFTER_COLON),
        ):
            envelope = read_envelope(body)
            return envelope.subject if isinstance(envelope, Envelope) else str(group_id)
        for (body,) in self._connection.execute(
            "SELECT body FROM messages JOIN bodies USING (sequence) WHERE gone = 0 AND instr(body, ?)",
            (message_id.encode(),),
        ):
            envelope = read_envelope(body)
            if isinstance(envelope, Envelope) and envelope.metadata and envelope.metadata.id == message_id:
                return envelope.subject
        return None


def open_reader(folder: str | Path) -> Reader:
    """Opens a data folder for reading, also while another process owns it.

    Raises:
        BackendRejectedError: there is no such folder (DataNotFound), another release wrote it (DataTooNew,
            DataTooOld), or it can't be read (DataUnusable).
    """
    file = Path(folder) / schema.FILE_NAME
    if not file.is_file():
        raise BackendRejectedError("DataNotFound", f"{folder} is no data folder: it holds no {schema.FILE_NAME}")
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
            raise BackendRejectedError("DataNotFound", f"{file} holds no data of Chaski yet")
        raise BackendRejectedError("DataTooOld", f"an older release wrote {file}: start `chaski dev` on it once")
    return Reader(connection)
