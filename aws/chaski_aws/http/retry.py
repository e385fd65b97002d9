"""How often and how soon a call is tried again. Pure: randomness is an argument.

Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/. The budget is that of the SDKs'
standard mode: retries take from it, successes give a little back, so that a service in trouble is not asked three
times as often by everybody at once.
"""

from chaski_aws.http.responses import Kind

MAX_TRIES = 3
BASE_SECONDS = 0.1
THROTTLED_BASE_SECONDS = 0.5
MAX_DELAY_SECONDS = 5.0
BUDGET = 500.0
_COSTS = {Kind.CONNECTION: 5.0, Kind.SERVER: 5.0, Kind.THROTTLED: 5.0, Kind.TIMEOUT: 10.0}
_GIVEN_BACK = 1.0


def longest_delay(kind: Kind, tries: int) -> float:
    """Seconds that the wait after so many tries (from 1) can take at most."""
    base = THROTTLED_BASE_SECONDS if kind is Kind.THROTTLED else BASE_SECONDS
    return min(MAX_DELAY_SECONDS, base * 2.0 ** (tries - 1))


class RetryBudget:
    """What is left for retries, shared by all calls of one transport."""

    def __init__(self, size: float = BUDGET) -> None:
        self._size = size
        self._left = size

    def delay(self, kind: Kind, tries: int, chance: float) -> float | None:
        """Seconds to wait after so many tries (from 1) before the next, or None: no more. `chance`: 0 to below 1."""
        cost = _COSTS.get(kind)
        if cost is None or tries >= MAX_TRIES or cost > self._left:
            return None
        self._left -= cost
        return chance * longest_delay(kind, tries)

    def succeeded(self) -> None:
        """A call was answered."""
        self._left = min(self._size, self._left + _GIVEN_BACK)
