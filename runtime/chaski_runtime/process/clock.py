"""The clock of real processes."""

import time


class SystemClock:
    """Implements `chaski_core.ports.Clock`."""

    def now_ms(self) -> int:
        """Wall clock, epoch milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds that count on while the process is stopped or the machine sleeps.

        CLOCK_BOOTTIME where there is one: CLOCK_MONOTONIC stands still during a suspend (clock_gettime(2)), and a
        worker that slept must not believe that it still holds its messages.
        """
        return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
