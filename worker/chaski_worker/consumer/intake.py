"""What a consumer receives: its workload, for the autoscaler."""

from collections.abc import Iterable
from typing import Final

from chaski_core.ports import Clock, ReceivedMessage
from chaski_worker.lanes.lane import LaneKey

WINDOW_SECONDS: Final = 600.0  # far more than the time between two scrapes
RECENT_SECONDS = 60.0
_MAX_KEYS = 10_000  # the autoscaler does not distinguish larger numbers of subjects a minute


class WorkloadStats:
    """The recently received subjects."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._received_at: dict[LaneKey, float] = {}  # monotonic seconds of the last receive, oldest first

    def observe_subject(self, key: LaneKey) -> None:
        """Messages of this subject were received."""
        self._received_at.pop(key, None)
        self._received_at[key] = self._clock.monotonic()
        if len(self._received_at) > _MAX_KEYS:
            del self._received_at[next(iter(self._received_at))]

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
