"""Which hosts are held: to these nothing is attempted. Pure.

A hold is for one host of one allow rule, or for all hosts of a rule. It moves no message and is charged to none: a subject whose next
message goes there waits, hidden in its queue, for one step after the other until the hold has ended.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum

MAX_HOLDS = 1_024
ALL_HOSTS = ""
_MIN_STEP_SECONDS = 5
_STEP_SHARE = 0.5  # of the time that a hold without a known end has lasted


class HoldReason(StrEnum):
    """Why a host is held; the value of the metric label `reason`. The first that applies counts."""

    SUSPENDED = "Suspended"  # `targets.allow[].suspend`
    RETRY_AFTER = "RetryAfter"  # the target asked to wait, by a header
    BREAKER = "Breaker"  # too many attempts failed; a probe may end it


@dataclass(frozen=True, slots=True)
class Hold:
    """One hold. Times are monotonic seconds."""

    target: str  # name of the allow rule
    host: str  # name:port; `ALL_HOSTS`: every host of the rule
    reason: HoldReason
    since: float
    until: float | None  # None: until it is released; of a breaker, the latest end
    origin: str = ""  # of the host, for people; "" for all hosts


HoldKey = tuple[str, str, HoldReason]


class HoldTable:
    """The holds of one worker, by rule, host and reason. `held` is empty while there are none."""

    def __init__(self) -> None:
        self.held: dict[HoldKey, Hold] = {}

    def find(self, target: str, host: str, now: float) -> Hold | None:
        """The hold of a host; None where it is not held."""
        for reason in HoldReason:
            for each in (ALL_HOSTS, host):
                hold = self.held.get((target, each, reason))
                if hold is not None and (hold.until is None or now < hold.until):
                    return hold
        return None

    def hold_until(self, target: str, host: str, origin: str, until: float, now: float) -> Hold | None:
        """Holds a host since it asked for it; returns the hold if it is new, None where an earlier one goes on for longer.

        Where there are too many, the one that ends first makes way. Its host is attempted, and may ask again.
        """
        key = (target, host, HoldReason.RETRY_AFTER)
        if (known := self.held.get(key)) is not None and known.until is not None and now < known.until:
            self.held[key] = replace(known, until=max(known.until, until))
            return None
        if len(self.held) >= MAX_HOLDS:
            ends = {
                each: hold.until for each, hold in self.held.items() if hold.until is not None and each[2] is key[2]
            }
            if not ends:
                return None
            del self.held[min(ends, key=lambda each: ends[each])]
        hold = self.held[key] = Hold(target, host, HoldReason.RETRY_AFTER, now, until, origin)
        return hold

    def suspend(self, targets: Collection[str], now: float) -> tuple[list[Hold], list[Hold]]:
        """Suspends these rules and no others; returns the holds that began and those that ended."""
        known = {key[0] for key in self.held if key[2] is HoldReason.SUSPENDED}
        began = [Hold(target, ALL_HOSTS, HoldReason.SUSPENDED, now, None) for target in targets if target not in known]
        self.held.update({(hold.target, hold.host, hold.reason): hold for hold in began})
        ended = [self.held.pop((each, ALL_HOSTS, HoldReason.SUSPENDED)) for each in sorted(known - set(targets))]
        return began, ended

    def hold_for_breaker(self, hold: Hold) -> None:
        """Holds a host whose breaker is open or closing."""
        self.held[hold.target, hold.host, HoldReason.BREAKER] = hold

    def end_of_breaker(self, target: str, host: str) -> Hold | None:
        """Ends such a hold and returns it; None where there is none."""
        return self.held.pop((target, host, HoldReason.BREAKER), None)

    def expire(self, now: float) -> list[Hold]:
        """Removes the holds that have ended, and returns them."""
        ended = [hold for hold in self.held.values() if hold.until is not None and hold.until <= now]
        for hold in ended:
            del self.held[hold.target, hold.host, hold.reason]
        return ended

    def next_end(self) -> float | None:
        """When the first hold ends; None where none ends by itself."""
        return min((hold.until for hold in self.held.values() if hold.until is not None), default=None)


def hidden_seconds(hold: Hold, now: float, longest: int) -> int:
    """For how long a waiting head is hidden before it is received and judged again: until the end where it is known, else `hold_step`.

    Args:
        hold: of the head's host.
        now: monotonic seconds.
        longest: seconds.
    """
    if hold.until is not None and hold.reason is HoldReason.RETRY_AFTER:
        return max(1, min(longest, math.ceil(hold.until - now)))
    return hold_step(now - hold.since, longest)


def hold_step(lasted: float, longest: int, scale: int = 1) -> int:
    """For how many seconds a head is hidden whose hold has no known end.

    Half of the time that the hold has lasted, from five seconds on: so a subject goes on soon after a short hold, and a long
    one costs few calls.

    Args:
        lasted: seconds.
        longest: seconds.
        scale: of both limits.
    """
    return min(longest * scale, max(_MIN_STEP_SECONDS * scale, round(lasted * _STEP_SHARE)))
