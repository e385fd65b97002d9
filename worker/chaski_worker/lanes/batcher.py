"""Groups the requests of many lanes to one queue into batch calls of up to ten entries."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from chaski_core.ports import MAX_BATCH_ENTRIES

FLUSH_SOON_SECONDS = 0.002  # lanes that are blocked at nearly the same time share a call
Item = TypeVar("Item")
Result = TypeVar("Result")
Entry = tuple[Sequence[Item], asyncio.Future[Sequence[Result]]]


class Batcher(Generic[Item, Result]):
    """Collects items until the next iteration of the event loop, or for `linger_seconds`, and sends up to ten a call.

    Items submitted together (at most ten) go in one call, in their order, and are never split, because the queue must
    see a lane's head before its followers. Several calls may be under way at once.
    """

    def __init__(
        self,
        call: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        linger_seconds: float = 0.0,
    ) -> None:
        self._call = call
        self._linger = linger_seconds
        self._waiting: deque[Sequence[Item]] = deque()
        self._futures: deque[asyncio.Future[Sequence[Result]]] = deque()  # of the results of what is waiting
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self._flush_at = 0.0  # loop seconds, of the timer
        self._under_way: set[asyncio.Task[None]] = set()

    async def submit(self, items: Sequence[Item], *, soon: bool = False) -> Sequence[Result]:
        """The results for 1 to 10 items. Raises what the call raised.

        Args:
            items: are read when the call is made. A list may grow until then, to ten at most; each growth is followed by
                `flush_if_full`. The number of results says how many items the call had.
            soon: the caller is blocked; as `flush_soon`.
        """
        loop = asyncio.get_running_loop()
        results: asyncio.Future[Sequence[Result]] = loop.create_future()
        self._waiting.append(items)
        self._futures.append(results)
        self._flush_within(loop, min(self._linger, FLUSH_SOON_SECONDS) if soon else self._linger)
        self.flush_if_full()
        return await results

    def flush_soon(self) -> None:
        """A caller is blocked: sends what is waiting within `FLUSH_SOON_SECONDS`."""
        if self._waiting:
            self._flush_within(asyncio.get_running_loop(), min(self._linger, FLUSH_SOON_SECONDS))

    def flush_if_full(self) -> None:
        """Sends as many full calls as are waiting."""
        while sum(map(len, self._waiting)) >= MAX_BATCH_ENTRIES:
            self._send_next()
        if not self._waiting:
            self._cancel_timer()

    def _flush_within(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        at = loop.time() + seconds
        if self._timer is not None and self._flush_at <= at:
            return
        self._cancel_timer()
        self._flush_at = at
        self._timer = loop.call_later(seconds, self._flush) if seconds else loop.call_soon(self._flush)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _flush(self) -> None:
        self._timer = None
        while self._waiting:
            self._send_next()

    def _send_next(self) -> None:
        batch: list[Entry[Item, Result]] = []
        size = 0
        while self._waiting and (not batch or size + len(self._waiting[0]) <= MAX_BATCH_ENTRIES):
            # The items are copied here: what is added to a list from now on belongs to its next call.
            items = tuple(self._waiting.popleft())
            batch.append((items, self._futures.popleft()))
            size += len(items)
        task = asyncio.get_running_loop().create_task(self._run(batch))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _run(self, batch: list[Entry[Item, Result]]) -> None:
        try:
            results = await self._call([item for items, _ in batch for item in items])
        except Exception as error:  # noqa: BLE001 - any error of the call is raised in each submitter
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        position = 0
        for items, future in batch:
            if not future.done():
                future.set_result(results[position : position + len(items)])
            position += len(items)
