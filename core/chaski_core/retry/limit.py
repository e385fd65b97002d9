"""The limits of a target, as a route declares them, and how they are cut into shares. Pure.

Workers lease whole shares (`leases.py`). A share is the same part of each of the three: of the rate, of the burst and of the
attempts at once. Of the last two every share has at least one, so there are as many shares as the smaller of them, at most 32.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

MAX_SHARES = 32  # enough for as many workers at once; more of them take turns


class LimitScope(StrEnum):
    """What a limit is for."""

    HOST = "Host"  # each host of the rule
    RULE = "Rule"  # all hosts of the rule together


@dataclass(frozen=True, slots=True)
class LimitRule:
    """The limits of one allow rule; they hold for all workers of the route together."""

    rate_per_second: int | None = None  # attempts; None: not limited
    burst: int | None = None  # attempts that may follow at once after a pause; None: those of half a second
    concurrency: int | None = None  # attempts at once; None: not limited
    per: LimitScope = LimitScope.HOST

    @property
    def shares(self) -> int:
        """Into how many shares the limit is cut."""
        return min([MAX_SHARES, *(each for each in (self._whole_burst, self.concurrency) if each is not None)])

    @property
    def _whole_burst(self) -> int | None:
        if self.rate_per_second is None:
            return None
        return self.burst or max(1, self.rate_per_second // 2)

    def rate_of(self, shares: int) -> float:
        """Attempts per second of a number of shares; infinite where the rate is not limited."""
        return math.inf if self.rate_per_second is None else self.rate_per_second * shares / self.shares

    def burst_of(self, shares: int) -> int:
        """Attempts at once after a pause; 0 where the rate is not limited."""
        return (self._whole_burst or 0) * shares // self.shares

    def slots_of(self, shares: int) -> float:
        """Attempts at once; infinite where they are not limited and there is a share."""
        if self.concurrency is None:
            return math.inf if shares else 0
        return self.concurrency * shares // self.shares

    def shares_for(self, slots: int) -> int:
        """The fewest shares that have this number of slots, or all; 0 where attempts at once are not limited."""
        if self.concurrency is None:
            return 0
        return min(self.shares, -(-slots * self.shares // self.concurrency))
