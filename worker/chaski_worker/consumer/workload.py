"""What a consumer has to do, for whoever decides how many workers there should be."""

from chaski_core.ports import Clock
from chaski_worker.lanes.lane import LaneKey

RECENT_SECONDS = 60.0
_MAX_KEYS = 10_000  # more subjects a minute than this are as good as any number
_WEIGHT = 0.05  # of the newest attempt in the mean: the last few dozen count


class WorkloadStats:
    """The subjects that came lately, and how long an attempt takes on average."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._met: dict[LaneKey, float] = {}  # when each was last received, oldest first
        self.attempt_seconds: float | None = None  # moving mean; None before the first attempt

    def met(self, key: LaneKey) -> None:
        """Messages of this subject were received."""
        self._met.pop(key, None)
        self._met[key] = self._clock.monotonic()
        if len(self._met) > _MAX_KEYS:
            del self._met[next(iter(self._met))]

    def attempted(self, seconds: float) -> None:
        """An attempt took so long."""
        mean = self.attempt_seconds
        self.attempt_seconds = seconds if mean is None else mean + _WEIGHT * (seconds - mean)

    def subjects(self, held: set[LaneKey]) -> int:
        """Different subjects that are held now or were received within the last minute."""
        since = self._clock.monotonic() - RECENT_SECONDS
        while self._met and self._met[key := next(iter(self._met))] < since:
            del self._met[key]
        return len(self._met.keys() | held)
