"""The breaker of one host: from failed attempts to a hold, and by probes and small steps to the end of it. Pure.

It is one of four states:

- *closed*: attempts are made, and counted from the first failure on. Enough failures open it;
- *open*: nothing is attempted but one probe for each interval, which doubles from probe to probe;
- *closing*: an attempt has been answered. One may run at once, after it was answered two, then four, and so on; a failure
  opens it again;
- *spent*: it was open or closing for as long as the rule allows. Attempts are made and fail as usual, until one is answered.

A host *answers* with any response that the rule does not count as a failure. There is one for each process. Of an outage
messages are charged the failures that open it and the attempts that are under way then; those that it lets pass while it holds
the host are not counted.
"""

from dataclasses import dataclass
from enum import Enum

from chaski_core.retry.outcome import ErrorClass

_MARGIN_SECONDS = 0.01  # after the time of a probe, since two clocks never agree exactly

FAILURES = frozenset((ErrorClass.CONNECTION, ErrorClass.TIMEOUT, ErrorClass.TLS, ErrorClass.SERVER_ERROR))
"""The error classes that a breaker counts."""


@dataclass(frozen=True, slots=True)
class FailureShare:
    """A share of failed attempts that opens a breaker."""

    percent: int  # 1 to 100
    window_seconds: int  # from a failure on, in which attempts are counted
    minimum_attempts: int  # in the window, before the share is judged


@dataclass(frozen=True, slots=True)
class BreakerRule:
    """When a breaker opens and how it closes, as a route declares it."""

    consecutive_failures: int = 10
    failure_share: FailureShare | None = None
    probe_seconds: int = 5  # between the first two probes
    max_probe_seconds: int = 300
    max_hold_seconds: int = 345_600


class BreakerState(Enum):
    """What a breaker does with attempts."""

    CLOSED = "closed"
    OPEN = "open"
    CLOSING = "closing"
    SPENT = "spent"


class Breaker:
    """The breaker of one host. Times are seconds of a clock that only goes forward.

    Before an attempt: `start`, unless the breaker is closed or spent. After it: `end`.

    Args:
        rule: of the host.
        lanes: attempts at once that are no restriction, so that it is closed.
    """

    def __init__(self, rule: BreakerRule, lanes: int) -> None:
        self.rule = rule
        self.state = BreakerState.CLOSED
        self.opened_at = 0.0  # of this outage
        self.probe_at = 0.0  # open: when the next probe is due
        self.asked_at = 0.0  # when an attempt was to be made last, while it holds the host
        self._lanes = lanes
        self._consecutive = 0
        self._window_since = float("-inf")
        self._window_attempts = 0
        self._window_failures = 0
        self._interval = 0.0
        self._running = 0  # attempts that `start` has let pass
        self._probing = False  # open: the one that runs is a probe
        self._awaited_until = float("-inf")
        self._limit = 1  # closing: attempts at once
        self._answered = 0  # closing: in this step

    @property
    def holds(self) -> bool:
        """Whether attempts have to ask first."""
        return self.state in (BreakerState.OPEN, BreakerState.CLOSING)

    def is_idle(self, now: float) -> bool:
        """Whether it is as good as new, so that it may be forgotten."""
        window_ended = (
            self.rule.failure_share is None or now - self._window_since >= self.rule.failure_share.window_seconds
        )
        return self.state is BreakerState.CLOSED and not self._consecutive and not self._running and window_ended

    def start(self, now: float) -> bool:
        """Whether one attempt may be made now, although the breaker holds the host. If so, `end` has to follow."""
        self.asked_at = now
        self.expire(now)
        if self.state is BreakerState.OPEN and (now < self.probe_at or self._running):
            return False
        if self.state is BreakerState.CLOSING and self._running >= self._limit:
            return False
        self._running += 1
        self._probing = self.state is BreakerState.OPEN
        return True

    def wait_for_probe(self, now: float) -> float | None:
        """For how many seconds one lane is to wait in order to make the next probe; None where another one waits or probes."""
        if self.state is not BreakerState.OPEN or self._running or now < self._awaited_until:
            return None
        self._awaited_until = self.probe_at
        return self.probe_at - now + _MARGIN_SECONDS

    def end(self, now: float, *, failed: bool | None, started: bool) -> None:
        """An attempt has ended.

        Args:
            now: seconds.
            failed: whether the host failed it; None: it was not made.
            started: whether `start` let it pass.
        """
        self.expire(now)
        is_probe = started and self._probing
        if started:
            self._running -= 1
            self._probing = False
        if failed is None:
            return
        match self.state:
            case BreakerState.CLOSED:
                self._count(now, failed=failed)
            case BreakerState.OPEN if not failed:
                self._close_by_steps()
            case BreakerState.OPEN if is_probe:
                self._open_again(now)
            case BreakerState.CLOSING if started:  # others began before it was held
                self._count_closing(now, failed=failed)
            case BreakerState.SPENT if not failed:
                self._reset()

    def begin_closing(self, now: float) -> None:
        """Attempts may start again, one first: a wait that the host asked for has ended. Has no effect on one that is open or spent."""
        if self.state is BreakerState.CLOSED:
            self.opened_at = now
            self._interval = float(min(self.rule.probe_seconds, self.rule.max_probe_seconds))
        if self.state in (BreakerState.CLOSED, BreakerState.CLOSING):
            self._close_by_steps()

    def expire(self, now: float) -> None:
        """Ends a hold that has lasted for as long as the rule allows."""
        if self.holds and now - self.opened_at >= self.rule.max_hold_seconds:
            self.state = BreakerState.SPENT

    def _count(self, now: float, *, failed: bool) -> None:
        self._consecutive = self._consecutive + 1 if failed else 0
        tripped = self._consecutive >= self.rule.consecutive_failures
        if (share := self.rule.failure_share) is not None:
            if now - self._window_since >= share.window_seconds and failed:
                self._window_since, self._window_attempts, self._window_failures = now, 0, 0
            self._window_attempts += 1
            self._window_failures += failed
            is_enough = self._window_attempts >= share.minimum_attempts
            in_window = now - self._window_since < share.window_seconds
            tripped |= in_window and is_enough and 100 * self._window_failures >= share.percent * self._window_attempts
        if tripped:
            self.opened_at = now
            self._interval = float(min(self.rule.probe_seconds, self.rule.max_probe_seconds))
            self.state = BreakerState.OPEN
            self.probe_at = now + self._interval

    def _count_closing(self, now: float, *, failed: bool) -> None:
        if failed:
            self._open_again(now)
            return
        self._answered += 1
        if self._answered >= self._limit:
            self._answered = 0
            self._limit *= 2
            if self._limit >= self._lanes:
                self._reset()

    def _open_again(self, now: float) -> None:
        self.state = BreakerState.OPEN
        self._interval = min(2 * self._interval, float(self.rule.max_probe_seconds))
        self.probe_at = now + self._interval

    def _close_by_steps(self) -> None:
        self.state = BreakerState.CLOSING
        self._probing = False
        self._limit, self._answered = 1, 0

    def _reset(self) -> None:
        self.state = BreakerState.CLOSED
        self._consecutive = 0
        self._window_since = float("-inf")
