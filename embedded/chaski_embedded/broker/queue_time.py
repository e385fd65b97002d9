"""The broker's own time, and when it is safe to drop what the wall clock calls old. Pure.

Queue time decides holds, delays, deduplication and sequence numbers. While a process runs it runs with the monotonic
clock, so that a wall clock that is set moves nothing. Over a restart it goes on by what the monotonic clock counted, if
the machine was not restarted; else by what the wall clock counted, and never back.
"""

from dataclasses import dataclass

from chaski_core.ports import Clock

START_HOLD_MS = 3_600_000
JUMP_HOLD_MS = 86_400_000
#: By which the two clocks may part in a day without a jump: NTP slews by up to 500 ppm, which is 43 s.
TOLERANCE_MS = 60_000
_ANCHOR_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Reached:
    """Where the clocks were at the last commit."""

    queue_time: int  # milliseconds
    wall: int = 0  # epoch milliseconds; 0: not known, an earlier release wrote the file
    monotonic: int = 0  # milliseconds
    boot: str = ""  # of the machine, to which `monotonic` belongs; "": not known
    hold_ms: int = 0  # for which nothing stored may expire, of time in which a process runs


class ExpiryHold:
    """Stored data never expires in the first hour after a start, nor within a day after the wall clock jumped.

    What the wall clock calls old need not be old: it may have started far off, or be set while the process runs. The hold
    is counted in time in which a process runs and is kept in the file, so that restarts can't shorten it.
    """

    def __init__(self, hold_ms: int, now: int, wall: int) -> None:
        self._until = now + max(hold_ms, START_HOLD_MS)
        self._anchor(now, wall)

    def notice(self, now: int, wall: int) -> bool:
        """Compares the wall clock with queue time; True if it jumped since the last comparison."""
        if abs(wall - now - self._offset) > TOLERANCE_MS:
            self._until = max(self._until, now + JUMP_HOLD_MS)
            self._anchor(now, wall)
            return True
        if now - self._anchored_at >= _ANCHOR_MS:
            self._anchor(now, wall)
        return False

    def left(self, now: int) -> int:
        """Milliseconds for which nothing may expire yet."""
        return max(0, self._until - now)

    def _anchor(self, now: int, wall: int) -> None:
        self._offset, self._anchored_at = wall - now, now


class QueueTime:
    """One for the life of an engine, whatever happens to its sessions."""

    def __init__(self, clock: Clock, reached: Reached, boot: str) -> None:
        """`boot` names this run of the machine; "" where that is not known."""
        self._clock = clock
        self._boot = boot
        wall, monotonic = clock.now_ms(), round(clock.monotonic() * 1000)
        by_wall = max(0, wall - (reached.wall or reached.queue_time))
        passed, jumped = by_wall, reached.wall - wall > TOLERANCE_MS
        if boot and boot == reached.boot and monotonic >= reached.monotonic:
            passed = monotonic - reached.monotonic
            jumped = abs(wall - reached.wall - passed) > TOLERANCE_MS
        self._zero = reached.queue_time + passed - monotonic
        hold = max(reached.hold_ms, JUMP_HOLD_MS) if jumped else reached.hold_ms
        self.expiry = ExpiryHold(hold, self.now(), wall)

    def now(self) -> int:
        """Milliseconds; never goes back."""
        return self._zero + round(self._clock.monotonic() * 1000)

    def wall(self) -> int:
        """The wall clock, epoch milliseconds."""
        return self._clock.now_ms()

    def reached(self, now: int, wall: int) -> Reached:
        """What the next start needs to know, at the queue time `now`."""
        return Reached(now, wall, now - self._zero, self._boot, self.expiry.left(now))
