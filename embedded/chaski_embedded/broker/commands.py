"""Commands of the writer and their outcomes; commands that could not be stored; the probe of a disk that refuses writes."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from chaski_core.errors import BackendUnavailableError
from chaski_core.ports import MAX_QUEUED_BYTES
from chaski_embedded.broker.unit_of_work import UnitOfWork

T = TypeVar("T")
Action = Callable[[UnitOfWork], T]
RETRY_SECONDS = 1.0  # interval of the probe


@dataclass(slots=True, eq=False)
class Command:
    """One action to execute."""

    action: Action[Any]
    future: "asyncio.Future[Any] | None"  # None: no caller waits for it
    undo: Callable[[Any], Action[Any] | None] | None = None
    messages: frozenset[str] = frozenset()  # without a future: identities of the messages that it concerns
    stored: bool = False  # committed, so that a late command is not executed twice


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a command, or its error."""

    command: Command
    result: Any = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class QueueChange:
    """The state of a queue after a group of commands."""

    queue: str
    exists: bool
    ready_groups: int  # groups that a receive would find
    next_event_ms: int | None  # milliseconds until a message may become deliverable without a call


def execute_late(late: Iterable[Command], work: UnitOfWork, group: Sequence[Command]) -> list[Command]:
    """Executes the late commands that concern messages which the group deletes, unless the group contains them."""
    due = [each for each in late if not each.stored and not each.messages.isdisjoint(work.deleted)]
    due = [each for each in due if each not in group]
    for command in due:
        command.action(work)
    return due


def queue_changes(work: UnitOfWork) -> list[QueueChange]:
    """The state of every queue that the last group touched."""
    changes = []
    for name, hosted in work.touched.items():
        if hosted is None:
            changes.append(QueueChange(name, exists=False, ready_groups=0, next_event_ms=None))
            continue
        event = hosted.fifo.next_event(work.now)
        next_event_ms = None if event is None else max(0, event - work.now)
        ready_groups = hosted.fifo.ready_groups(work.now)
        changes.append(QueueChange(name, exists=True, ready_groups=ready_groups, next_event_ms=next_event_ms))
    return changes


def probe(work: UnitOfWork) -> None:
    """Writes as much as a large message, to test whether writes succeed again."""
    work.sql().execute("UPDATE state SET probe = zeroblob(?)", (MAX_QUEUED_BYTES,))


def drop_probe(work: UnitOfWork) -> None:
    """Deletes what `probe` wrote."""
    work.sql().execute("UPDATE state SET probe = NULL")


def unavailable(file: Path, error: Exception) -> BackendUnavailableError:
    """The error that callers see where the file can't be read or written."""
    wrapped = BackendUnavailableError(f"{file}: {error}", retry_after_seconds=RETRY_SECONDS)
    wrapped.__cause__ = error
    return wrapped
