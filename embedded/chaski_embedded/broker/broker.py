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
from chaski_embedded.broker.commands import Action, QueueChange, T
from chaski_embedded.broker.queue import URL_SCHEME, EmbeddedQueue
from chaski_embedded.broker.waiters import Waiters
from chaski_embedded.broker.writer import Connect, Writer
from chaski_embedded.storage import schema
from chaski_embedded.storage.folder_lock import FolderLock

_log = logging.getLogger(__name__)


class EmbeddedBroker:
    """Owns a data folder. Queues are named by URLs of the form `embedded://<queue name>`.

    Every call raises `BackendUnavailableError` where a write to the disk fails, and `BackendRejectedError` with SQS's
    code (`QueueDoesNotExist`, `InvalidAttributeValue`, ...) for an invalid request.
    """

    def __init__(self, folder: Path, lock: FolderLock, clock: Clock, connect: Connect) -> None:
        """Use `open` instead."""
        self._file = folder / schema.FILE_NAME
        self._lock = lock
        self._clock = clock
        self._writer = Writer(self._file, clock, self._on_change, connect)
        self._waiters: dict[str, Waiters] = {}
        self._receivers: dict[str, int] = {}  # queue name -> number of long polls
        self._housekeeping: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, folder: str | Path, clock: Clock, *, connect: Connect = schema.connect) -> Self:
        """Opens the folder; creates it if it does not exist.

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
            await broker._writer.start()
        except BaseException as error:
            lock.release()
            if isinstance(error, (sqlite3.Error, OSError)):
                raise BackendRejectedError("DataUnusable", f"{broker.file} can't be opened: {error}") from error
            raise
        broker._housekeeping = asyncio.create_task(broker._run_housekeeping())
        return broker

    async def close(self) -> None:
        """Completes pending commands, then releases the folder."""
        if self._housekeeping is not None:
            self._housekeeping.cancel()
            await asyncio.gather(self._housekeeping, return_exceptions=True)
            self._housekeeping = None
            await self._writer.stop()
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

    def write_error(self) -> str | None:
        """Why writes fail; None while they succeed."""
        return self._writer.write_error

    async def run(self, action: Action[T]) -> T:
        """Runs an action on the writer's thread; returns once its changes are durable."""
        return await self._writer.submit(action)

    def submit_nowait(self, action: Action[object], messages: Iterable[str] = ()) -> None:
        """Submits an action that concerns these messages, by identity, to the writer's thread without waiting for it."""
        self._writer.submit_nowait(action, messages)

    async def release_in_flight(self) -> int:
        """Makes every message in flight visible; returns their number. For a process without other users of the folder."""
        return await self.run(queue_operations.release_in_flight)

    def queue(self, url: str) -> EmbeddedQueue:
        """The queue with a URL. Makes no call."""
        return EmbeddedQueue(url, self._writer, self._waiting)

    # ---- administration

    async def create_queue(
        self, name: str, attributes: Mapping[str, str], tags: Mapping[str, str] | None = None
    ) -> str:
        """Creates a FIFO queue, or finds one with the same attributes; its URL."""
        await self.run(lambda work: catalog.create(work, name, attributes, tags or {}))
        return URL_SCHEME + name

    async def queue_url(self, name: str) -> str:
        """The URL of an existing queue."""
        await self.run(lambda work: work.queue(name))
        return URL_SCHEME + name

    async def list_queues(self, prefix: str = "") -> Sequence[str]:
        """URLs of the queues whose names begin with a prefix, by name."""
        names = await self.run(lambda work: sorted(name for name in work.queues if name.startswith(prefix)))
        return [URL_SCHEME + name for name in names]

    async def attributes(self, url: str) -> Mapping[str, str]:
        """Every attribute, `Approximate*`, timestamps and `QueueArn` included."""
        return await self.run(lambda work: catalog.attributes_of(work, _name(url)))

    async def set_attributes(self, url: str, attributes: Mapping[str, str]) -> None:
        """Sets attributes; others stay."""
        await self.run(lambda work: catalog.set_attributes(work, _name(url), attributes))

    async def delete_queue(self, url: str) -> None:
        """Deletes a queue with its messages; its name can be used again after 60 seconds."""
        await self.run(lambda work: catalog.delete(work, _name(url)))

    async def purge_queue(self, url: str) -> None:
        """Deletes every message of a queue; once in 60 seconds."""
        await self.run(lambda work: catalog.purge(work, _name(url)))

    async def tag(self, url: str, tags: Mapping[str, str]) -> None:
        """Adds or replaces tags."""
        await self.run(lambda work: catalog.set_tags(work, _name(url), tags))

    async def untag(self, url: str, names: Sequence[str]) -> None:
        """Removes tags."""
        await self.run(lambda work: catalog.set_tags(work, _name(url), {}, names))

    async def list_tags(self, url: str) -> Mapping[str, str]:
        """The tags of a queue."""
        return await self.run(lambda work: dict(work.queue(_name(url)).tags))

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

    def _on_change(self, change: QueueChange | None) -> None:
        if change is None:
            for waiters in self._waiters.values():
                waiters.wake_all()
            return
        polls = self._waiters.get(change.queue)
        if polls is None:
            return
        if change.exists:
            polls.notify(change.ready_groups, change.next_event_ms)
        else:
            polls.wake_all()

    async def _run_housekeeping(self) -> None:
        cursor, pause = housekeeping.Cursor(), housekeeping.PAUSE_SECONDS
        while True:
            await asyncio.sleep(pause)
            try:
                more = await self.run(cursor.step)
            except BackendUnavailableError as error:
                _log.warning("housekeeping failed, retrying: %s", error)
                cursor, more = housekeeping.Cursor(), False
            pause = housekeeping.STEP_PAUSE_SECONDS if more else housekeeping.PAUSE_SECONDS


def _name(url: str) -> str:
    return url.removeprefix(URL_SCHEME)
