"""Long polls that wait for a message of one queue; one is woken only when it can receive something."""

import asyncio
import math

from chaski_core.ports import MAX_BATCH_ENTRIES


class Waiters:
    """The waiting long polls of one queue. Used on the event loop only."""

    def __init__(self) -> None:
        self.version = 0  # changes with every event that may make a receive succeed
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[asyncio.Future[None], None] = {}  # in the order of arrival
        self._timer: asyncio.TimerHandle | None = None

    def notify(self, ready_groups: int, next_event_ms: int | None) -> None:
        """Wakes long polls after a change of the queue.

        One receive takes messages of up to ten groups, so only as many long polls are woken as can receive something;
        the next call reports the remaining groups.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if ready_groups:
            self._wake(math.ceil(ready_groups / MAX_BATCH_ENTRIES))
        if next_event_ms is not None:
            self._timer = self._loop.call_later(max(next_event_ms, 1) / 1000, self._wake, 1)

    def wake_all(self) -> None:
        """Wakes all long polls: the queue was deleted, or its state is unknown."""
        self._wake(len(self._waiting))

    def close(self) -> None:
        """Cancels the timer."""
        if self._timer is not None:
            self._timer.cancel()

    async def wait(self, seen: int, until: float) -> None:
        """Returns once a message may have arrived since `version` was `seen`, or at loop time `until`."""
        if self.version != seen:
            return
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting[future] = None
        deadline = self._loop.call_at(until, self._resolve, future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._wake(1)  # this long poll was woken and will not receive: wake another
            raise
        finally:
            deadline.cancel()
            self._waiting.pop(future, None)

    def _wake(self, count: int) -> None:
        self.version += 1
        for future in list(self._waiting)[:count]:
            self._resolve(future)

    def _resolve(self, future: "asyncio.Future[None]") -> None:
        self._waiting.pop(future, None)
        if not future.done():
            future.set_result(None)
