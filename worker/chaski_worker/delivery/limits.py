"""The limits of one consumer: the lanes that it holds, and the attempts at once, in all and for each host."""

import asyncio
from collections import deque
from collections.abc import Callable

from chaski_worker.hosts.shares import HostShares
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
    """A route's attempts at once (`concurrencyPerPod`), shared out by host (`hosts/shares.py`).

    Args:
        total: attempts at once.
        several: whether the route may have more than one host.
        monotonic: seconds.
    """

    def __init__(self, total: int, *, several: bool, monotonic: Callable[[], float]) -> None:
        self._shares = HostShares(total, several=several)
        self._monotonic = monotonic
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # by host, the one that waits longest first
        self.crowds_out = self._shares.crowds_out
        self.mean_seconds: float | None = None  # moving mean of an attempt; None before the first one

    @property
    def taken(self) -> int:
        """Attempts running now."""
        return self._shares.taken

    def take_free(self, host: str) -> bool:
        """Takes a slot if one is free for the host; whether it did."""
        shares = self._shares
        if shares.free <= shares.reserve:
            shares.check(self._monotonic())
        return shares.take(host)

    async def acquire(self, host: str) -> None:
        """Waits for a slot: the hosts that hold the fewest go first, and of a host the attempts that wait longest."""
        if self.take_free(host):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(host, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(host)
            else:
                self._forget(host, turn)
            raise

    def release(self, host: str, *, answered: bool | None = None) -> None:
        """Returns a slot and passes it on. `answered`: whether the host responded; None: it was not attempted."""
        self._shares.end(host, answered=answered)
        if not self._waiting:
            return
        self._shares.check(self._monotonic())
        # A host that has just answered may have slots that were kept free.
        while (chosen := self._shares.choose(self._waiting)) is not None:
            turns = self._waiting.pop(chosen)
            turn = turns.popleft()
            if turns:
                self._waiting[chosen] = turns  # behind the other hosts
            if not turn.done():  # else it was cancelled just now
                self._shares.take(chosen)
                turn.set_result(None)

    def _forget(self, host: str, turn: asyncio.Future[None]) -> None:
        turns = self._waiting.get(host, deque())
        if turn in turns:
            turns.remove(turn)
            if not turns:
                del self._waiting[host]

    def observe(self, seconds: float) -> None:
        """An attempt took `seconds`."""
        mean = self.mean_seconds
        self.mean_seconds = seconds if mean is None else mean + _WEIGHT * (seconds - mean)
