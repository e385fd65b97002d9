"""The limits of one consumer: the lanes that it holds, and the attempts at once, in all and for each target."""

import asyncio
from collections import Counter, deque

from chaski_worker.shortage.detection import Shortage

_WEIGHT = 0.05  # of the newest attempt in the mean: the last few dozen count


class IntakeLimiter:
    """Counts held lanes and bytes; polling waits while either is at its limit.

    A poll can return ten messages, so a limit is exceeded by at most ten messages for each poll under way.
    """

    def __init__(self, max_lanes: int, max_bytes: int) -> None:
        self.max_lanes = max_lanes
        self.max_bytes = max_bytes
        self._lanes = 0
        self._bytes = 0
        self._free = asyncio.Event()
        self._free.set()

    @property
    def full(self) -> bool:
        """Whether polling has to wait."""
        return not self._free.is_set()

    @property
    def lanes(self) -> int:
        """Lanes held."""
        return self._lanes

    @property
    def bytes(self) -> int:
        """Bytes held."""
        return self._bytes

    async def wait(self) -> None:
        """Waits until lanes and bytes are below their limits."""
        await self._free.wait()

    def acquire(self, size: int) -> None:
        """Counts a lane of `size` bytes as held."""
        self._lanes += 1
        self._bytes += size
        self._update()

    def release(self, size: int) -> None:
        """Counts a lane of `size` bytes as no longer held."""
        self._lanes -= 1
        self._bytes -= size
        self._update()

    def is_crowded(self, shortage: Shortage) -> bool:
        """Whether a lane that waits for a shortage to end should be parked for the sake of others.

        Lanes that wait for a single rule may take half of the lanes at most.
        """
        return self.full or (shortage.of_one_target and self._lanes * 2 > self.max_lanes)

    def _update(self) -> None:
        if self._lanes < self.max_lanes and self._bytes < self.max_bytes:
            self._free.set()
        else:
            self._free.clear()


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
        self.mean_seconds: float | None = None  # moving mean of an attempt; None before the first one

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

    def observe(self, seconds: float) -> None:
        """An attempt took `seconds`."""
        mean = self.mean_seconds
        self.mean_seconds = seconds if mean is None else mean + _WEIGHT * (seconds - mean)

    def _take(self, target: str) -> None:
        self._free -= 1
        self._taken[target] += 1
