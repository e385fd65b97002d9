"""The limits of one worker: leases its shares from the route's table while attempts need them, and gives them back.

Nothing runs for a host that is not attempted. While one is, its leases are read and written every two seconds, and read twice
a second while this worker waits for shares that others are to give back.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from uuid import uuid4

from chaski_core.errors import BackendError
from chaski_core.ports import Clock
from chaski_core.retry.leases import RENEW_SECONDS, USABLE_SECONDS, Demand, LeaseHolder, LimitKey, LimitLeases
from chaski_core.retry.limit import LimitScope
from chaski_core.route.model import AllowRule, Route
from chaski_runtime.observability.metrics.registry import Values
from chaski_worker.hosts.hold_table import ALL_HOSTS
from chaski_worker.hosts.limit_gate import LimitGate
from chaski_worker.metrics import WorkerMetrics
from chaski_worker.settings import BACKEND_BACKOFF

_log = logging.getLogger(__name__)
MAX_GATES = 1_024  # hosts whose limits are used at once; the messages of further ones wait
_POLL_SECONDS = 0.5
_IDLE_SECONDS, _IDLE_AMONG_OTHERS_SECONDS = 10.0, 2.0
_CONFLICT_SECONDS = 0.05  # at most, before a table is read again that another worker has just written
_RELEASE_SECONDS = 2.0  # for giving all shares back when the worker stops; the rest expires
_RELEASE_TRIES = 5


class Limits:
    """The limits of a route's targets in this worker.

    Args:
        route: whose rules have limits.
        leases: the tables of all workers.
        metrics: shows the limits.
        clock: of this worker.
        random: in [0, 1).
    """

    def __init__(
        self, route: Route, leases: LimitLeases, metrics: WorkerMetrics, clock: Clock, random: Callable[[], float]
    ) -> None:
        self._route = route
        self._leases = leases
        self._clock = clock
        self._random = random
        self._gates: dict[LimitKey, LimitGate] = {}
        self._wakeups: dict[LimitKey, asyncio.Event] = {}
        self._tasks: dict[LimitKey, asyncio.Task[None]] = {}
        self._failing_since: float | None = None
        self._targets = [rule.name for rule in route.allow if rule.limits is not None]
        self._labels = (route.namespace, route.name)
        self._parked = metrics.limit_parked
        self.end_observation = metrics.observe_limits(self._values)

    def gate(self, rule: AllowRule, host: str) -> LimitGate | None:
        """The limit that an attempt is under; None: it has none.

        Raises:
            LookupError: too many hosts use limits at once.
        """
        if rule.limits is None:
            return None
        key = LimitKey(self._route.key, rule.name, host if rule.limits.per is LimitScope.HOST else ALL_HOSTS)
        return self._gates.get(key) or self._open(key, rule)

    def stop(self) -> None:
        """Sends all lanes back that wait. Attempts under way keep their shares."""
        for gate in self._gates.values():
            gate.close()

    async def close(self) -> None:
        """Gives all shares back, within two seconds. To be called when no attempt is under way any more."""
        self.stop()
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_RELEASE_SECONDS):
                await asyncio.gather(*(self._give_back(key, gate) for key, gate in self._gates.items()))

    def _open(self, key: LimitKey, rule: AllowRule) -> LimitGate:
        labels = (*self._labels, rule.name)
        if len(self._gates) >= MAX_GATES:
            self._parked.add(labels)
            raise LookupError(f"more than {MAX_GATES} hosts use limits at once")
        assert rule.limits is not None  # noqa: S101 - `gate` has checked it
        woken = asyncio.Event()
        holder = LeaseHolder(uuid4().hex[:12], rule.limits, _attempt_seconds(self._route, rule))
        gate = LimitGate(rule.limits, holder, self._clock.monotonic, woken.set, lambda: self._parked.add(labels))
        self._gates[key], self._wakeups[key] = gate, woken
        self._tasks[key] = asyncio.create_task(self._run(key, gate, woken))
        return gate

    async def _run(self, key: LimitKey, gate: LimitGate, woken: asyncio.Event) -> None:
        """Leases until the limit is not used any more."""
        failures = conflicts = 0
        while True:
            woken.clear()
            try:
                conflicts = 0 if await self._renew(key, gate) else conflicts + 1
                failures = 0
                self._log_end()
            except BackendError as error:
                failures += 1
                self._log_failure(error)
            except Exception:  # noqa: BLE001 - logged with its traceback: a bug must not end the limit for good
                failures += 1
                _log.exception("leasing the limit of %s crashed; it goes on", key.target)
            if failures:
                await asyncio.sleep(min(USABLE_SECONDS / 4, BACKEND_BACKOFF.equal_jitter(failures, self._random())))
            elif conflicts:
                await asyncio.sleep(_CONFLICT_SECONDS * min(conflicts, 4) * self._random())
            elif gate.demand(idle_seconds=_IDLE_SECONDS).wants or gate.holder.listed:
                seconds = _POLL_SECONDS if gate.holder.entitled else RENEW_SECONDS
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await woken.wait()
            else:
                del self._gates[key], self._wakeups[key], self._tasks[key]
                return

    async def _renew(self, key: LimitKey, gate: LimitGate, *, end: bool = False) -> bool:
        """Reads the table and writes this worker's part; False where another one has written it meanwhile."""
        found = await self._leases.read(key)
        holder, now = gate.holder, self._clock.monotonic()
        gate.apply_shares(now)
        is_alone = all(lease.holder == holder.name for lease in found.leases)
        idle = _IDLE_SECONDS if is_alone else _IDLE_AMONG_OTHERS_SECONDS
        table = holder.plan(found.leases, Demand(0, 0) if end else gate.demand(idle_seconds=idle), now)
        gate.serve()
        if table is None:
            return True
        asked_at = self._clock.monotonic()
        if not await self._leases.write(key, found.version, table):
            return False
        gate.apply_shares(self._clock.monotonic())
        holder.confirm(table, asked_at)
        gate.serve()
        return True

    async def _give_back(self, key: LimitKey, gate: LimitGate) -> None:
        with contextlib.suppress(BackendError):  # the lease expires
            for _ in range(_RELEASE_TRIES):
                if not gate.holder.listed or await self._renew(key, gate, end=True):
                    return
                await asyncio.sleep(_CONFLICT_SECONDS * self._random())

    def _log_failure(self, error: BackendError) -> None:
        if self._failing_since is None:
            self._failing_since = self._clock.monotonic()
            _log.warning(
                "%s can't lease its limits, and attempts nothing under them once its leases have expired: %s."
                " Next: see that the worker can read and write the route's table",
                self._route.key,
                error,
                extra={"ecs": {"event.action": "limits-unavailable"}},
            )

    def _log_end(self) -> None:
        if self._failing_since is not None:
            seconds = self._clock.monotonic() - self._failing_since
            self._failing_since = None
            _log.info("%s leases its limits again after %.0f s", self._route.key, seconds)

    def _values(self) -> tuple[Values, Values]:
        # Called at a scrape, on another thread: the table is copied at once.
        waiting: dict[tuple[str, ...], float] = {(*self._labels, target): 0.0 for target in self._targets}
        leased = dict(waiting)
        for key, gate in tuple(self._gates.items()):
            labels = (*self._labels, key.target)
            waiting[labels] += gate.waiting
            leased[labels] += gate.holder.leased / gate.rule.shares
        return waiting, leased


def _attempt_seconds(route: Route, rule: AllowRule) -> float:
    """How long an attempt takes at most: one that renews a refused credential makes a second request."""
    requests = 1 if rule.auth is None else 2
    return float(requests * route.delivery.timeout_seconds)
