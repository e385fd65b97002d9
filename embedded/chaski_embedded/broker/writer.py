"""The thread that owns the file: it executes all waiting commands as a group, commits once, then completes all.

No command is completed before its commit. Where a commit fails, every command of its group fails, the state in memory is
discarded and read again from the file, and the thread continues.

After a failed write, a probe as large as a message is written every second, and `write_error` holds the reason until that
succeeds. Commands without a waiting caller are retried with the probe, in a group of their own: they need space, and
other commands (a delete) may be what frees it. The delete of a message is committed only together with the late journal
entries of its attempts, so no crash can leave a message deleted and its attempts unknown.
"""

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from chaski_core.errors import BackendError, BackendUnavailableError, ChaskiError
from chaski_core.ports import Clock
from chaski_embedded.broker.commands import (
    RETRY_SECONDS,
    Action,
    Command,
    Outcome,
    QueueChange,
    T,
    drop_probe,
    execute_late,
    probe,
    queue_changes,
    unavailable,
)
from chaski_embedded.broker.unit_of_work import UnitOfWork
from chaski_embedded.fifo.queue_time import ClockState, QueueTime
from chaski_embedded.storage import schema

Connect = Callable[[Path], sqlite3.Connection]
_MAX_GROUP = 1_000  # commands in one commit: bounds how long the first waits for the last
_MAX_LATE = 10_000  # commands that could not be stored: far more than there can be concurrent attempts
_FLUSH_SECONDS = 0.05  # how long a command without a waiting caller waits for another, to share its commit
_log = logging.getLogger(__name__)


class Writer:
    """Executes actions on the unit of work of a file. Created and used on one event loop."""

    def __init__(
        self, file: Path, clock: Clock, on_change: Callable[[QueueChange | None], None], connect: Connect
    ) -> None:
        """`on_change`: called with the state of each queue that changed; with None where all state was discarded."""
        self._file, self._clock, self._on_change, self._connect = file, clock, on_change, connect
        self._loop = asyncio.get_running_loop()
        self._commands: queue.SimpleQueue[Sequence[Command] | None] = queue.SimpleQueue()
        self._piggybacked: list[Command] = []  # enqueued with the next command
        self._flush_timer: asyncio.TimerHandle | None = None  # enqueues them if no command comes before
        self._late: dict[Command, None] = {}  # could not be stored; read by the thread
        self._retry: asyncio.TimerHandle | None = None
        self.write_error: str | None = None  # why writes fail; None: they succeed
        self._thread = threading.Thread(target=self._run, name="chaski-embedded", daemon=True)
        self._connection: sqlite3.Connection | None = None
        self._work: UnitOfWork | None = None
        self._time: QueueTime | None = None
        self._closed = False

    async def start(self) -> None:
        """Opens the file and starts the thread.

        Raises:
            BackendRejectedError: a newer release wrote the file.
            sqlite3.Error: the file can't be opened.
        """
        try:
            await asyncio.to_thread(self._restore)
        except BaseException:
            self._discard()
            raise
        self._thread.start()

    async def stop(self) -> None:
        """Completes the commands submitted before and closes the file; later commands fail."""
        self._closed = True
        if self._retry is not None:
            self._retry.cancel()
        self._enqueue(*self._late)
        self._commands.put(None)
        while self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, 1.0)

    def submit(self, action: Action[T], undo: Callable[[T], Action[Any] | None] | None = None) -> "asyncio.Future[T]":
        """Submits an action to the thread; the future has its result once it is durable.

        `undo` returns the action that reverts a result whose caller was cancelled.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        if self._closed:
            future.set_exception(BackendUnavailableError("the embedded broker is closed"))
        else:
            self._enqueue(Command(action, future, undo))
        return future

    def submit_nowait(self, action: Action[Any], messages: Iterable[str] = ()) -> None:
        """Submits an action without waiting for it: with the next command, or within 50 ms if none comes.

        While writes fail it is retried, at the latest with the delete of one of its messages.

        Args:
            action: executed once.
            messages: identities of the messages that it concerns.
        """
        command = Command(action, None, messages=frozenset(messages))
        if self.write_error is not None:
            self._postpone(command)
        elif not self._closed:
            self._piggybacked.append(command)
            if self._flush_timer is None:
                self._flush_timer = self._loop.call_later(_FLUSH_SECONDS, self._enqueue)

    # ---- on the loop

    def _enqueue(self, *commands: Command) -> None:
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        if group := [*self._piggybacked, *commands]:
            self._piggybacked = []
            self._commands.put(group)

    def _complete(self, outcomes: Sequence[Outcome], changes: Sequence[QueueChange] | None) -> None:
        for outcome in outcomes:
            future = outcome.command.future
            if isinstance(outcome.error, BackendUnavailableError):
                self._on_write_error(outcome.error)
            if future is None:
                if isinstance(outcome.error, BackendUnavailableError):
                    self._postpone(outcome.command)
                    continue
                self._late.pop(outcome.command, None)
                if outcome.error is not None:
                    _log.warning("background write failed: %s", outcome.error)
            elif future.cancelled():
                self._undo(outcome)
            elif outcome.error is not None:
                future.set_exception(outcome.error)
            else:
                future.set_result(outcome.result)
        for each in (None,) if changes is None else changes:
            self._on_change(each)

    def _undo(self, outcome: Outcome) -> None:
        if outcome.command.undo is not None and outcome.error is None:
            action = outcome.command.undo(outcome.result)
            if action is not None and not self._closed:
                self._enqueue(Command(action, None))

    def _on_write_error(self, error: Exception) -> None:
        if self.write_error is None:
            _log.error("writes fail, retrying every %g s; acknowledged messages are safe: %s", RETRY_SECONDS, error)
        self.write_error = f"writes fail: {error}"
        if self._retry is None and not self._closed:
            self._retry = self._loop.call_later(RETRY_SECONDS, self._probe)

    def _postpone(self, command: Command) -> None:
        if self._closed or (len(self._late) >= _MAX_LATE and command not in self._late):
            _log.warning("background write failed: %s", self.write_error)
        else:
            self._late[command] = None

    def _probe(self) -> None:
        self._retry = None
        probing: asyncio.Future[None] = self._loop.create_future()
        probing.add_done_callback(self._on_probed)
        self._enqueue(*self._late, Command(probe, probing))

    def _on_probed(self, probing: "asyncio.Future[None]") -> None:
        if probing.cancelled() or probing.exception() is not None:
            return  # writes still fail, and the next probe is scheduled
        _log.info("writes to %s succeed again", self._file)
        self.write_error = None
        if not self._closed:
            self._enqueue(*self._late, Command(drop_probe, None))  # some may have been added since the probe began

    # ---- in the thread

    def _run(self) -> None:
        last = False
        while not last:
            commands, last = self._next_group()
            outcomes = self._execute(commands)
            changes = self._changes()
            with contextlib.suppress(RuntimeError):  # the loop was closed before this completed
                self._loop.call_soon_threadsafe(self._complete, outcomes, changes)
        self._discard()

    def _changes(self) -> list[QueueChange] | None:
        """The state of the queues that changed; None: the file will be read again, so the known state of all is void."""
        if self._work is None:
            return None
        try:
            return queue_changes(self._work)
        except sqlite3.Error:  # groups of waiting messages are read from the file
            _log.exception("can't read %s; reading it again with the next command", self._file)
            self._discard()
            return None

    def _next_group(self) -> tuple[list[Command], bool]:
        group: list[Command] = []
        commands = self._commands.get()
        while commands is not None:
            group += commands
            if len(group) >= _MAX_GROUP:
                return group, False
            try:
                commands = self._commands.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _execute(self, commands: Sequence[Command]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        try:
            work = self._work or self._restore()
            work.begin(record_deletes=bool(self._late))
            for command in commands:
                if command.stored:
                    outcomes.append(Outcome(command))
                    continue
                try:
                    outcomes.append(Outcome(command, command.action(work)))
                except ChaskiError as error:
                    outcomes.append(Outcome(command, error=error))
                except sqlite3.Error:
                    raise
                except Exception as error:  # noqa: BLE001 - any error of one command must not fail the others
                    _log.exception("an action on %s failed; executing the rest of its group again", self._file)
                    return self._retry_without(command, commands, error)
            late = execute_late(list(self._late), work, commands) if work.deleted else []
            work.commit()
            for command in (*commands, *late):
                command.stored = True  # a late one stays in `_late` until the loop completes it
        except (sqlite3.Error, OSError, BackendError) as error:
            self._discard()
            return [Outcome(each, error=unavailable(self._file, error)) for each in commands]
        return outcomes

    def _retry_without(self, failed: Command, commands: Sequence[Command], error: Exception) -> list[Outcome]:
        self._discard()  # the action may have made half of its changes
        rest = [command for command in commands if command is not failed]
        return [Outcome(failed, error=error), *(self._execute(rest) if rest else ())]

    def _restore(self) -> UnitOfWork:
        self._connection = self._connect(self._file)
        schema.migrate(self._connection, self._file, self._clock.now_ms())
        if self._time is None:
            row = self._connection.execute("SELECT queue_time, wall, monotonic, boot, hold_ms FROM state").fetchone()
            self._time = QueueTime(self._clock, ClockState(*row), _boot_id())
        self._work = UnitOfWork(self._connection, self._time)
        return self._work

    def _discard(self) -> None:
        connection, self._connection, self._work = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):  # closing rolls back; nothing is left to save
                connection.close()


def _boot_id() -> str:
    """Identifies this boot of the machine: random(4). "" where the system does not have it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
