"""When an attempt may be made: its host is not held, or its breaker lets it pass, its limits allow it, and a slot is free for it.

An attempt without limits that finds its host free and a slot free asks none of them (`Attempts.make`).
"""

import math
from collections.abc import Callable

from chaski_core.retry.outcome import Outcome
from chaski_worker.delivery.limits import IntakeLimiter, Slots
from chaski_worker.guard.guard import Refusal, Target
from chaski_worker.hosts.breakers import Permit
from chaski_worker.hosts.holds import Holds, HostWait
from chaski_worker.hosts.limit_gate import LimitGate
from chaski_worker.hosts.limits import Limits

_TOO_MANY_LIMITS_SECONDS = 10  # for which a head is hidden whose host would be one too many


class SaturatedError(Exception):
    """The host's share of the slots is taken, and no lane is free to wait for it."""


class ParkLaneError(Exception):
    """The lane must end: its head hidden for `seconds`, the rest released."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"parked for {seconds} s")
        self.seconds = seconds


class HostHeldError(ParkLaneError):
    """As ParkLaneError, because the host of the lane's next message is held."""


class LimitReachedError(HostHeldError):
    """As ParkLaneError, because the limits of the lane's next message allow no attempt soon."""


class ProbeDueError(Exception):
    """The host is held, and the lane makes the next probe, in `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"a probe is due in {seconds} s")
        self.seconds = seconds


class Admission:
    """Lets the attempts of one consumer start.

    Args:
        slots: limit the attempts at once.
        intake: whether the consumer can't receive because of the lanes that it holds.
        holds: the hosts that may not be attempted now; hosts that ask for it, and that fail, are added.
        overflows: whether a queue of the consumer has reached its backlog limit: messages of failing hosts must not stay in it.
        limits: of the targets; None: no rule of the route has any.
    """

    def __init__(
        self,
        slots: Slots,
        intake: IntakeLimiter,
        holds: Holds,
        overflows: Callable[[], bool] = lambda: False,
        limits: Limits | None = None,
    ) -> None:
        self.slots = slots
        self.holds = holds
        self.limits = limits
        self._limited = 0  # lanes that wait in place for a limit
        self._intake = intake
        self._overflows = overflows

    async def take_turn(self, judged: Target | Refusal, host: str, gate: LimitGate | None = None) -> Permit | None:
        """Takes a slot, and an attempt of the limit if there is one; returns the permit of an attempt to a held host, to be ended by `observe` or `give_back`.

        Raises:
            SaturatedError: the lane should be parked instead of waiting for a slot.
            HostHeldError: the lane should be parked, because the host is held, or its limit is reached.
            ProbeDueError: the lane should wait until a probe of the held host is due, and then try again.
        """
        permit = self._permit(judged)
        if gate is None and self.slots.take_free(host):
            return permit
        has_turn = False
        try:
            if gate is None:
                await self._wait_for_slot(host)
            else:
                await self._wait_for_limit_and_slot(gate, host)
            has_turn = True
        finally:
            if permit is not None and not has_turn:
                self.give_back(permit)
        if permit is not None:
            return permit
        try:
            return self._permit(judged)  # it may be held since
        except (ParkLaneError, ProbeDueError):
            self.slots.release(host)
            if gate is not None:
                gate.release(attempted=False)
            raise

    def give_back(self, permit: Permit) -> None:
        """Ends a permit whose attempt was not made; it has no effect on one that has ended."""
        if permit.breaker is not None:
            self.holds.observe(permit.key, "", None, permit)

    def observe(self, outcome: Outcome, judged: Target | Refusal, permit: Permit | None) -> int | None:
        """An attempt has failed, or was made while hosts with a breaker fail.

        Returns:
            None where it counts for its message; else for how many seconds that one is to be hidden.
        """
        if not isinstance(judged, Target):
            return None
        key, origin = (judged.rule.name, judged.host), judged.url.origin
        if outcome.retry_after_seconds:
            self.holds.retry_after(*key, origin, outcome.retry_after_seconds)
        failed = self.holds.observe(key, origin, outcome, permit)
        return self.holds.seconds_to_make_way(key) if failed and permit is not None else None

    def gate_of(self, judged: Target | Refusal) -> LimitGate | None:
        """The limit that an attempt is under; None: it has none. Raises LimitReachedError where too many limits are in use."""
        if self.limits is None or not isinstance(judged, Target):
            return None
        try:
            return self.limits.gate(judged.rule, judged.host)
        except LookupError as error:
            raise LimitReachedError(_TOO_MANY_LIMITS_SECONDS) from error

    async def _wait_for_limit_and_slot(self, gate: LimitGate, host: str) -> None:
        """Waits for both, holding neither meanwhile: an attempt that is allowed now must not be made much later."""
        await self._wait_for_limit(gate)
        while not self.slots.take_free(host):
            gate.release(attempted=False)
            await self._wait_for_slot(host)
            if gate.take():
                return
            self.slots.release(host)
            await self._wait_for_limit(gate)

    async def _wait_for_limit(self, gate: LimitGate) -> None:
        """Waits in place, with half of the lanes at most."""
        is_allowed = False
        if not self._intake.full and self._limited * 2 < self._intake.max_lanes:
            self._limited += 1
            try:
                is_allowed = await gate.acquire()
            finally:
                self._limited -= 1
        if not is_allowed:
            raise LimitReachedError(gate.park())

    async def _wait_for_slot(self, host: str) -> None:
        if self.slots.crowds_out(host) and self._intake.full:
            raise SaturatedError(host)
        await self.slots.acquire(host)

    def _permit(self, judged: Target | Refusal) -> Permit | None:
        if not self.holds.held or not isinstance(judged, Target):
            return None
        admission = self.holds.admit(judged.rule.name, judged.host, overflows=self._overflows())
        if not isinstance(admission, HostWait):
            return admission
        if admission.in_place:
            raise ProbeDueError(admission.seconds)
        raise HostHeldError(math.ceil(admission.seconds))
