"""Limits the attempts at once, in all and for each target."""

import asyncio
from collections import Counter, deque


class Slots:
    """A route's attempts at once (`concurrencyPerPod`), with a share that no single target can exceed.

    A route's only target may take all slots. With more targets each gets less than the whole, so that a target that
    hangs never takes the last slots from the others.
    """

    def __init__(self, total: int, targets: int) -> None:
        self._free = total
        self._shared = targets > 1 and total > 1
        self._share = total - max(1, total // 4) if self._shared else total
        self._taken: Counter[str] = Counter()
        self._waiting: deque[tuple[str, asyncio.Future[None]]] = deque()

    def saturated(self, target: str) -> bool:
        """Whether a target holds its whole share."""
        return self._taken[target] >= self._share

    def crowds_out(self, target: str) -> bool:
        """Whether a target holds its whole share while its waiting lanes would block other targets."""
        return self._shared and self.saturated(target)

    @property
    def taken(self) -> int:
        """Attempts running now."""
        return self._taken.total()

    def take_free(self, target: str) -> bool:
        """Takes a slot if one is free for the target; whether it did."""
        if self._free and not self.saturated(target):
            self._take(target)
            return True
        return False

    async def acquire(self, target: str) -> None:
        """Waits for a slot: first come, first served among the waiters whose target is below its share."""
        if self.take_free(target):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((target, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(target)
            else:
                self._waiting.remove((target, turn))
            raise

    def release(self, target: str) -> None:
        """Returns a slot and passes it to the next waiter."""
        self._taken[target] -= 1
        if not self._taken[target]:
            del self._taken[target]
        self._free += 1
        for position, (waiting, turn) in enumerate(self._waiting):
            if not self.saturated(waiting):
                del self._waiting[position]
                self._take(waiting)
                turn.set_result(None)
                return

    def _take(self, target: str) -> None:
        self._free -= 1
        self._taken[target] += 1
