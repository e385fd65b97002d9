"""Rate limits of producers: a token bucket for each, in this process.

A bucket fills at the producer's rate and holds one second of it. A batch is accepted as a whole and debited afterwards: it
may leave the bucket in debt, and nothing more is accepted until the debt is paid.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable

_MAX_BUCKETS = 10_000
_MAX_WAIT_SECONDS = 3_600


class TokenBucket:
    """The allowance of one producer."""

    def __init__(self, rate_per_second: int, monotonic: Callable[[], float]) -> None:
        self._rate = rate_per_second
        self._monotonic = monotonic
        self._level = float(rate_per_second)
        self._at = monotonic()

    def take(self, messages: int) -> int:
        """Takes `messages` and returns 0, or takes none and returns after how many whole seconds to try again."""
        self._fill()
        if self._level < messages:
            return min(_MAX_WAIT_SECONDS, max(1, math.ceil((messages - self._level) / self._rate)))
        self._level -= messages
        return 0

    def debit(self, messages: int) -> None:
        """Takes `messages`, if need be into debt."""
        self._fill()
        self._level -= messages

    def _fill(self) -> None:
        now = self._monotonic()
        self._level = min(float(self._rate), self._level + (now - self._at) * self._rate)
        self._at = now


class RateLimits:
    """The buckets of all producers. Beyond the limit the least recently used one is dropped."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._buckets: OrderedDict[tuple[str, Hashable], TokenBucket] = OrderedDict()

    def bucket(self, route: str, producer: Hashable, rate_per_second: int) -> TokenBucket:
        """The bucket of one producer of a route. A producer whose rate changed gets a new one."""
        key = (route, producer)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(rate_per_second, self._monotonic)
            if len(self._buckets) > _MAX_BUCKETS:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        return bucket
