"""Groups what many lanes ask of one queue into batch calls of up to ten entries."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from chaski_core.ports import MAX_BATCH_ENTRIES

HURRY_SECONDS = 0.005
Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Collects items until the event loop comes round, or for `linger_seconds`, and calls once for up to ten.

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
        self._items = 0  # that wait
        self._flush: asyncio.TimerHandle | asyncio.Handle | None = None
        self._hurried = False
        self._under_way: set[asyncio.Task[None]] = set()

    def hurry(self) -> None:
        """Somebody can't go on: what lingers, or is just about to, is called for within `HURRY_SECONDS`."""
        if self._hurried or self._linger <= HURRY_SECONDS:
            return
        self._hurried = True  # until the next call
        if self._flush is not None:
            self._flush.cancel()
            self._flush = asyncio.get_running_loop().call_later(HURRY_SECONDS, self._start)

    async def submit(self, items: Sequence[Item]) -> Sequence[Result]:
        """The results for 1 to 10 items. Raises what the call raised."""
        return await self.put(items)

    def put(self, items: Sequence[Item]) -> asyncio.Future[Sequence[Result]]:
        """As `submit`, for a caller that goes on meanwhile."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[Result]] = loop.create_future()
        self._waiting.append((items, answer))
        self._items += len(items)
        if self._items >= MAX_BATCH_ENTRIES:
            self._start()
        elif self._flush is None:
            linger = HURRY_SECONDS if self._hurried else self._linger
            self._flush = loop.call_later(linger, self._start) if linger else loop.call_soon(self._start)
        return answer

    def _start(self) -> None:
        self._hurried = False
        self._items = 0
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
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
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to those who asked
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(error)
            return
        position = 0
        for items, answer in batch:
            if not answer.done():
                answer.set_result(results[position : position + len(items)])
            position += len(items)
