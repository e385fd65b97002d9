"""One thread that owns the file: it takes all commands that wait, carries them out, commits once, then answers all.

Nothing is answered before its commit. Where a commit fails, every command of its group fails, what is in memory is
thrown away and read anew from the file, and the thread goes on.

After such a failure the engine is in trouble: once a second it tries to store something as large as a message, and until
that succeeds, `trouble` holds the reason. Actions without a caller that waits are tried again with it, apart from all
others: they need room, and what others do (a delete) may be what makes it. The delete of a message is committed only
together with the notes of its attempts that are late, so no crash can leave a message deleted and its attempts unknown.
"""

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from chaski_core.errors import BackendError, BackendUnavailableError, ChaskiError
from chaski_core.ports import Clock
from chaski_embedded.broker.queue_time import QueueTime, Reached
from chaski_embedded.broker.unit_of_work import UnitOfWork
from chaski_embedded.storage import schema

T = TypeVar("T")
Action = Callable[[UnitOfWork], T]

_MAX_GROUP = 1_000  # commands in one commit: bounds how long the first waits for the last
_RETRY_SECONDS = 1.0
_PROBE_BYTES = 327_680  # a message of the largest size with its metadata
_MAX_LATE = 10_000  # riders that wait for room: far more than there can be attempts under way
_RIDE_SECONDS = 0.05  # for which an action that nobody waits for does, so that it costs no commit of its own
_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Command:
    action: Action[Any]
    future: "asyncio.Future[Any] | None"  # None: nobody waits for it
    undo: Callable[[Any], Action[Any] | None] | None = None
    messages: frozenset[str] = frozenset()  # identities of the messages that it is about; without a future
    stored: bool = False  # with another group; without a future


@dataclass(frozen=True, slots=True)
class _Outcome:
    command: _Command
    result: Any = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class QueueChange:
    """What became of a queue in a group of commands."""

    queue: str
    exists: bool
    ready_groups: int  # groups that a receive would find
    next_event_ms: int | None  # milliseconds until something may become deliverable by itself


Connect = Callable[[Path], sqlite3.Connection]


class Writer:
    """Runs actions on the session of a file. Made and used on one event loop."""

    def __init__(
        self, file: Path, clock: Clock, on_news: Callable[[QueueChange | None], None], connect: Connect
    ) -> None:
        self._file, self._clock, self._on_news, self._connect = file, clock, on_news, connect
        self._loop = asyncio.get_running_loop()
        self._commands: queue.SimpleQueue[Sequence[_Command] | None] = queue.SimpleQueue()
        self._riders: list[_Command] = []
        self._departure: asyncio.TimerHandle | None = None  # of the riders, if no command comes before
        self._late: dict[_Command, None] = {}  # riders that could not be stored; the thread reads it
        self._retry: asyncio.TimerHandle | None = None
        self.trouble: str | None = None  # why nothing can be stored; None: it can
        self._thread = threading.Thread(target=self._work, name="chaski-embedded", daemon=True)
        self._connection: sqlite3.Connection | None = None
        self._session: UnitOfWork | None = None
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
        """Finishes the commands given before, closes the file; later commands fail."""
        self._closed = True
        if self._retry is not None:
            self._retry.cancel()
        self._put(*self._late)
        self._commands.put(None)
        while self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, 1.0)

    def submit(self, action: Action[T], undo: Callable[[T], Action[Any] | None] | None = None) -> "asyncio.Future[T]":
        """Gives an action to the thread; the future has its result once it is durable.

        `undo` makes the action that takes a result back whose receiver was cancelled.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        if self._closed:
            future.set_exception(BackendUnavailableError("the embedded broker is closed"))
        else:
            self._put(_Command(action, future, undo))
        return future

    def ride(self, action: Action[Any], messages: Iterable[str] = ()) -> None:
        """Gives an action without a caller that waits to the thread: with the next command, or soon if none comes.

        It is tried again while nothing can be stored, and then no later than with the delete of one of its messages.

        Args:
            action: carried out once.
            messages: identities of the messages that it is about.
        """
        rider = _Command(action, None, messages=frozenset(messages))
        if self.trouble is not None:
            self._leave_behind(rider)
        elif not self._closed:
            self._riders.append(rider)
            if self._departure is None:
                self._departure = self._loop.call_later(_RIDE_SECONDS, self._put)

    # ---- on the loop

    def _put(self, *commands: _Command) -> None:
        if self._departure is not None:
            self._departure.cancel()
            self._departure = None
        if group := [*self._riders, *commands]:
            self._riders = []
            self._commands.put(group)

    def _deliver(self, outcomes: Sequence[_Outcome], news: Sequence[QueueChange] | None) -> None:
        for outcome in outcomes:
            future = outcome.command.future
            if isinstance(outcome.error, BackendUnavailableError):
                self._note_trouble(outcome.error)
            if future is None:
                if isinstance(outcome.error, BackendUnavailableError):
                    self._leave_behind(outcome.command)
                    continue
                self._late.pop(outcome.command, None)
                if outcome.error is not None:
                    _log.warning("lost a note of an attempt: %s", outcome.error)
            elif future.cancelled():
                self._take_back(outcome)
            elif outcome.error is not None:
                future.set_exception(outcome.error)
            else:
                future.set_result(outcome.result)
        for each in (None,) if news is None else news:
            self._on_news(each)

    def _take_back(self, outcome: _Outcome) -> None:
        if outcome.command.undo is not None and outcome.error is None:
            action = outcome.command.undo(outcome.result)
            if action is not None and not self._closed:
                self._put(_Command(action, None))

    def _note_trouble(self, error: Exception) -> None:
        if self.trouble is None:
            _log.error(
                "nothing can be stored, trying again every %g s; what was acknowledged is safe: %s",
                _RETRY_SECONDS,
                error,
            )
        self.trouble = f"nothing can be stored: {error}"
        if self._retry is None and not self._closed:
            self._retry = self._loop.call_later(_RETRY_SECONDS, self._try_again)

    def _leave_behind(self, rider: _Command) -> None:
        if self._closed or (len(self._late) >= _MAX_LATE and rider not in self._late):
            _log.warning("lost a note of an attempt: %s", self.trouble)
        else:
            self._late[rider] = None

    def _try_again(self) -> None:
        self._retry = None
        probing: asyncio.Future[None] = self._loop.create_future()
        probing.add_done_callback(self._probed)
        self._put(*self._late, _Command(_probe, probing))

    def _probed(self, probing: "asyncio.Future[None]") -> None:
        if probing.cancelled() or probing.exception() is not None:
            return  # the trouble goes on, and so the next try is on its way
        _log.info("%s takes what is written again", self._file)
        self.trouble = None
        if not self._closed:
            self._put(*self._late, _Command(_drop_probe, None))  # some may have come since the try began

    # ---- in the thread

    def _work(self) -> None:
        last = False
        while not last:
            commands, last = self._next_group()
            outcomes = self._carry_out(commands)
            news = self._news()
            with contextlib.suppress(RuntimeError):  # the loop was closed without waiting for this
                self._loop.call_soon_threadsafe(self._deliver, outcomes, news)
        self._discard()

    def _next_group(self) -> tuple[list[_Command], bool]:
        group: list[_Command] = []
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

    def _carry_out(self, commands: Sequence[_Command]) -> list[_Outcome]:
        outcomes: list[_Outcome] = []
        try:
            session = self._session or self._restore()
            session.begin(with_late_notes=bool(self._late))
            for command in commands:
                if command.stored:
                    outcomes.append(_Outcome(command))
                    continue
                try:
                    outcomes.append(_Outcome(command, command.action(session)))
                except ChaskiError as error:
                    outcomes.append(_Outcome(command, error=error))
                except sqlite3.Error:
                    raise
                except Exception as error:  # noqa: BLE001 - whatever it is, the others of the group go on
                    _log.exception("an action on %s failed; the others of its group are done again", self._file)
                    return self._without(command, commands, error)
            late = self._take_along(session, commands)
            session.commit()
            for command in late:
                command.stored = True
        except (sqlite3.Error, OSError, BackendError) as error:
            self._discard()
            return [_Outcome(each, error=_unavailable(self._file, error)) for each in commands]
        return outcomes

    def _take_along(self, session: UnitOfWork, commands: Sequence[_Command]) -> list[_Command]:
        """Carries out what is late of the messages that these commands delete; what the group has itself is not late."""
        if not session.deleted:
            return []
        late = [each for each in list(self._late) if not each.stored and not each.messages.isdisjoint(session.deleted)]
        late = [each for each in late if each not in commands]
        for command in late:
            command.action(session)
        return late

    def _without(self, broken: _Command, commands: Sequence[_Command], error: Exception) -> list[_Outcome]:
        self._discard()  # the action may have left half of its changes behind
        rest = [command for command in commands if command is not broken]
        return [_Outcome(broken, error=error), *(self._carry_out(rest) if rest else ())]

    def _news(self) -> list[QueueChange] | None:
        session = self._session
        if session is None:
            return None  # the file will be read anew: whatever was known of the queues is void
        news = []
        for name, hosted in session.touched.items():
            if hosted is None:
                news.append(QueueChange(name, exists=False, ready_groups=0, next_event_ms=None))
                continue
            event = hosted.fifo.next_event(session.now)
            left = None if event is None else max(0, event - session.now)
            news.append(
                QueueChange(name, exists=True, ready_groups=hosted.fifo.ready_groups(session.now), next_event_ms=left)
            )
        return news

    def _restore(self) -> UnitOfWork:
        self._connection = self._connect(self._file)
        schema.migrate(self._connection, self._file, self._clock.now_ms())
        if self._time is None:
            row = self._connection.execute("SELECT queue_time, wall, monotonic, boot, hold_ms FROM state").fetchone()
            self._time = QueueTime(self._clock, Reached(*row), _boot())
        self._session = UnitOfWork(self._connection, self._time)
        return self._session

    def _discard(self) -> None:
        connection, self._connection, self._session = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):  # closing rolls back; there is nothing left to save
                connection.close()


def _probe(session: UnitOfWork) -> None:
    session.sql().execute("UPDATE state SET probe = zeroblob(?)", (_PROBE_BYTES,))


def _drop_probe(session: UnitOfWork) -> None:
    session.sql().execute("UPDATE state SET probe = NULL")


def _boot() -> str:
    """What names this run of the machine: random(4). "" where the system has no such thing."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _unavailable(file: Path, error: Exception) -> BackendUnavailableError:
    fault = BackendUnavailableError(f"{file}: {error}", retry_after_seconds=_RETRY_SECONDS)
    fault.__cause__ = error
    return fault
