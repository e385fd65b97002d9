"""Rate limits of producers: a token bucket for each, with this Pod's share of the rate.

A bucket fills at its share and holds one second of it, so in 10 seconds all Pods together accept at most 1.1 times the rate.
A batch is accepted as a whole and debited afterwards: it may leave the bucket in debt, and nothing more is accepted until the
debt is paid.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from chaski_core.retry.token_bucket import TokenBucket
from chaski_ingest.auth.peers import PodCount, alone

_MAX_BUCKETS = 10_000
_MAX_WAIT_SECONDS = 3_600


def retry_after(seconds: float) -> int:
    """The whole seconds, at most an hour, that a producer is asked to wait."""
    return min(_MAX_WAIT_SECONDS, math.ceil(seconds))


@dataclass(frozen=True, slots=True)
class Share:
    """One Pod's share of a rate: its bucket, in messages and messages a second."""

    size: float
    per_second: float


def share_of(rate_per_second: int, pods: int) -> Share:
    """The share of each of `pods` Pods in a rate.

    A bucket holds at least one message, or none would ever be accepted. So where the rate is lower than the number of
    Pods, a bucket fills only so fast that all Pods together stay within 1.1 times the rate in 10 seconds: each accepts a
    whole number of messages in that time, at least 55 % of its share. With a rate below a tenth of the number of Pods
    that is not possible: each Pod accepts one message at a time, at the rate on the average.
    """
    share = rate_per_second / pods
    if share >= 1:
        return Share(share, share)
    in_ten_seconds = 11 * rate_per_second // pods
    return Share(1.0, min(share, in_ten_seconds / 10) if in_ten_seconds else share)


@dataclass(slots=True)
class _Shared:
    """A bucket, and the number of Pods that its share was computed for."""

    bucket: TokenBucket
    pods: int


class RateLimits:
    """The buckets of all producers. Beyond the limit the least recently used one is dropped."""

    def __init__(self, monotonic: Callable[[], float], pods: PodCount = alone) -> None:
        """Starts without buckets.

        Args:
            monotonic: seconds.
            pods: the number of Pods that share each rate, this one included.
        """
        self._monotonic = monotonic
        self._pods = pods
        self._buckets: OrderedDict[tuple[str, Hashable], _Shared] = OrderedDict()

    @property
    def pods(self) -> int:
        """The number of Pods that share each rate now."""
        return self._pods()

    def bucket(self, route: str, producer: Hashable, rate_per_second: int) -> TokenBucket:
        """The bucket of one producer of a route. A producer whose rate changed gets a new one."""
        key, pods = (route, producer), self._pods()
        shared = self._buckets.get(key)
        if shared is None:
            share = share_of(rate_per_second, pods)
            bucket = TokenBucket(share.size, share.per_second, self._monotonic)
            shared = self._buckets[key] = _Shared(bucket, pods)
            if len(self._buckets) > _MAX_BUCKETS:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
            if shared.pods != pods:
                share = share_of(rate_per_second, pods)
                shared.bucket.change(share.size, share.per_second)
                shared.pods = pods
        return shared.bucket
