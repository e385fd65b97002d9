"""Exponential backoff with jitter: how long to wait before a failed call is made again.

Own, since libraries such as tenacity draw the random number themselves and sleep; here it is an argument, and the caller
sleeps. Names: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

import math
from dataclasses import dataclass

_MAX_DOUBLINGS = 60


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays that double with each consecutive failure, from `first_seconds` up to `longest_seconds`.

    In every method `failures` is the number of consecutive failures, from 1, and `random` is in [0, 1).
    """

    first_seconds: float
    longest_seconds: float

    def seconds(self, failures: int) -> float:
        """The delay without jitter."""
        return min(self.longest_seconds, math.ldexp(self.first_seconds, min(failures - 1, _MAX_DOUBLINGS)))

    def full_jitter(self, failures: int, random: float) -> float:
        """Between zero and the whole delay: spreads callers best."""
        return self.seconds(failures) * random

    def equal_jitter(self, failures: int, random: float) -> float:
        """Between half and the whole delay: for where an almost immediate retry would be useless."""
        return self.seconds(failures) * (0.5 + random / 2)
