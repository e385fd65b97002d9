"""A token bucket: limits how often something is done, in this process."""

import math
from collections.abc import Callable


class TokenBucket:
    """Full at first. Refilled by time, at `per_second` tokens, and by `give`; never above `size`."""

    def __init__(self, size: float, per_second: float = 0.0, monotonic: Callable[[], float] = lambda: 0.0) -> None:
        """A full bucket.

        Args:
            size: the most tokens that it holds.
            per_second: tokens that it gains with time; 0: only `give` refills it, and no clock is needed.
            monotonic: seconds.
        """
        self._size = float(size)
        self._per_second = per_second
        self._monotonic = monotonic
        self._level = self._size
        self._filled_at = monotonic()

    def wait_seconds(self, tokens: float) -> float:
        """Seconds until it has `tokens`; 0: it has them now; infinite where it gains none with time."""
        self._fill()
        missing = tokens - self._level
        if missing <= 0:
            return 0.0
        return missing / self._per_second if self._per_second else math.inf

    def take(self, tokens: float) -> float:
        """Takes `tokens` and returns 0, or takes none and returns after how many seconds to try again."""
        wait = self.wait_seconds(tokens)
        if not wait:
            self._level -= tokens
        return wait

    def debit(self, tokens: float) -> None:
        """Takes `tokens`, if need be into debt: nothing can be taken before the debt is paid."""
        self._fill()
        self._level -= tokens

    def drain(self, tokens: float) -> None:
        """Takes `tokens`, or what is left of them."""
        self._fill()
        self._level = max(min(0.0, self._level), self._level - tokens)

    def give(self, tokens: float) -> None:
        """Adds tokens, up to the size."""
        self._fill()
        self._level = min(self._size, self._level + tokens)

    def change(self, size: float, per_second: float) -> None:
        """Changes size and rate; the tokens stay, as far as they fit, and a debt stays."""
        self._fill()
        self._size = float(size)
        self._per_second = per_second
        self._level = min(self._level, self._size)

    def _fill(self) -> None:
        now = self._monotonic()
        self._level = min(self._size, self._level + (now - self._filled_at) * self._per_second)
        self._filled_at = now
