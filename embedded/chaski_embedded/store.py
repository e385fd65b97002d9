"""Dead letters, records and the journal of the embedded broker."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from chaski_core.dead_letter import Claimed, DeadLetter, DeadLetterFilter, DeadLetterKey, ReplayClaim, ReplayMark
from chaski_core.errors import BackendUnavailableError
from chaski_core.ports import AttemptEntry, AttemptRecord
from chaski_core.retry.control import ControlRecord
from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_embedded.broker.unit_of_work import UnitOfWork
from chaski_embedded.storage import attempts, dead_letters, schema

T = TypeVar("T")


class _FileReader:
    """Reads on connections of its own, beside the writer: delays no message and needs no owner."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def _read(self, read: Callable[[sqlite3.Connection], T]) -> T:
        def connect_and_read() -> T:
            with contextlib.closing(schema.connect_reader(self._file)) as connection:
                return read(connection)

        try:
            return await asyncio.to_thread(connect_and_read)
        except sqlite3.Error as error:
            raise BackendUnavailableError(f"{self._file}: {error}") from error


class DeadLetterReader(_FileReader):
    """Searches dead letters beside the writer."""

    async def find(self, wanted: DeadLetterFilter, *, newest_first: bool = False) -> AsyncIterator[DeadLetter]:
        """Dead letters that pass the filter, oldest first or newest first, read page by page."""
        after: dead_letters.Key | None = dead_letters.first_page(newest_first=newest_first)
        while after is not None:
            read = partial(dead_letters.page, wanted=wanted, after=after, newest_first=newest_first)
            found, after = await self._read(read)
            for dead_letter in found:
                yield dead_letter

    async def get(self, message_id: str) -> Sequence[DeadLetter]:
        """Every dead letter of an identity, of its replays, or of a label, oldest first."""
        return await self._read(partial(dead_letters.of_message, message_id=message_id))


class RecordReader(_FileReader):
    """Reads records beside the writer."""

    async def hidden(self, route: str) -> AsyncIterator[tuple[str, AttemptRecord]]:
        """As `chaski_core.ports.AttemptRecords.hidden`."""
        for each in await self._read(lambda connection: list(attempts.hidden_heads(connection, route))):
            yield each

    async def controls(self, route: str) -> Sequence[ControlRecord]:
        """The control records of a route."""
        return await self._read(lambda connection: attempts.read_controls(connection, route))


class EmbeddedDeadLetters(DeadLetterReader):
    """Implements `chaski_core.ports.DeadLetterStore`."""

    def __init__(self, broker: EmbeddedBroker) -> None:
        super().__init__(broker.file)
        self._broker = broker

    async def put(self, dead_letter: DeadLetter) -> None:
        """Stores a dead letter, unless its identity is stored already."""
        await self._broker.run(lambda work: dead_letters.insert(work.sql(), dead_letter))

    async def claim(
        self, wanted: Sequence[tuple[DeadLetterKey, ReplayMark | None]], claim: ReplayClaim
    ) -> Sequence[Claimed]:
        """Claims dead letters for a run that is about to replay them, all in one transaction."""
        return await self._broker.run(lambda work: dead_letters.claim(work.sql(), wanted, claim))

    async def mark(self, marks: Sequence[tuple[DeadLetterKey, ReplayMark]]) -> None:
        """Marks dead letters as replayed."""
        await self._broker.run(lambda work: dead_letters.mark(work.sql(), marks))

    async def discard(self, keys: Sequence[DeadLetterKey]) -> None:
        """Deletes dead letters permanently."""
        await self._broker.run(lambda work: dead_letters.discard(work.sql(), keys))


class EmbeddedAttemptRecords(RecordReader):
    """Implements `chaski_core.ports.AttemptRecords`."""

    def __init__(self, broker: EmbeddedBroker) -> None:
        super().__init__(broker.file)
        self._broker = broker

    async def read(self, message_id: str) -> AttemptRecord | None:
        return await self._broker.run(lambda work: attempts.read_record(work.connection, message_id))

    async def write(self, message_id: str, record: AttemptRecord) -> None:
        await self._broker.run(lambda work: attempts.write_record(work.sql(), message_id, record, work.wall))

    async def delete(self, message_id: str) -> None:
        await self._broker.run(lambda work: attempts.delete_record(work.sql(), message_id))


class EmbeddedControlRecords:
    """Implements `chaski_core.ports.ControlRecords`."""

    def __init__(self, broker: EmbeddedBroker) -> None:
        self._broker = broker

    async def read(self, route: str) -> Sequence[ControlRecord]:
        return await self._broker.run(lambda work: attempts.read_controls(work.connection, route))

    async def write(self, record: ControlRecord) -> None:
        await self._broker.run(lambda work: attempts.write_control(work.sql(), record))

    async def remove(self, record: ControlRecord) -> None:
        await self._broker.run(lambda work: attempts.remove_control(work.sql(), record))


class EmbeddedJournal:
    """Implements `chaski_core.ports.AttemptJournal`: entries are written with the next commit.

    Entries are kept for 14 days, at most two million of them.
    """

    def __init__(self, broker: EmbeddedBroker) -> None:
        self._broker = broker
        self._buffered: list[AttemptEntry] = []

    def note(self, entry: AttemptEntry) -> None:
        """Appends an attempt without waiting for the commit."""
        self._buffered.append(entry)
        if len(self._buffered) == 1:
            asyncio.get_running_loop().call_soon(self._flush)

    async def attempts(self, message_id: str) -> Sequence[AttemptEntry]:
        """Every attempt of an identity, oldest first."""
        self._flush()
        return await self._broker.run(lambda work: attempts.read_entries(work.connection, message_id))

    def _flush(self) -> None:
        entries, self._buffered = self._buffered, []
        if entries:
            messages = {entry.message_id for entry in entries}
            self._broker.submit_nowait(lambda work: _append(work, entries), messages)


def _append(work: UnitOfWork, entries: Sequence[AttemptEntry]) -> None:
    attempts.append_entries(work.flushed_sql(), entries)  # an earlier delete may free the space that it needs
