"""The limit of one host, or of one rule, in this worker: the attempts that use its shares, and the lanes that wait for them.

A lane waits in place for `WAIT_SECONDS` at most, and no more lanes wait than it needs. The others give their
heads back, hidden for different times, so that about as many are received again as the limit allows.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable

from chaski_core.retry.leases import Demand, LeaseHolder
from chaski_core.retry.limit import LimitRule
from chaski_core.retry.token_bucket import TokenBucket

WAIT_SECONDS = 5.0
MAX_HIDDEN_SECONDS = 60
_WAITING_SECONDS = 0.25  # of the rate: as many lanes wait in place, which often have more than one message
_LANES_PER_SLOT = 4  # that wait in place where only the attempts at once are limited
_RECEIVED_AGAIN = 4  # heads for each attempt that the limit allows: most come to workers that have no share just then
_PERIOD_SECONDS = 1.0  # at least, over which the use is measured
_FULL_USE = 0.8  # of the rate, from which on a worker whose lanes wait wants a larger part of it
_TIMER_MARGIN_SECONDS = 0.001  # so that the token is there when the timer ends


class LimitGate:
    """Lets attempts start as the leased shares allow.

    Args:
        rule: the limit.
        holder: of the shares of this worker.
        monotonic: seconds.
        on_demand: is called when the leases should be read soon, for something has changed here.
        on_park: is called when a lane gives its head back.
    """

    def __init__(
        self,
        rule: LimitRule,
        holder: LeaseHolder,
        monotonic: Callable[[], float],
        on_demand: Callable[[], None],
        on_park: Callable[[], None],
    ) -> None:
        self.rule = rule
        self.holder = holder
        self._monotonic = monotonic
        self._on_demand = on_demand
        self._on_park = on_park
        self._shares = 0  # in force
        self._bucket = None if rule.rate_per_second is None else TokenBucket(0, monotonic=monotonic)
        self._running = 0
        self._waiting: deque[asyncio.Future[bool]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._place = 0.0  # when the head that was given back last is to be received again
        self._wanted_at = self._period_since = monotonic()
        self._started = self._most = 0  # in this period: attempts, and the most that ran and waited at once
        self._was_short = False  # in this period lanes waited for the rate, or were sent back
        self._measured = 0  # shares for the attempts of the last period
        self._rate = float(rule.rate_per_second or rule.concurrency or 1)  # of the whole limit, as far as known

    @property
    def waiting(self) -> int:
        """Lanes that wait in place."""
        return len(self._waiting)

    @property
    def is_usable(self) -> bool:
        """Whether the lease of an attempt that has its turn is still good."""
        return self.holder.usable(self._monotonic()) > 0

    def take(self) -> bool:
        """Takes an attempt if the limit allows one now, ahead of those that wait; whether it did."""
        now = self._monotonic()
        self.apply_shares(now)
        if not self._shares or self._running >= self.rule.slots_of(self._shares):
            return False
        if self._bucket is not None and self._bucket.take(1):
            self._was_short = True
            return False
        self._running += 1
        self._started += 1
        self._wanted_at = now
        self._most = max(self._most, self._running + len(self._waiting))
        return True

    async def acquire(self) -> bool:
        """Waits in its turn for an attempt; False where there are too many lanes, or it takes too long."""
        if not self._waiting and self.take():
            return True
        self._wanted_at = self._monotonic()
        if self._closed or len(self._waiting) >= self._capacity():
            self._was_short = True
            return False
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._most = max(self._most, self._running + len(self._waiting))
        self._serve()
        if not self._shares and len(self._waiting) == 1:
            self._on_demand()
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                return await turn
        except (TimeoutError, asyncio.CancelledError) as error:
            has_turn = turn.done() and not turn.cancelled() and turn.result()
            if turn in self._waiting:
                self._waiting.remove(turn)
            self._was_short = True
            if isinstance(error, TimeoutError):
                return has_turn
            if has_turn:
                self.release(attempted=False)
            raise

    def release(self, *, attempted: bool) -> None:
        """Ends an attempt that was taken; one that was not made counts for nothing."""
        self._running -= 1
        self._wanted_at = self._monotonic()
        if not attempted:
            self._started -= 1
            if self._bucket is not None:
                self._bucket.give(1)
        self._serve()
        if self.holder.yields:
            self._on_demand()

    def apply_shares(self, now: float) -> None:
        """Uses the shares that the holder has now, no more and no fewer. What a share has not used is lost with it."""
        shares = self.holder.usable(now)
        if shares == self._shares:
            return
        self._shares = shares
        if self._bucket is not None:
            self._bucket.change(self.rule.burst_of(shares), self.rule.rate_of(shares) if shares else 0.0)

    def serve(self) -> None:
        """Lets lanes that wait start, after the leases were read, and sends those back that it has no shares for."""
        self.apply_shares(self._monotonic())
        self._serve()
        while len(self._waiting) > self._capacity():
            self._send_back(self._waiting.pop())

    def demand(self, *, idle_seconds: float) -> Demand:
        """What this worker needs now. It needs nothing once no attempt was made or wanted for `idle_seconds`."""
        now = self._monotonic()
        if (passed := now - self._period_since) >= _PERIOD_SECONDS:
            self._measure(passed)
            self._period_since = now
        if not self._running and not self._waiting and now - self._wanted_at >= idle_seconds:
            return Demand(0, 0)
        slots = self.rule.shares_for(self._most)
        by_rate = 0
        if self._bucket is not None:
            by_rate = max(self._measured, 0 if self._shares else min(self.rule.shares, len(self._waiting)))
        return Demand(max(1, slots, by_rate), self.rule.shares_for(self._running))

    def park(self) -> int:
        """A lane gives its head back; for how many seconds it is to be hidden: each one until about its turn among them."""
        if self._closed:
            return 0
        self._on_park()
        now = self._monotonic()
        between = max(1.0, self.holder.workers / _RECEIVED_AGAIN) / self._rate
        self._place = min(max(self._place, now) + between, now + MAX_HIDDEN_SECONDS)
        return round(self._place - now)

    def close(self) -> None:
        """Sends all lanes back that wait, and those that want to."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            self._send_back(self._waiting.popleft())

    @staticmethod
    def _send_back(turn: asyncio.Future[bool]) -> None:
        if not turn.done():
            turn.set_result(False)

    def _capacity(self) -> float:
        """How many lanes may wait in place, each with up to ten messages; one where other workers have all shares."""
        if not self._shares and self.holder.listed:
            return 1
        shares = self._shares or 1
        if self._bucket is None:
            return _LANES_PER_SLOT * self.rule.slots_of(shares)
        return max(2.0, _WAITING_SECONDS * self.rule.rate_of(shares))

    def _measure(self, passed: float) -> None:
        rate, whole = self._started / passed, self.rule.shares
        if self.rule.rate_per_second is None:
            if self._shares:
                self._rate = max(float(self.rule.concurrency or 1), rate * whole / self._shares)
        elif self._was_short and self._shares and rate >= _FULL_USE * self.rule.rate_of(self._shares):
            self._measured = whole
        else:
            self._measured = min(whole, math.ceil(rate / self.rule.rate_of(1)))
        self._started = 0
        self._most = self._running + len(self._waiting)
        self._was_short = False

    def _serve(self) -> None:
        while self._waiting:
            if self._waiting[0].done():  # it was cancelled, or its time is over
                self._waiting.popleft()
            elif self.take():
                self._waiting.popleft().set_result(True)
            else:
                break
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        has_slot = self._shares and self._running < self.rule.slots_of(self._shares)
        if self._waiting and self._bucket is not None and has_slot:
            seconds = self._bucket.wait_seconds(1) + _TIMER_MARGIN_SECONDS
            self._timer = asyncio.get_running_loop().call_later(seconds, self._serve)
