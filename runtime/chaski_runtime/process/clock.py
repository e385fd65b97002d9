"""Time and random bytes of the machine, given as arguments to code that must not read them itself."""

import os
import time
from collections.abc import Callable
from functools import partial

_RESERVE_BYTES = 4_096
# CLOCK_BOOTTIME where the system has it: CLOCK_MONOTONIC stands still during a suspend (clock_gettime(2)), and a worker that
# slept must not assume that it still holds its messages.
_monotonic = partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic


class SystemClock:
    """Implements `chaski_core.ports.Clock`."""

    def now_ms(self) -> int:
        """Wall clock, epoch milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds that count on while the process is stopped or the machine sleeps."""
        return _monotonic()


class RandomBytes:
    """Random bytes for ids, read from the system's generator in advance: one system call for many ids.

    Not for secrets, because the reserve stays in memory. Not for a process that forks.
    """

    def __init__(self, read: Callable[[int], bytes] = os.urandom) -> None:
        self._read = read
        self._reserve = b""
        self._used = 0

    def __call__(self, number: int) -> bytes:
        """Returns `number` bytes, at most 4,096, that no other call returns."""
        end = self._used + number
        if end > len(self._reserve):
            self._reserve = self._read(_RESERVE_BYTES)
            self._used, end = 0, number
        taken = self._reserve[self._used : end]
        self._used = end
        return taken
