"""When a queue that takes no new messages is empty for good. Pure.

One zero says nothing: counts are approximate and a minute old, and a policy takes a minute to be in force everywhere.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chaski_aws.provision.state import ObservedQueue

LOOKS = 3
OVER_SECONDS = 60.0
FENCE_TAKES_SECONDS = 60.0  # API_SetQueueAttributes: up to 60 seconds


@dataclass(frozen=True, slots=True)
class DrainRule:
    """How often and how long a queue must be found empty, and how long a fence takes to be in force everywhere."""

    looks: int = LOOKS
    over_seconds: float = OVER_SECONDS
    fence_seconds: float = FENCE_TAKES_SECONDS


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a queue."""

    at: float  # epoch seconds
    total: int  # visible, in flight and delayed
    fenced_since: float | None  # epoch seconds, or later than it was; None: not fenced


def look_at(queue: ObservedQueue, now: float) -> Look:
    """What a queue shows now. Its last change counts as that of the fence, which can only be too late."""
    return Look(now, queue.counts.total, queue.modified_at if queue.fenced else None)


def is_drained(looks: Sequence[Look], rule: DrainRule | None = None) -> bool:
    """Whether the last looks, at least 3 over at least 60 s, all saw an empty queue whose fence was in force."""
    rule = rule or DrainRule()
    empty: list[Look] = []
    for look in reversed(looks):
        if look.total or look.fenced_since is None or look.at < look.fenced_since + rule.fence_seconds:
            break
        empty.append(look)
    return len(empty) >= rule.looks and empty[0].at - empty[-1].at >= rule.over_seconds


def seconds_until_drained(looks: Iterable[Look], now: float) -> float:
    """How long it takes at least until queues that are empty now may be called drained."""
    fences = [look.fenced_since + FENCE_TAKES_SECONDS for look in looks if look.fenced_since is not None]
    return max(0.0, max(fences, default=now) - now) + OVER_SECONDS
