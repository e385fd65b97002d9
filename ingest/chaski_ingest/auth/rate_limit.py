"""Rate limits of producers: a token bucket for each, in this process.

A bucket fills at the producer's rate and holds one second of it. A batch is accepted as a whole and debited afterwards: it
may leave the bucket in debt, and nothing more is accepted until the debt is paid.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable

from chaski_core.retry.token_bucket import TokenBucket

_MAX_BUCKETS = 10_000
_MAX_WAIT_SECONDS = 3_600


def retry_after(seconds: float) -> int:
    """The whole seconds, at most an hour, that a producer is asked to wait."""
    return min(_MAX_WAIT_SECONDS, math.ceil(seconds))


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
            bucket = self._buckets[key] = TokenBucket(rate_per_second, rate_per_second, self._monotonic)
            if len(self._buckets) > _MAX_BUCKETS:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        return bucket
