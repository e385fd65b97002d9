"""How many messages a producer may send: a bucket for each, in this process.

A bucket fills at the producer's rate, up to what a second brings. A batch is taken as a whole and paid for afterwards:
it may leave the bucket in debt, and nothing is taken until that is paid.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable

_MAX_BUCKETS = 10_000
_MAX_WAIT_SECONDS = 3_600


class Bucket:
    """The allowance of one producer."""

    def __init__(self, rate_per_second: int, monotonic: Callable[[], float]) -> None:
        self._rate = rate_per_second
        self._monotonic = monotonic
        self._level = float(rate_per_second)
        self._at = monotonic()

    def take(self, messages: int) -> int:
        """Takes so many; returns 0, or in how many whole seconds to ask again, where there are not so many."""
        self._fill()
        if self._level < messages:
            return min(_MAX_WAIT_SECONDS, max(1, math.ceil((messages - self._level) / self._rate)))
        self._level -= messages
        return 0

    def charge(self, messages: int) -> None:
        """Takes so many, whether they are there or not."""
        self._fill()
        self._level -= messages

    def _fill(self) -> None:
        now = self._monotonic()
        self._level = min(float(self._rate), self._level + (now - self._at) * self._rate)
        self._at = now


class RateLimits:
    """The buckets of all producers. The one that was not used for longest goes when there are too many."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._buckets: OrderedDict[tuple[str, Hashable], Bucket] = OrderedDict()

    def of(self, route: str, producer: Hashable, rate_per_second: int) -> Bucket:
        """The bucket of one producer of a route. A producer with another rate is another one."""
        key = (route, producer)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(rate_per_second, self._monotonic)
            if len(self._buckets) > _MAX_BUCKETS:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        return bucket
