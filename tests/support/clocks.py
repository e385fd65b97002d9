"""A clock that tests set."""

import time


class SteppedClock:
    """Real time, plus whatever a test lets pass. The wall clock can be set apart from the monotonic one."""

    def __init__(self) -> None:
        self._passed = 0.0
        self._set = 0

    def pass_time(self, seconds: float) -> None:
        """Lets both clocks go on."""
        self._passed += seconds

    def set_wall(self, by_seconds: float) -> None:
        """Sets the wall clock, back or forth, as an administrator or NTP does."""
        self._set += round(by_seconds * 1000)

    def now_ms(self) -> int:
        """Epoch milliseconds."""
        return time.time_ns() // 1_000_000 + round(self._passed * 1000) + self._set

    def monotonic(self) -> float:
        """Seconds."""
        return time.monotonic() + self._passed


class StillClock:
    """A clock that advances only on request, for events in the same millisecond."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self._now_ms = now_ms

    def pass_time(self, seconds: float) -> None:
        """Lets both clocks go on."""
        self._now_ms += round(seconds * 1000)

    def now_ms(self) -> int:
        """Epoch milliseconds."""
        return self._now_ms

    def monotonic(self) -> float:
        """Seconds."""
        return self._now_ms / 1000
