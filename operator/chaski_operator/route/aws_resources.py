"""The queues and tables of routes: `chaski_aws.provision` in a bounded pool of threads.

Between two reconciliations only this is kept in memory: the last result of each route, so that AWS is not read again for
each change in the cluster, and the emptiness checks of draining queues. Which queues exist, who owns them and which
generation they belong to is read from their tags.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from chaski_aws.provision.actions import Action
from chaski_aws.provision.apply import Done, RetryOptions, apply
from chaski_aws.provision.clients import Aws
from chaski_aws.provision.desired import Desired, ProvisionSettings, desired, label_tags, resolved_route
from chaski_aws.provision.errors import ProvisionError
from chaski_aws.provision.observe import observe, observe_owners
from chaski_aws.provision.plan import DrainRule, DrainSample, drain_sample, is_drained, plan, plan_drained, plan_drop
from chaski_aws.provision.state import GENERATION_TAG, QUEUE_TAG, RUNG_TAG, Observed, ObservedQueue
from chaski_core.ports import Clock
from chaski_core.route.model import Route
from chaski_core.route.resolved import Generation, ResolvedRoute
from chaski_operator.kube.status import rfc3339
from chaski_operator.kube.workqueue import Key
from chaski_operator.manifests.names import RECONCILE_AT
from chaski_operator.settings import ReconcileIntervals

_T = TypeVar("_T")
_MAX_CHECKS = 100  # kept for each draining queue
_IDLE_READINGS = 4  # of the counts of an idle route, which also show its queues' attributes, between two of everything
_FRESH = 0.8  # of the interval of reconciliations, whose jitter is a tenth


@dataclass(frozen=True, slots=True)
class ProvisionResult:
    """What `ensure` observed and did. Only this module knows the types of `chaski_aws.provision` behind it."""

    observed: Observed  # before any change
    wanted: Desired
    done: tuple[Done, ...]
    error: ProvisionError | None  # the failure that ended it early
    resolved: ResolvedRoute | None  # None: a queue is missing
    is_fresh: bool = True  # of this reconciliation, not of an earlier one

    @property
    def queue_count(self) -> int:
        """The number of queues that should exist."""
        return len(self.wanted.queues)

    @property
    def table(self) -> str:
        """Name of the table that should exist."""
        return self.wanted.table.name

    @property
    def has_table(self) -> bool:
        """Whether the table existed before any change."""
        return self.observed.table is not None

    @property
    def draining(self) -> tuple[ObservedQueue, ...]:
        """Queues that accept no new messages and were not deleted now."""
        kept = self.wanted.names | set(self.dropped)
        return tuple(queue for queue in self.observed.own_queues if queue.name not in kept)

    @property
    def created(self) -> list[str]:
        """Names of the queues and tables that were created."""
        return self._names("CreateQueue", "CreateTable")

    @property
    def dropped(self) -> list[str]:
        """Names of the queues that had drained and were deleted."""
        return self._names("DeleteQueue")

    @property
    def fenced(self) -> list[str]:
        """Names of the queues that now accept no new messages."""
        return [each.action.resource for each in self.done if each.action.blocks_sends]

    def delay_changes(self) -> list[str]:
        """A text for each queue whose delay was changed: SQS applies it to messages that wait already."""
        return [
            f"{each.action.resource}: delay changed from {drift.was} s to {drift.wanted} s, for messages already in it too"
            for each in self.done
            for drift in each.action.drift
            if drift.attribute == "DelaySeconds"
        ]

    def fuller_than(self, messages: int) -> list[str]:
        """Names of the queues that hold more messages."""
        return [queue.name for queue in self.observed.own_queues if queue.counts.total > messages]

    def drift(self) -> list[str]:
        """The resources that were changed or deleted by others and have been corrected."""
        return [
            f"{each.action.resource} ({', '.join(drift.attribute for drift in each.action.drift) or 'was deleted'})"
            for each in self.done
            if each.action.drift or each.action.operation in ("CreateQueue", "CreateTable")
        ]

    def fenced_at(self, numbers: Iterable[int]) -> dict[int, str]:
        """The time since which each generation accepts no new messages, by number, as RFC 3339."""
        since: dict[int, float] = {}
        for queue in self.observed.own_queues:
            number = queue.tags.get(GENERATION_TAG, "")
            if queue.is_blocked and number.isdigit():
                since[int(number)] = max(since.get(int(number), 0.0), queue.modified_at)
        return {number: rfc3339(since[number]) for number in numbers if number in since}

    def draining_rows(self) -> dict[str, str]:
        """A message for each draining queue, by the name of its row in the status."""
        totals: dict[str, int] = {}
        for queue in self.draining:
            row = _row_of(queue.tags)
            if row:
                totals[row] = totals.get(row, 0) + queue.counts.total
        empty, holding = "empty; will be deleted after staying empty for a while", "draining; still holds messages"
        return {row: holding if total else empty for row, total in totals.items()}

    def _names(self, *operations: str) -> list[str]:
        return [each.action.resource for each in self.done if each.action.operation in operations]


@dataclass(frozen=True, slots=True)
class _Known:
    """The last result of a route."""

    #: Generation, the annotation that requests a reconciliation, the spec, and the labels that are tags.
    requested: tuple[object, ...]
    result: ProvisionResult
    at: float  # monotonic


@dataclass(frozen=True, slots=True)
class _Plan:
    """What AWS has, and the calls that change it into what the route declares."""

    observed: Observed
    wanted: Desired
    actions: tuple[Action, ...] = ()
    error: ProvisionError | None = None  # why there is no plan

    @property
    def creates(self) -> bool:
        """Whether queues or a table will be created."""
        return any(each.operation in ("CreateQueue", "CreateTable") for each in self.actions)


class AwsResources:
    """Queues and tables of all routes."""

    def __init__(
        self, aws: Aws, *, intervals: ReconcileIntervals, clock: Clock, idle: AbstractSet[Key] = frozenset()
    ) -> None:
        """Makes no call yet. `idle`: the routes that have neither Pods nor messages now; they are read less often."""
        self._aws = aws
        self._idle = idle
        #: Whose queues and tables they are; to be set before the first call.
        self.settings: ProvisionSettings | None = None
        self._threads = ThreadPoolExecutor(intervals.aws_threads, thread_name_prefix="aws")
        self._running: set[Future[Any]] = set()  # also what no task waits for any more
        self._intervals = intervals
        self._clock = clock
        self._rule = DrainRule(intervals.drained_checks, intervals.drained_seconds, intervals.fence_seconds)
        self._known: dict[str, _Known] = {}  # by route
        self._invalid: set[str] = set()  # routes of which something has changed since they were last read
        self._checks: dict[str, dict[str, list[DrainSample]]] = {}  # route -> queue -> checks, oldest first

    async def ensure(
        self, route: Route, document: Mapping[str, Any], *, may_drop: bool, confirm: Callable[[], Awaitable[None]]
    ) -> ProvisionResult:
        """Creates what is missing, corrects what differs, deletes queues that have drained.

        Returns the last result again while it is recent, free of errors, and the route has not changed since.

        Args:
            route: the desired state.
            document: the route as the API server returns it.
            may_drop: no worker is left that could still put messages on draining queues.
            confirm: raises if the route is not the observed one any more; awaited before anything is created.

        Raises:
            ProvisionError: the current state could not be observed.
            Exception: of `confirm`; nothing was changed.
        """
        metadata = document["metadata"]
        requested_at = (metadata.get("annotations") or {}).get(RECONCILE_AT, "")
        labels = label_tags(route, self._require_settings())
        requested = (metadata["generation"], requested_at, route.document["spec"], labels)
        known = self._known.pop(route.key, None)  # the call may fail
        if known is not None and known.requested == requested and self._is_recent(known):
            self._known[route.key] = known
            return replace(known.result, is_fresh=False)
        self._invalid.discard(route.key)
        began, now = self._clock.monotonic(), self._clock.now_ms() / 1000
        remembered = _remembered_route(route, document.get("status") or {})
        planned = await self._in_thread(lambda: self._plan(route, remembered, now, may_drop))
        if planned.creates:
            await confirm()
        result = await self._in_thread(lambda: self._apply(planned))
        if result.error is None and route.key not in self._invalid:
            self._known[route.key] = _Known(requested, result, began)
        return result

    async def owners(self, route: Route) -> frozenset[str]:
        """The installations whose tags the route's queues and table carry.

        Raises:
            ProvisionError: they could not be read.
        """
        owner = self._require_settings().owner
        return await self._in_thread(lambda: observe_owners(self._aws, route, owner))

    def invalidate(self, key: str) -> None:
        """Has the next `ensure` of a route read AWS again, also if one is in progress."""
        self._known.pop(key, None)
        self._invalid.add(key)

    async def drop(self, route: Route) -> tuple[Done, ...]:
        """Deletes all of a route's resources that carry our tags, messages and dead letters included.

        Raises:
            ProvisionError: something is left.
        """
        self.forget(route.key)
        return await self._in_thread(lambda: self._drop(route))

    def forget(self, key: str) -> None:
        """Drops all that is remembered of a route."""
        self._checks.pop(key, None)
        self._known.pop(key, None)
        self._invalid.discard(key)

    async def ended(self, seconds: float) -> bool:
        """Whether all work in the threads ends within some seconds: it goes on after its task was cancelled."""
        running = list(self._running)
        return not running or not (await asyncio.to_thread(wait, running, seconds)).not_done

    def close(self) -> None:
        """Waits for calls in progress."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _is_recent(self, known: _Known) -> bool:
        intervals, route = self._intervals, known.result.wanted.route
        if known.result.draining:
            interval = intervals.busy_seconds
        elif (route.namespace, route.name) in self._idle:
            interval = max(intervals.resync_seconds, _IDLE_READINGS * intervals.idle_seconds)
        else:
            interval = intervals.resync_seconds
        return self._clock.monotonic() - known.at < interval * _FRESH

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        running = self._threads.submit(work)
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return await asyncio.wrap_future(running)

    def _plan(self, route: Route, remembered: ResolvedRoute | None, now: float, may_drop: bool) -> _Plan:
        settings = self._require_settings()
        observed = observe(self._aws, route, settings, remembered)
        wanted = desired(route, observed, settings)
        drained = self._drained(route.key, wanted, observed, now) if may_drop else set()
        try:
            actions = (*plan(wanted, observed), *plan_drained(wanted, observed, drained))
        except ProvisionError as caught:
            return _Plan(observed, wanted, error=caught)
        return _Plan(observed, wanted, actions)

    def _apply(self, planned: _Plan) -> ProvisionResult:
        observed, wanted, error = planned.observed, planned.wanted, planned.error
        done: list[Done] = []
        try:
            apply(self._aws, planned.actions, RetryOptions(on_done=done.append))
        except ProvisionError as caught:
            error = caught
        created = {each.action.resource: str(each.response["QueueUrl"]) for each in done if "QueueUrl" in each.response}
        dropped = {each.action.resource for each in done if each.action.operation == "DeleteQueue"}
        complete = wanted.names <= {*observed.ours, *created}
        resolved = resolved_route(wanted, observed, created, dropped) if complete else None
        return ProvisionResult(observed, wanted, tuple(done), error, resolved)

    def _drained(self, key: str, wanted: Desired, observed: Observed, now: float) -> set[str]:
        """Names of the queues that are empty for good; a restarted process starts counting again."""
        before = self._checks.get(key, {})
        old = [queue for queue in observed.own_queues if queue.name not in wanted.names]
        checks = {queue.name: [*before.get(queue.name, ()), drain_sample(queue, now)][-_MAX_CHECKS:] for queue in old}
        self._checks[key] = checks
        return {name for name, seen in checks.items() if is_drained(seen, self._rule)}

    def _require_settings(self) -> ProvisionSettings:
        if self.settings is None:
            raise RuntimeError("AWS must not be used before the installation is known")
        return self.settings

    def _drop(self, route: Route) -> tuple[Done, ...]:
        done: list[Done] = []
        settings = self._require_settings()
        observed = observe(self._aws, route, settings)
        apply(self._aws, plan_drop(route, settings, observed), RetryOptions(on_done=done.append))
        return tuple(done)


def _remembered_route(route: Route, status: Mapping[str, Any]) -> ResolvedRoute | None:
    """The queues and the table in `status.resolved`, even if the route has changed since; None if they can't be read."""
    try:
        resolved = status["resolved"]
        generations = tuple(
            Generation(int(each["number"]), {queue["name"]: tuple(queue["urls"]) for queue in each["queues"]})
            for each in resolved["generations"]
        )
        table = resolved.get("deadLetterTable")
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return ResolvedRoute(route, generations, (), dead_letter_table=table)


def _row_of(tags: Mapping[str, str]) -> str | None:
    if RUNG_TAG in tags:
        return f"rung-{tags[RUNG_TAG]}"
    return f"{tags[QUEUE_TAG]}.g{tags[GENERATION_TAG]}" if {QUEUE_TAG, GENERATION_TAG} <= tags.keys() else None
