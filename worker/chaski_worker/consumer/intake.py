"""How much a consumer holds and receives: its limits, and its workload for the autoscaler."""

import asyncio
from collections.abc import Iterable
from typing import Final

from chaski_core.ports import Clock, ReceivedMessage
from chaski_worker.lanes.lane import LaneKey
from chaski_worker.shortage.detection import Shortage

WINDOW_SECONDS: Final = 600.0  # far more than the time between two scrapes
RECENT_SECONDS = 60.0
_MAX_KEYS = 10_000  # the autoscaler does not distinguish larger numbers of subjects a minute
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


class WorkloadStats:
    """The recently received subjects, and the mean duration of an attempt."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._received_at: dict[LaneKey, float] = {}  # monotonic seconds of the last receive, oldest first
        self.mean_attempt_seconds: float | None = None  # moving mean; None before the first attempt

    def observe_subject(self, key: LaneKey) -> None:
        """Messages of this subject were received."""
        self._received_at.pop(key, None)
        self._received_at[key] = self._clock.monotonic()
        if len(self._received_at) > _MAX_KEYS:
            del self._received_at[next(iter(self._received_at))]

    def observe_attempt(self, seconds: float) -> None:
        """An attempt took `seconds`."""
        mean = self.mean_attempt_seconds
        self.mean_attempt_seconds = seconds if mean is None else mean + _WEIGHT * (seconds - mean)

    def active_subjects(self, held: set[LaneKey]) -> int:
        """Number of subjects that are held now or were received within the last minute."""
        since = self._clock.monotonic() - RECENT_SECONDS
        while self._received_at and self._received_at[key := next(iter(self._received_at))] < since:
            del self._received_at[key]
        return len(self._received_at.keys() | held)


class OldestReceived:
    """The oldest SentTimestamp received from each queue, delivered since or not, over one to two windows.

    The operator judges a queue's age by it.
    """

    def __init__(self, clock: Clock, window_seconds: float = WINDOW_SECONDS) -> None:
        self._clock = clock
        self._window = window_seconds
        self._turned = clock.monotonic()
        self._current: dict[str, int] = {}  # queue URL -> epoch milliseconds
        self._previous: dict[str, int] = {}

    def observe(self, url: str, messages: Iterable[ReceivedMessage]) -> None:
        """These messages, at least one, were received from that queue."""
        self._turn()
        oldest = min(message.sent_at for message in messages)
        known = self._current.get(url)
        if known is None or oldest < known:
            self._current[url] = oldest

    def oldest(self, urls: Iterable[str]) -> int | None:
        """SentTimestamp of the oldest message received from these queues, epoch milliseconds; None if none was."""
        self._turn()
        found = [kept[url] for url in urls for kept in (self._previous, self._current) if url in kept]
        return min(found, default=None)

    def _turn(self) -> None:
        passed = self._clock.monotonic() - self._turned
        if passed < self._window:
            return
        self._previous = self._current if passed < 2 * self._window else {}
        self._current = {}
        self._turned += passed // self._window * self._window
