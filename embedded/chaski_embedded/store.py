"""Dead letters, attempt records and the journal of the embedded broker."""

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
from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_embedded.broker.unit_of_work import UnitOfWork
from chaski_embedded.storage import attempts, dead_letters, schema

T = TypeVar("T")


class BesideLetters:
    """Searches dead letters beside the engine, on connections of their own: holds up no message, needs no owner."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def find(self, wanted: DeadLetterFilter) -> AsyncIterator[DeadLetter]:
        """Dead letters that pass the filter, oldest first, read page by page."""
        after: dead_letters.Key | None = dead_letters.START
        while after is not None:
            found, after = await self._beside(partial(dead_letters.page, wanted=wanted, after=after))
            for letter in found:
                yield letter

    async def get(self, message_id: str) -> Sequence[DeadLetter]:
        """Every dead letter of an identity, of its replays, or of a label, oldest first."""
        return await self._beside(partial(dead_letters.of_message, message_id=message_id))

    async def _beside(self, read: Callable[[sqlite3.Connection], T]) -> T:
        def work() -> T:
            with contextlib.closing(schema.connect_reader(self._file)) as connection:
                return read(connection)

        try:
            return await asyncio.to_thread(work)
        except sqlite3.Error as error:
            raise BackendUnavailableError(f"{self._file}: {error}") from error


class EmbeddedDeadLetters(BesideLetters):
    """Implements `chaski_core.ports.DeadLetterStore`."""

    def __init__(self, broker: EmbeddedBroker) -> None:
        super().__init__(broker.file)
        self._broker = broker

    async def put(self, letter: DeadLetter) -> None:
        """Keeps a dead letter; where its message was kept before, nothing changes."""
        await self._broker.run(lambda session: dead_letters.insert(session.sql(), letter))

    async def claim(
        self, wanted: Sequence[tuple[DeadLetterKey, ReplayMark | None]], claim: ReplayClaim
    ) -> Sequence[Claimed]:
        """Claims dead letters for a run that is about to send them again, all in one transaction."""
        return await self._broker.run(lambda session: dead_letters.claim(session.sql(), wanted, claim))

    async def mark(self, marks: Sequence[tuple[DeadLetterKey, ReplayMark]]) -> None:
        """Notes down that dead letters were sent again."""
        await self._broker.run(lambda session: dead_letters.mark(session.sql(), marks))

    async def discard(self, keys: Sequence[DeadLetterKey]) -> None:
        """Deletes dead letters for good."""
        await self._broker.run(lambda session: dead_letters.discard(session.sql(), keys))


class EmbeddedAttemptRecords:
    """Implements `chaski_core.ports.AttemptRecords`."""

    def __init__(self, broker: EmbeddedBroker) -> None:
        self._broker = broker

    async def read(self, message_id: str) -> AttemptRecord | None:
        """The record, if there is one."""
        return await self._broker.run(lambda session: attempts.read_record(session.connection, message_id))

    async def write(self, message_id: str, record: AttemptRecord) -> None:
        """Keeps the record."""
        await self._broker.run(lambda session: attempts.write_record(session.sql(), message_id, record, session.wall))

    async def delete(self, message_id: str) -> None:
        """Drops the record."""
        await self._broker.run(lambda session: attempts.delete_record(session.sql(), message_id))


class EmbeddedJournal:
    """Implements `chaski_core.ports.AttemptJournal`: entries go into the file with the next commit.

    Kept for 14 days, and no more than two million of them.
    """

    def __init__(self, broker: EmbeddedBroker) -> None:
        self._broker = broker
        self._waiting: list[AttemptEntry] = []

    def note(self, entry: AttemptEntry) -> None:
        """Notes an attempt down without waiting."""
        self._waiting.append(entry)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._hand_over)

    async def attempts(self, message_id: str) -> Sequence[AttemptEntry]:
        """Every attempt noted for an identity, oldest first."""
        self._hand_over()
        return await self._broker.run(lambda session: attempts.read_entries(session.connection, message_id))

    def _hand_over(self) -> None:
        entries, self._waiting = self._waiting, []
        if entries:
            messages = {entry.message_id for entry in entries}
            self._broker.ride(lambda session: _note(session, entries), messages)


def _note(session: UnitOfWork, entries: Sequence[AttemptEntry]) -> None:
    attempts.note_entries(session.settled_sql(), entries)  # a delete before it may be what makes room
