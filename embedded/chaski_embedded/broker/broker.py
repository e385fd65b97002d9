"""The broker: FIFO queues, dead letters, attempt records and the journal of one data folder."""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from chaski_core.errors import BackendRejectedError, BackendUnavailableError
from chaski_core.ports import Clock
from chaski_embedded.broker import catalog, housekeeping, queue_operations
from chaski_embedded.broker.waiters import Waiters
from chaski_embedded.broker.writer import Action, Connect, QueueChange, T, Writer
from chaski_embedded.queue import URL_SCHEME, EmbeddedQueue
from chaski_embedded.storage import schema
from chaski_embedded.storage.folder_lock import FolderLock

_log = logging.getLogger(__name__)


class EmbeddedBroker:
    """Owns a data folder. Queues are named by URLs of the form `embedded://<queue name>`.

    Every call raises `BackendUnavailableError` where the disk does not take what is written, and
    `BackendRejectedError` with SQS's code (`QueueDoesNotExist`, `InvalidAttributeValue`, ...) where it refuses.
    """

    def __init__(self, folder: Path, lock: FolderLock, clock: Clock, connect: Connect) -> None:
        """Not to be called; use `open`."""
        self._file = folder / schema.FILE_NAME
        self._lock = lock
        self._clock = clock
        self._engine = Writer(self._file, clock, self._hear, connect)
        self._waiters: dict[str, Waiters] = {}
        self._receivers: dict[str, int] = {}  # queue name -> long polls under way
        self._housekeeping: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, folder: str | Path, clock: Clock, *, connect: Connect = schema.connect) -> Self:
        """Opens the folder, made if it is not there.

        Raises:
            BackendRejectedError: another process owns the folder (DataInUse), a newer release wrote it (DataTooNew),
                or it can't be used (DataUnusable).
        """
        path = Path(folder)
        try:
            lock = FolderLock.acquire(path)
        except OSError as error:
            raise BackendRejectedError("DataUnusable", f"{path} can't be used as data folder: {error}") from error
        broker = cls(path, lock, clock, connect)
        try:
            await broker._engine.start()
        except BaseException as error:
            lock.release()
            if isinstance(error, (sqlite3.Error, OSError)):
                raise BackendRejectedError("DataUnusable", f"{broker.file} can't be opened: {error}") from error
            raise
        broker._housekeeping = asyncio.create_task(broker._keep_house())
        return broker

    async def close(self) -> None:
        """Finishes what was asked for, then lets go of the folder."""
        if self._housekeeping is not None:
            self._housekeeping.cancel()
            await asyncio.gather(self._housekeeping, return_exceptions=True)
            self._housekeeping = None
            await self._engine.stop()
            for waiters in self._waiters.values():
                waiters.close()
                waiters.wake_all()
            self._lock.release()

    @property
    def file(self) -> Path:
        """The SQLite file."""
        return self._file

    def now_ms(self) -> int:
        """The wall clock, epoch milliseconds."""
        return self._clock.now_ms()

    def trouble(self) -> str | None:
        """Why nothing can be stored; None while it can."""
        return self._engine.trouble

    async def run(self, action: Action[T]) -> T:
        """Runs an action of this package on the engine's thread; returns once its changes are durable."""
        return await self._engine.submit(action)

    def ride(self, action: Action[object], messages: Iterable[str] = ()) -> None:
        """Runs an action about these messages, by identity, on the engine's thread without waiting for it."""
        self._engine.ride(action, messages)

    async def release_in_flight(self) -> int:
        """Makes every held message visible again; returns how many. For a process that is alone on the folder."""
        return await self.run(queue_operations.release_in_flight)

    def queue(self, url: str) -> EmbeddedQueue:
        """The queue of that URL. Makes no call."""
        return EmbeddedQueue(url, self._engine, self._waiting)

    # ---- administration

    async def create_queue(
        self, name: str, attributes: Mapping[str, str], tags: Mapping[str, str] | None = None
    ) -> str:
        """Makes a FIFO queue, or finds one with the very same attributes; its URL."""
        await self.run(lambda session: catalog.create(session, name, attributes, tags or {}))
        return URL_SCHEME + name

    async def queue_url(self, name: str) -> str:
        """The URL of a queue that exists."""
        await self.run(lambda session: session.queue(name))
        return URL_SCHEME + name

    async def list_queues(self, prefix: str = "") -> Sequence[str]:
        """URLs of the queues whose names begin so, by name."""
        names = await self.run(lambda session: sorted(name for name in session.queues if name.startswith(prefix)))
        return [URL_SCHEME + name for name in names]

    async def attributes(self, url: str) -> Mapping[str, str]:
        """Every attribute, `Approximate*`, timestamps and `QueueArn` included."""
        return await self.run(lambda session: catalog.attributes_of(session, _name(url)))

    async def set_attributes(self, url: str, attributes: Mapping[str, str]) -> None:
        """Changes the attributes given, keeps the others."""
        await self.run(lambda session: catalog.set_attributes(session, _name(url), attributes))

    async def delete_queue(self, url: str) -> None:
        """Deletes a queue with its messages; its name can be used again after 60 seconds."""
        await self.run(lambda session: catalog.delete(session, _name(url)))

    async def purge_queue(self, url: str) -> None:
        """Deletes every message of a queue; once in 60 seconds."""
        await self.run(lambda session: catalog.purge(session, _name(url)))

    async def tag(self, url: str, tags: Mapping[str, str]) -> None:
        """Adds or replaces tags."""
        await self.run(lambda session: catalog.set_tags(session, _name(url), tags))

    async def untag(self, url: str, names: Sequence[str]) -> None:
        """Drops tags."""
        await self.run(lambda session: catalog.set_tags(session, _name(url), {}, names))

    async def list_tags(self, url: str) -> Mapping[str, str]:
        """The tags of a queue."""
        return await self.run(lambda session: dict(session.queue(_name(url)).tags))

    # ---- inside

    @contextlib.contextmanager
    def _waiting(self, name: str) -> Iterator[Waiters]:
        waiters = self._waiters.get(name)
        if waiters is None:
            waiters = self._waiters[name] = Waiters()
        self._receivers[name] = self._receivers.get(name, 0) + 1
        try:
            yield waiters
        finally:
            self._receivers[name] -= 1
            if not self._receivers[name]:
                waiters.close()
                del self._receivers[name], self._waiters[name]

    def _hear(self, news: QueueChange | None) -> None:
        if news is None:
            for waiters in self._waiters.values():
                waiters.wake_all()
            return
        found = self._waiters.get(news.queue)
        if found is None:
            return
        if news.exists:
            found.notify(news.ready_groups, news.next_event_ms)
        else:
            found.wake_all()

    async def _keep_house(self) -> None:
        cursor, pause = housekeeping.Cursor(), housekeeping.PAUSE_SECONDS
        while True:
            await asyncio.sleep(pause)
            try:
                more = await self.run(cursor.step)
            except BackendUnavailableError as error:
                _log.warning("housekeeping waits: %s", error)
                cursor, more = housekeeping.Cursor(), False
            pause = housekeeping.STEP_PAUSE_SECONDS if more else housekeeping.PAUSE_SECONDS


def _name(url: str) -> str:
    return url.removeprefix(URL_SCHEME)
