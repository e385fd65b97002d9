"""Queue time, and when stored data may expire by the wall clock. Pure.

Queue time decides visibility timeouts, delays, deduplication and sequence numbers. While a process runs, it follows the
monotonic clock, so that setting the wall clock has no effect. Over a restart of the process it advances by the monotonic
clock, if the machine was not restarted; else by the wall clock, and never back.
"""

from dataclasses import dataclass

from chaski_core.ports import Clock

START_PAUSE_MS = 3_600_000
JUMP_PAUSE_MS = 86_400_000
#: Largest difference of the two clocks in a day that is not a jump: NTP slews by up to 500 ppm, which is 43 s.
TOLERANCE_MS = 60_000
_ANCHOR_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class ClockState:
    """The clocks at the last commit."""

    queue_time: int  # milliseconds
    wall: int = 0  # epoch milliseconds; 0: unknown, an earlier release wrote the file
    monotonic: int = 0  # milliseconds
    boot: str = ""  # id of the machine's boot, to which `monotonic` belongs; "": unknown
    pause_ms: int = 0  # remaining expiry pause, in time in which a process runs


class ExpiryPause:
    """Stored data never expires in the first hour after a start, nor within a day after the wall clock jumped.

    By the wall clock, data may only seem old: the clock may be wrong at the start, or be set while the process runs. The
    pause is counted in time in which a process runs and is stored in the file, so that restarts can't shorten it.
    """

    def __init__(self, pause_ms: int, now: int, wall: int) -> None:
        self._until = now + max(pause_ms, START_PAUSE_MS)
        self._anchor(now, wall)

    def detect_jump(self, now: int, wall: int) -> bool:
        """Compares the wall clock with queue time; True if it jumped since the last comparison."""
        if abs(wall - now - self._offset) > TOLERANCE_MS:
            self._until = max(self._until, now + JUMP_PAUSE_MS)
            self._anchor(now, wall)
            return True
        if now - self._anchored_at >= _ANCHOR_MS:
            self._anchor(now, wall)
        return False

    def remaining(self, now: int) -> int:
        """Milliseconds until stored data may expire."""
        return max(0, self._until - now)

    def _anchor(self, now: int, wall: int) -> None:
        self._offset, self._anchored_at = wall - now, now


class QueueTime:
    """The queue time of a file. One per writer; it outlives the writer's units of work."""

    def __init__(self, clock: Clock, last: ClockState, boot: str) -> None:
        """`last`: the clocks at the last commit. `boot`: id of this boot of the machine; "" where it is unknown."""
        self._clock = clock
        self._boot = boot
        wall, monotonic = clock.now_ms(), round(clock.monotonic() * 1000)
        by_wall = max(0, wall - (last.wall or last.queue_time))
        passed, jumped = by_wall, last.wall - wall > TOLERANCE_MS
        if boot and boot == last.boot and monotonic >= last.monotonic:
            passed = monotonic - last.monotonic
            jumped = abs(wall - last.wall - passed) > TOLERANCE_MS
        self._zero = last.queue_time + passed - monotonic
        pause = max(last.pause_ms, JUMP_PAUSE_MS) if jumped else last.pause_ms
        self.expiry = ExpiryPause(pause, self.now(), wall)

    def now(self) -> int:
        """Milliseconds; never goes back."""
        return self._zero + round(self._clock.monotonic() * 1000)

    def wall(self) -> int:
        """The wall clock, epoch milliseconds."""
        return self._clock.now_ms()

    def clock_state(self, now: int, wall: int) -> ClockState:
        """The clocks at the queue time `now`, to be stored for the next start."""
        return ClockState(now, wall, now - self._zero, self._boot, self.expiry.remaining(now))
