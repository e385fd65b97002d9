"""Number and delays of retries. Pure: randomness is an argument.

The budget is that of the SDKs' standard mode: retries take from it and successes refill it slowly, so that retries do not
triple the load on an overloaded service.
"""

from chaski_aws.http.responses import FailureKind
from chaski_core.retry.backoff import Backoff
from chaski_core.retry.token_bucket import TokenBucket

MAX_TRIES = 3
BACKOFF = Backoff(first_seconds=0.1, longest_seconds=5.0)
THROTTLED_BACKOFF = Backoff(first_seconds=0.5, longest_seconds=5.0)
BUDGET = 500.0
_COSTS = {
    FailureKind.CONNECTION: 5.0,
    FailureKind.SERVER: 5.0,
    FailureKind.THROTTLED: 5.0,
    FailureKind.TIMEOUT: 10.0,
}
_REFILL = 1.0


class RetryBudget:
    """The remaining budget for retries, shared by all calls of one transport."""

    def __init__(self, size: float = BUDGET) -> None:
        self._bucket = TokenBucket(size)

    def delay(self, kind: FailureKind, tries: int, random: float) -> float | None:
        """Seconds before the next try after `tries` tries (from 1); None: do not retry. `random`: 0 to below 1."""
        cost = _COSTS.get(kind)
        if cost is None or tries >= MAX_TRIES or self._bucket.take(cost) > 0:
            return None
        return (THROTTLED_BACKOFF if kind is FailureKind.THROTTLED else BACKOFF).full_jitter(tries, random)

    def succeeded(self) -> None:
        """Refills the budget after a successful call."""
        self._bucket.give(_REFILL)
