"""Dead letters, attempt records and the journal of the embedded broker."""

from collections.abc import AsyncIterator, Sequence

from chaski_core.deadletter import DeadLetter, DeadLetterFilter
from chaski_core.ports import AttemptEntry, AttemptRecord


class EmbeddedDeadLetters:
    """Implements `chaski_core.ports.DeadLetterStore`."""

    async def put(self, letter: DeadLetter) -> None:
        """Keeps a dead letter; one with the same key is left as it is."""
        raise NotImplementedError

    def find(self, wanted: DeadLetterFilter) -> AsyncIterator[DeadLetter]:
        """Dead letters that pass the filter, oldest first, read page by page."""
        raise NotImplementedError

    async def get(self, message_id: str) -> Sequence[DeadLetter]:
        """Every dead letter of a message id, oldest first."""
        raise NotImplementedError


class EmbeddedAttemptRecords:
    """Implements `chaski_core.ports.AttemptRecords`."""

    async def read(self, message_id: str) -> AttemptRecord | None:
        """The record, if there is one."""
        raise NotImplementedError

    async def write(self, message_id: str, record: AttemptRecord) -> None:
        """Keeps the record."""
        raise NotImplementedError

    async def delete(self, message_id: str) -> None:
        """Drops the record."""
        raise NotImplementedError


class EmbeddedJournal:
    """Implements `chaski_core.ports.AttemptJournal`."""

    def note(self, entry: AttemptEntry) -> None:
        """Notes an attempt down without waiting."""
        raise NotImplementedError

    async def attempts(self, message_id: str) -> Sequence[AttemptEntry]:
        """Every attempt noted for a message id, oldest first."""
        raise NotImplementedError
