"""The holds of one worker: starts them, ends them in time, and reports each by a metric and two log lines."""

import asyncio
import logging
from collections.abc import Collection

from chaski_core.ports import Clock
from chaski_core.route.model import Route
from chaski_core.timestamps import timestamp
from chaski_runtime.observability.metrics.registry import Values
from chaski_worker.hosts.hold_table import ALL_HOSTS, Hold, HoldReason, HoldTable, hidden_seconds
from chaski_worker.hosts.suspension import suspended_rules
from chaski_worker.metrics import WorkerMetrics

_log = logging.getLogger(__name__)


class Holds:
    """What may not be attempted now. Each worker process learns of a target's wish by its own attempts.

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
        self.held = self._table.held  # empty nearly always; read for every message
        metrics.observe_holds(self._values)
        self.suspend(suspended_rules(route))

    def hidden_seconds(self, target: str, host: str) -> int | None:
        """For how long a head that waits for a host is to be hidden; None where the host is not held.

        Args:
            target: name of the allow rule.
            host: `name:port`.
        """
        now = self._clock.monotonic()
        hold = self._table.find(target, host, now)
        return None if hold is None else hidden_seconds(hold, now, self._step)

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
            seconds = max(0.0, end - self._clock.monotonic())
            self._timer = asyncio.get_running_loop().call_later(seconds, self._wake)

    def _wake(self) -> None:
        self._end_due()
        self._set_timer()

    def _end_due(self) -> None:
        for hold in self._table.expire(self._clock.monotonic()):
            self._log_end(hold)

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
        _log.warning(
            "%s holds %s (%s) until %s: nothing is attempted there, and no attempt is counted",
            self._route.key,
            _name(hold),
            hold.reason,
            until or "its suspension ends",
            extra={"ecs": self._fields(hold, "hold-started", until)},
        )

    def _log_end(self, hold: Hold) -> None:
        _log.info(
            "%s no longer holds %s (%s) after %.0f s",
            self._route.key,
            _name(hold),
            hold.reason,
            self._clock.monotonic() - hold.since,
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
