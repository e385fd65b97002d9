"""Groups the requests of many lanes to one queue into batch calls of up to ten entries."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from chaski_core.ports import MAX_BATCH_ENTRIES

FLUSH_SOON_SECONDS = 0.005
Item = TypeVar("Item")
Result = TypeVar("Result")


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
        self._waiting: deque[tuple[Sequence[Item], asyncio.Future[Sequence[Result]]]] = deque()
        self._items = 0  # in `_waiting`
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self._expedited = False
        self._under_way: set[asyncio.Task[None]] = set()

    def flush_soon(self) -> None:
        """A caller is blocked: flush the pending batch, or the next one, within `FLUSH_SOON_SECONDS`."""
        if self._expedited or self._linger <= FLUSH_SOON_SECONDS:
            return
        self._expedited = True  # until the next flush
        if self._timer is not None:
            self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SOON_SECONDS, self._flush)

    async def submit(self, items: Sequence[Item]) -> Sequence[Result]:
        """The results for 1 to 10 items. Raises what the call raised."""
        return await self.submit_nowait(items)

    def submit_nowait(self, items: Sequence[Item]) -> asyncio.Future[Sequence[Result]]:
        """As `submit`, for a caller that continues meanwhile."""
        loop = asyncio.get_running_loop()
        results: asyncio.Future[Sequence[Result]] = loop.create_future()
        self._waiting.append((items, results))
        self._items += len(items)
        if self._items >= MAX_BATCH_ENTRIES:
            self._flush()
        elif self._timer is None:
            linger = FLUSH_SOON_SECONDS if self._expedited else self._linger
            self._timer = loop.call_later(linger, self._flush) if linger else loop.call_soon(self._flush)
        return results

    def _flush(self) -> None:
        self._expedited = False
        self._items = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            batch = [self._waiting.popleft()]
            size = len(batch[0][0])
            while self._waiting and size + len(self._waiting[0][0]) <= MAX_BATCH_ENTRIES:
                batch.append(self._waiting.popleft())
                size += len(batch[-1][0])
            task = asyncio.get_running_loop().create_task(self._run(batch))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _run(self, batch: list[tuple[Sequence[Item], asyncio.Future[Sequence[Result]]]]) -> None:
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
