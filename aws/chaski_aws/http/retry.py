"""Number and delays of retries. Pure: randomness is an argument.

Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/. The budget is that of the SDKs'
standard mode: retries take from it and successes refill it slowly, so that retries do not triple the load on an
overloaded service.
"""

from chaski_aws.http.responses import FailureKind

MAX_TRIES = 3
BASE_SECONDS = 0.1
THROTTLED_BASE_SECONDS = 0.5
MAX_DELAY_SECONDS = 5.0
BUDGET = 500.0
_COSTS = {
    FailureKind.CONNECTION: 5.0,
    FailureKind.SERVER: 5.0,
    FailureKind.THROTTLED: 5.0,
    FailureKind.TIMEOUT: 10.0,
}
_REFILL = 1.0


def longest_delay(kind: FailureKind, tries: int) -> float:
    """The longest delay, in seconds, after `tries` tries (from 1)."""
    base = THROTTLED_BASE_SECONDS if kind is FailureKind.THROTTLED else BASE_SECONDS
    return min(MAX_DELAY_SECONDS, base * 2.0 ** (tries - 1))


class RetryBudget:
    """The remaining budget for retries, shared by all calls of one transport."""

    def __init__(self, size: float = BUDGET) -> None:
        self._size = size
        self._left = size

    def delay(self, kind: FailureKind, tries: int, chance: float) -> float | None:
        """Seconds before the next try after `tries` tries (from 1); None: do not retry. `chance`: 0 to below 1."""
        cost = _COSTS.get(kind)
        if cost is None or tries >= MAX_TRIES or cost > self._left:
            return None
        self._left -= cost
        return chance * longest_delay(kind, tries)

    def succeeded(self) -> None:
        """Refills the budget after a successful call."""
        self._left = min(self._size, self._left + _REFILL)
