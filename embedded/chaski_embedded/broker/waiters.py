"""Receivers that wait for a message of one queue: each is woken when there is something for it, and only then."""

import asyncio
import math

from chaski_core.ports import MAX_BATCH_ENTRIES


class Waiters:
    """The long polls of one queue. Lives on the event loop."""

    def __init__(self) -> None:
        self.version = 0  # changes with everything that may make a receive succeed
        self._loop = asyncio.get_running_loop()
        self._parked: dict[asyncio.Future[None], None] = {}  # in the order of coming
        self._timer: asyncio.TimerHandle | None = None

    def notify(self, ready_groups: int, next_event_ms: int | None) -> None:
        """Takes note of the queue's state.

        One receive takes messages of up to ten groups, so no more receivers are woken than can find something; what
        they leave is told by the next call.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if ready_groups:
            self._wake(math.ceil(ready_groups / MAX_BATCH_ENTRIES))
        if next_event_ms is not None:
            self._timer = self._loop.call_later(max(next_event_ms, 1) / 1000, self._wake, 1)

    def wake_all(self) -> None:
        """Wakes everyone: the queue is gone, or what is known of it."""
        self._wake(len(self._parked))

    def close(self) -> None:
        """Drops the timer."""
        if self._timer is not None:
            self._timer.cancel()

    async def wait(self, seen: int, until: float) -> None:
        """Returns when something may have come since `version` was `seen`, or at loop time `until`."""
        if self.version != seen:
            return
        future: asyncio.Future[None] = self._loop.create_future()
        self._parked[future] = None
        deadline = self._loop.call_at(until, self._resolve, future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._wake(1)  # this one was woken and won't look: another must
            raise
        finally:
            deadline.cancel()
            self._parked.pop(future, None)

    def _wake(self, count: int) -> None:
        self.version += 1
        for future in list(self._parked)[:count]:
            self._resolve(future)

    def _resolve(self, future: "asyncio.Future[None]") -> None:
        self._parked.pop(future, None)
        if not future.done():
            future.set_result(None)
