"""The holds of one worker: starts them, ends them in time, and reports each by a metric and two log lines."""

import asyncio
import logging
import math
from collections.abc import Collection
from dataclasses import dataclass

from chaski_core.ports import Clock
from chaski_core.retry.breaker import FAILURES, Breaker, BreakerState
from chaski_core.retry.outcome import ErrorClass, Outcome
from chaski_core.route.model import Route
from chaski_core.timestamps import timestamp
from chaski_runtime.observability.metrics.registry import Values
from chaski_worker.hosts.breakers import Breakers, HostKey, Permit
from chaski_worker.hosts.hold_table import ALL_HOSTS, Hold, HoldReason, HoldTable, hidden_seconds
from chaski_worker.metrics import WorkerMetrics

_log = logging.getLogger(__name__)
_FORGOTTEN_SECONDS = 3_600.0  # after which a hold ends that no message waits for; each would ask within five minutes
_MAKES_WAY_SHARE = 0.5  # of the time to the next probe
_CLOSING_SECONDS = 1  # for which a head is hidden that finds all attempts of a closing breaker taken


@dataclass(frozen=True, slots=True)
class HostWait:
    """The next message of a lane goes to a held host."""

    seconds: float
    in_place: bool  # the lane makes the next probe after that time; else its head is hidden


class Holds:
    """What may not be attempted now. Each worker process learns of a target's wish, and of its failures, by its own attempts.

    Args:
        route: whose suspended rules are held from the start.
        metrics: shows the holds.
        clock: of the holds.
        step_seconds: for how long a waiting head is hidden at most.
    """

    def __init__(self, route: Route, metrics: WorkerMetrics, clock: Clock, *, step_seconds: int) -> None:
        self._route = route
        self._clock = clock
        self._step = step_seconds
        self._table = HoldTable()
        self._reported: set[tuple[str, HoldReason]] = set()  # at most one for each rule and reason
        self._timer: asyncio.TimerHandle | None = None
        self._breakers = Breakers(route.breakers, route.delivery.concurrency_per_pod)
        self.held = self._table.held  # empty nearly always; read for every message
        self.failing = self._breakers.known  # as well
        self.end_observation = metrics.observe_holds(self._values)  # of the gauge
        self.suspend(route.suspended_targets)

    def admit(self, target: str, host: str, *, overflows: bool) -> Permit | HostWait | None:
        """Whether a lane may attempt its next message; None where the host is not held.

        Args:
            target: name of the allow rule.
            host: `name:port`.
            overflows: the lane's queue has reached its backlog limit, so that messages of a failing host must not stay in it.
        """
        now = self._clock.monotonic()
        hold = self._table.find(target, host, now)
        if hold is None:
            return None
        if hold.reason is not HoldReason.BREAKER:
            return HostWait(hidden_seconds(hold, now, self._step), in_place=False)
        return None if overflows else self._ask(self.failing[target, host], hold, now)

    def _ask(self, breaker: Breaker, hold: Hold, now: float) -> Permit | HostWait:
        if breaker.start(now):
            return Permit(breaker, (hold.target, hold.host))
        if (seconds := breaker.wait_for_probe(now)) is not None:
            return HostWait(seconds, in_place=True)
        if breaker.state is BreakerState.CLOSING:
            return HostWait(_CLOSING_SECONDS, in_place=False)
        return HostWait(hidden_seconds(hold, now, min(self._step, breaker.rule.max_probe_seconds)), in_place=False)

    def observe(self, key: HostKey, origin: str, outcome: Outcome | None, permit: Permit | None) -> bool:
        """An attempt to a host has ended; its breaker may open or close. Returns whether the host failed it.

        Args:
            key: of the host.
            origin: of the host, for people.
            outcome: of the attempt; None where it was not made.
            permit: that it was made with; it ends.
        """
        now = self._clock.monotonic()
        failed = None if outcome is None else self._has_failed(outcome)
        if permit is not None:
            breaker, permit.breaker = permit.breaker, None
        else:
            breaker = self._breakers.get_or_make(key) if failed else self.failing.get(key)
        if breaker is not None:
            breaker.end(now, failed=failed, started=permit is not None)
            self._follow(key, origin, breaker, now)
        return bool(failed)

    def seconds_to_make_way(self, key: HostKey) -> int:
        """For how long a head is hidden whose probe has failed, so that another lane may make the next one.

        Half of the time to the next probe: a subject that is the only one is back in time for it.
        """
        breaker = self.failing.get(key)
        left = 0.0 if breaker is None else breaker.probe_at - self._clock.monotonic()
        return max(1, math.ceil(left * _MAKES_WAY_SHARE))

    def _has_failed(self, outcome: Outcome) -> bool | None:
        """Whether the host failed an attempt; None where it was not dialled."""
        if outcome.error_class is ErrorClass.REFUSED:
            return None
        return outcome.error_class in FAILURES and self._route.retry.result_of(outcome.key) is None

    def _follow(self, key: HostKey, origin: str, breaker: Breaker, now: float) -> None:
        """Holds a host, or ends its hold, as its breaker says."""
        if breaker.holds:
            if (*key, HoldReason.BREAKER) not in self.held:
                until = breaker.opened_at + breaker.rule.max_hold_seconds
                hold = Hold(*key, HoldReason.BREAKER, breaker.opened_at, until, origin)
                self._table.hold_for_breaker(hold)
                self._log_start(hold)
                self._set_timer()
            return
        if (ended := self._table.end_of_breaker(*key)) is not None:
            self._log_end(ended)
        self._breakers.forget_if_idle(key, breaker, now)

    def retry_after(self, target: str, host: str, origin: str, seconds: float) -> None:
        """A host asked not to be attempted for `seconds`; a route bounds them, or ignores them."""
        bounded = min(seconds, self._route.retry.max_retry_after_seconds)
        if bounded <= 0:
            return
        now = self._clock.monotonic()
        self._end_due()  # a hold that has just ended ends before the next one begins
        hold = self._table.hold_until(target, host, origin, now + bounded, now)
        if hold is not None:
            self._log_start(hold)
        self._set_timer()

    def suspend(self, targets: Collection[str]) -> None:
        """Suspends these rules and releases all others. Rules that the route does not have are ignored."""
        names = [rule.name for rule in self._route.allow if rule.name in targets]
        began, ended = self._table.suspend(names, self._clock.monotonic())
        for hold in began:
            self._log_start(hold)
        for hold in ended:
            self._log_end(hold)

    def close(self) -> None:
        """Ends no hold any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self) -> None:
        self.close()
        end = self._table.next_end()
        if end is not None:
            seconds = min(_FORGOTTEN_SECONDS, max(0.0, end - self._clock.monotonic()))
            self._timer = asyncio.get_running_loop().call_later(seconds, self._wake)

    def _wake(self) -> None:
        self._end_due()
        self._set_timer()

    def _end_due(self) -> None:
        now = self._clock.monotonic()
        for hold in self._table.expire(now):
            self._log_end(hold)
            key = (hold.target, hold.host)
            if hold.reason is HoldReason.BREAKER:
                self.failing[key].expire(now)
            elif (breaker := self._breakers.get_or_make(key)) is not None:
                breaker.begin_closing(now)  # it is not to be overrun by all that has waited
                self._follow(key, hold.origin, breaker, now)
        for key, breaker in tuple(self.failing.items()):
            if breaker.holds and now - max(breaker.asked_at, breaker.opened_at) >= _FORGOTTEN_SECONDS:
                del self.failing[key]
                if (forgotten := self._table.end_of_breaker(*key)) is not None:
                    self._log_end(forgotten)

    def _values(self) -> Values:
        # Called at a scrape, on another thread: the table is copied at once.
        held = {(hold.target, hold.reason) for hold in tuple(self.held.values())}
        route = self._route
        return {
            (route.namespace, route.name, target, reason.value): int((target, reason) in held)
            for target, reason in tuple(self._reported)
        }

    def _log_start(self, hold: Hold) -> None:
        self._reported.add((hold.target, hold.reason))
        until = None if hold.until is None else self._wall_clock(hold.until)
        end = until or "its suspension ends"
        if hold.reason is HoldReason.BREAKER:
            end = f"it answers a probe, at most until {until}"
        _log.warning(
            "%s holds %s (%s) until %s: nothing else is attempted there, and no attempt is counted",
            self._route.key,
            _name(hold),
            hold.reason,
            end,
            extra={"ecs": self._fields(hold, "hold-started", until)},
        )

    def _log_end(self, hold: Hold) -> None:
        now = self._clock.monotonic()
        is_spent = hold.reason is HoldReason.BREAKER and hold.until is not None and hold.until <= now
        _log.log(
            logging.WARNING if is_spent else logging.INFO,
            "%s no longer holds %s (%s) after %.0f s%s",
            self._route.key,
            _name(hold),
            hold.reason,
            now - hold.since,
            ", its maxHoldSeconds: its messages climb their ladders" if is_spent else "",
            extra={"ecs": self._fields(hold, "hold-ended", None)},
        )

    def _fields(self, hold: Hold, action: str, until: str | None) -> dict[str, str]:
        fields = {
            "event.action": action,
            "chaski.hold.reason": hold.reason.value,
            "labels.namespace": self._route.namespace,
            "labels.route": self._route.name,
            "labels.target": hold.target,
        }
        if hold.host != ALL_HOSTS:
            fields["chaski.hold.origin"] = hold.origin
        return fields | ({"chaski.hold.until": until} if until else {})

    def _wall_clock(self, at: float) -> str:
        return timestamp(self._clock.now_ms() + round((at - self._clock.monotonic()) * 1000))


def _name(hold: Hold) -> str:
    return f"target {hold.target}" if hold.host == ALL_HOSTS else f"{hold.origin} of target {hold.target}"
