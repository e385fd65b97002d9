"""The queues and tables of routes: `chaski_aws.provision` in a bounded pool of threads.

Between two reconciliations only the results of the emptiness checks of draining queues are kept in memory. Which queues
exist, who owns them and which generation they belong to is read from their tags.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from chaski_aws.provision.apply import Done, RetryOptions, apply
from chaski_aws.provision.clients import Aws
from chaski_aws.provision.desired import Desired, ProvisionSettings, desired, resolved_route
from chaski_aws.provision.errors import ProvisionError
from chaski_aws.provision.observe import observe
from chaski_aws.provision.plan import DrainRule, DrainSample, drain_sample, is_drained, plan, plan_drained, plan_drop
from chaski_aws.provision.state import Observed, ObservedQueue
from chaski_core.route.model import Route
from chaski_core.route.resolved import Generation, ResolvedRoute

_T = TypeVar("_T")
_MAX_CHECKS = 100  # kept for each draining queue


@dataclass(frozen=True, slots=True)
class ProvisionResult:
    """What `ensure` observed and did."""

    observed: Observed  # before any change
    wanted: Desired
    done: tuple[Done, ...]
    error: ProvisionError | None  # the failure that ended it early
    resolved: ResolvedRoute | None  # None: a queue is missing

    @property
    def draining(self) -> tuple[ObservedQueue, ...]:
        """Queues that accept no new messages and were not deleted now."""
        deleted = {each.action.resource for each in self.done if each.action.operation == "DeleteQueue"}
        return tuple(queue for queue in self.observed.own_queues if queue.name not in self.wanted.names | deleted)


class AwsResources:
    """Queues and tables of all routes."""

    def __init__(self, aws: Aws, *, threads: int, rule: DrainRule) -> None:
        self._aws = aws
        #: Whose queues and tables they are; to be set before the first call.
        self.settings: ProvisionSettings | None = None
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="aws")
        self._rule = rule
        self._checks: dict[str, dict[str, list[DrainSample]]] = {}  # route -> queue -> checks, oldest first

    async def ensure(
        self, route: Route, remembered: ResolvedRoute | None, now: float, *, may_drop: bool
    ) -> ProvisionResult:
        """Creates what is missing, corrects what differs, deletes queues that have drained.

        Args:
            route: the desired state.
            remembered: what was created before, as far as known.
            now: epoch seconds.
            may_drop: no worker is left that could still put messages on draining queues.

        Raises:
            ProvisionError: the current state could not be observed.
        """
        return await self._in_thread(lambda: self._ensure(route, remembered, now, may_drop))

    async def drop(self, route: Route) -> tuple[Done, ...]:
        """Deletes all of a route's resources that carry our tags, messages and dead letters included.

        Raises:
            ProvisionError: something is left.
        """
        self.forget(route.key)
        return await self._in_thread(lambda: self._drop(route))

    def forget(self, key: str) -> None:
        """Drops the checks of a route's draining queues."""
        self._checks.pop(key, None)

    def close(self) -> None:
        """Waits for calls in progress."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _ensure(self, route: Route, remembered: ResolvedRoute | None, now: float, may_drop: bool) -> ProvisionResult:
        settings = self._require_settings()
        observed = observe(self._aws, route, settings, remembered)
        wanted = desired(route, observed.generations, settings)
        done: list[Done] = []
        error: ProvisionError | None = None
        drained = self._drained(route.key, wanted, observed, now) if may_drop else set()
        try:
            actions = (*plan(wanted, observed), *plan_drained(wanted, observed, drained))
            apply(self._aws, actions, RetryOptions(on_done=done.append))
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


class MeteredAws:
    """An `Aws` that counts the calls of another one. Threads may share it: a count is one addition."""

    def __init__(self, aws: Aws, count: Callable[[str, str, str], None]) -> None:
        self._aws = aws
        self._count = count  # service, operation, result

    def call(self, service: str, operation: str, request: Mapping[str, Any], /) -> Mapping[str, Any]:
        try:
            response = self._aws.call(service, operation, request)
        except ProvisionError as error:
            self._count(service, operation, error.code)
            raise
        self._count(service, operation, "ok")
        return response


def remembered_route(route: Route, status: Mapping[str, Any]) -> ResolvedRoute | None:
    """The generations in `status.resolved`, even if the route has changed since; None if they can't be read."""
    try:
        resolved = status["resolved"]
        generations = tuple(
            Generation(int(each["number"]), {queue["name"]: tuple(queue["urls"]) for queue in each["queues"]})
            for each in resolved["generations"]
        )
    except (KeyError, TypeError, ValueError):
        return None
    return ResolvedRoute(route, generations, ())
