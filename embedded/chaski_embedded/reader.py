"""Reads a data folder beside the process that owns it: for `chaski dead-letters` and `chaski trace`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from chaski_core.deadletter import DeadLetter, DeadLetterFilter
from chaski_core.ports import AttemptEntry


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

    def find(self, wanted: DeadLetterFilter) -> Iterator[DeadLetter]:
        """Dead letters that pass the filter, oldest first, read page by page."""
        raise NotImplementedError

    def get(self, message_id: str) -> Sequence[DeadLetter]:
        """Every dead letter of a message id, oldest first."""
        raise NotImplementedError

    def attempts(self, message_id: str) -> Sequence[AttemptEntry]:
        """Every attempt noted for a message id, oldest first."""
        raise NotImplementedError

    def trace(self, message_id: str) -> Trace | None:
        """What is known of a message; None if nothing is."""
        raise NotImplementedError

    def close(self) -> None:
        """Closes the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def open_reader(folder: str | Path) -> Reader:
    """Opens a data folder for reading. `BackendRejectedError`: there is none, or a newer release wrote it."""
    raise NotImplementedError
