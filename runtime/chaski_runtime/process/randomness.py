"""Random bytes for ids, without a system call for each."""

import os
from collections.abc import Callable

_RESERVE_BYTES = 4_096


class RandomBytes:
    """Called with a number, gives so many bytes that nobody else gets; from the system's generator, read in advance.

    For ids, which are no secrets: what is in reserve lies in memory. Not for a process that forks.
    """

    def __init__(self, read: Callable[[int], bytes] = os.urandom) -> None:
        self._read = read
        self._reserve = b""
        self._used = 0

    def __call__(self, number: int) -> bytes:
        """So many bytes, at most 4,096."""
        end = self._used + number
        if end > len(self._reserve):
            self._reserve = self._read(_RESERVE_BYTES)
            self._used, end = 0, number
        taken = self._reserve[self._used : end]
        self._used = end
        return taken
