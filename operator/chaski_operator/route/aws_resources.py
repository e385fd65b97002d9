"""What a route needs on AWS, from a loop: `chaski_aws.provision` in a bounded number of threads.

Nothing is remembered between two looks but how often a queue was found empty: which queues there are, whose they are and
which map they belong to stands in their tags.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from chaski_aws.provision.apply import Done, Patience, apply
from chaski_aws.provision.clients import Aws
from chaski_aws.provision.desired import Desired, desired
from chaski_aws.provision.drain import DrainRule, Look, is_drained, look_at
from chaski_aws.provision.errors import ProvisionError
from chaski_aws.provision.observe import survey
from chaski_aws.provision.plan import plan, plan_drained, plan_drop
from chaski_aws.provision.resolve import resolved_route
from chaski_aws.provision.settings import ProvisionSettings
from chaski_aws.provision.state import Observed, ObservedQueue
from chaski_core.route.model import Route
from chaski_core.route.resolved import Generation, ResolvedRoute

_Answer = TypeVar("_Answer")
_MOST_LOOKS = 100  # kept for each queue that runs empty


@dataclass(frozen=True, slots=True)
class ProvisionResult:
    """What one look at a route on AWS found and did."""

    observed: Observed  # before anything was done
    wanted: Desired
    done: tuple[Done, ...]
    error: ProvisionError | None  # what stopped it
    resolved: ResolvedRoute | None  # None: a queue is missing

    @property
    def draining(self) -> tuple[ObservedQueue, ...]:
        """Queues that take no new messages and were not deleted by this look."""
        deleted = {each.action.resource for each in self.done if each.action.operation == "DeleteQueue"}
        return tuple(queue for queue in self.observed.own_queues if queue.name not in self.wanted.names | deleted)


class AwsResources:
    """Queues and tables of all routes."""

    def __init__(self, aws: Aws, *, threads: int, rule: DrainRule) -> None:
        self._aws = aws
        self.settings: ProvisionSettings | None = (
            None  # to be set before the first look: whose queues and tables they are
        )
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="aws")
        self._rule = rule
        self._looks: dict[str, dict[str, list[Look]]] = {}  # route -> queue -> looks, oldest first

    async def settle(
        self, route: Route, remembered: ResolvedRoute | None, now: float, *, may_drop: bool
    ) -> ProvisionResult:
        """Makes what is missing, mends what differs, deletes what ran empty.

        Args:
            route: as it is wanted.
            remembered: what was made before, as far as known.
            now: epoch seconds.
            may_drop: whether no worker is left that could still put messages on what runs empty.

        Raises:
            ProvisionError: it could not be seen what is there.
        """
        return await self._in_thread(lambda: self._settle(route, remembered, now, may_drop))

    async def drop(self, route: Route) -> tuple[Done, ...]:
        """Deletes everything of a route that carries our tags, messages and dead letters included.

        Raises:
            ProvisionError: something is left.
        """
        self.forget(route.key)
        return await self._in_thread(lambda: self._drop(route))

    def forget(self, key: str) -> None:
        """Drops what is remembered of a route."""
        self._looks.pop(key, None)

    def close(self) -> None:
        """Waits for the calls under way."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def _in_thread(self, work: Callable[[], _Answer]) -> _Answer:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _settle(self, route: Route, remembered: ResolvedRoute | None, now: float, may_drop: bool) -> ProvisionResult:
        settings = self._known_settings()
        observed = survey(self._aws, route, settings, remembered)
        wanted = desired(route, observed.generations, settings)
        done: list[Done] = []
        error: ProvisionError | None = None
        drained = self._drained(route.key, wanted, observed, now) if may_drop else set()
        try:
            actions = (*plan(wanted, observed), *plan_drained(wanted, observed, drained))
            apply(self._aws, actions, Patience(on_done=done.append))
        except ProvisionError as caught:
            error = caught
        made = {each.action.resource: str(each.answer["QueueUrl"]) for each in done if "QueueUrl" in each.answer}
        dropped = {each.action.resource for each in done if each.action.operation == "DeleteQueue"}
        whole = wanted.names <= {*observed.ours, *made}
        resolved = resolved_route(wanted, observed, made, dropped) if whole else None
        return ProvisionResult(observed, wanted, tuple(done), error, resolved)

    def _drained(self, key: str, wanted: Desired, observed: Observed, now: float) -> set[str]:
        """Names of the queues that ran empty for good; counting begins anew with each process."""
        before = self._looks.get(key, {})
        old = [queue for queue in observed.own_queues if queue.name not in wanted.names]
        looks = {queue.name: [*before.get(queue.name, ()), look_at(queue, now)][-_MOST_LOOKS:] for queue in old}
        self._looks[key] = looks
        return {name for name, seen in looks.items() if is_drained(seen, self._rule)}

    def _known_settings(self) -> ProvisionSettings:
        if self.settings is None:
            raise RuntimeError("nothing is done on AWS before it is known which installation this is")
        return self.settings

    def _drop(self, route: Route) -> tuple[Done, ...]:
        done: list[Done] = []
        settings = self._known_settings()
        observed = survey(self._aws, route, settings)
        apply(self._aws, plan_drop(route, settings, observed), Patience(on_done=done.append))
        return tuple(done)


def remembered_route(route: Route, status: Mapping[str, Any]) -> ResolvedRoute | None:
    """What `status.resolved` says was made, even if the route has changed since; None where it says nothing usable."""
    try:
        resolved = status["resolved"]
        generations = tuple(
            Generation(int(each["number"]), {queue["name"]: tuple(queue["urls"]) for queue in each["queues"]})
            for each in resolved["generations"]
        )
    except (KeyError, TypeError, ValueError):
        return None
    return ResolvedRoute(route, generations, ())
