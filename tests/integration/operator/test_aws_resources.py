"""When the queues and tables of a route are read again."""

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from chaski_aws.provision.desired import ProvisionSettings
from chaski_aws.provision.errors import ProvisionError, failure_of
from chaski_core.route.loading import load_route
from chaski_core.route.model import Route
from chaski_operator.route.aws_resources import AwsResources, ProvisionResult
from chaski_operator.settings import ReconcileIntervals
from chaski_runtime.process.clock import SystemClock
from support.operator.provisioning import Counted, boto
from support.operator.routes import route

NAMES = iter(f"route-{number}" for number in range(100))


class GoneError(Exception):
    """The route was deleted meanwhile."""


class ProvisionedRoute:
    """A route and its resources in an account of moto."""

    def __init__(self, moto: str) -> None:
        self.document: dict[str, Any] = route("shop", next(NAMES))
        self.document["metadata"] |= {"generation": 1, "annotations": {}}
        self.aws = Counted(boto(moto, moto))
        self.resources = AwsResources(self.aws, intervals=ReconcileIntervals(), clock=SystemClock())
        self.resources.settings = ProvisionSettings("test")
        self.confirmed = 0
        self.is_gone = False

    @property
    def route(self) -> Route:
        """Without what the API server adds."""
        return load_route({name: self.document[name] for name in ("apiVersion", "kind", "metadata", "spec")})

    async def ensure(self) -> ProvisionResult:
        """As the reconciler calls it."""
        return await self.resources.ensure(self.route, self.document, may_drop=False, confirm=self.confirm)

    async def confirm(self) -> None:
        """As the reconciler, before anything is created."""
        self.confirmed += 1
        if self.is_gone:
            raise GoneError

    async def reads(self) -> int:
        """The number of reads of AWS that one `ensure` needs."""
        before = len(self.aws.reads)
        await self.ensure()
        return len(self.aws.reads) - before


@pytest.fixture
async def provisioned(moto: str) -> AsyncIterator[ProvisionedRoute]:
    """A route whose queues and table exist."""
    made = ProvisionedRoute(moto)
    first = await made.ensure()
    assert (first.is_fresh, first.error) == (True, None)
    yield made
    made.resources.close()


async def test_unchanged_route_is_not_read_again(provisioned: ProvisionedRoute) -> None:
    """The result is the same, and is marked as an earlier one, so that its events are not posted again."""
    assert await provisioned.reads() == 0
    again = await provisioned.ensure()
    assert not again.is_fresh
    assert again.resolved is not None


@pytest.mark.parametrize("change", ["spec", "request", "invalidated", "forgotten"])
async def test_changed_route_is_read_again(provisioned: ProvisionedRoute, change: str) -> None:
    """Or one that was requested; once."""
    if change == "spec":
        provisioned.document["metadata"]["generation"] = 2
    elif change == "request":
        provisioned.document["metadata"]["annotations"]["chaski.dev/reconcile-requested-at"] = "now"
    elif change == "invalidated":
        provisioned.resources.invalidate(provisioned.route.key)
    else:
        provisioned.resources.forget(provisioned.route.key)
    assert await provisioned.reads() > 0
    assert await provisioned.reads() == 0


async def test_other_spec_of_the_same_generation_is_provisioned(provisioned: ProvisionedRoute) -> None:
    """A restored etcd gives a generation a second time."""
    provisioned.document["spec"]["queues"] = [{"name": "messages", "partitions": 2}]
    assert (await provisioned.ensure()).queue_count == 2


@pytest.mark.promise(7)
async def test_nothing_is_created_for_a_route_that_is_gone(provisioned: ProvisionedRoute) -> None:
    """The route is read again before queues or a table are created, and only then."""
    assert provisioned.confirmed == 1
    provisioned.resources.invalidate(provisioned.route.key)
    names = (await provisioned.ensure()).wanted.names
    assert provisioned.confirmed == 1
    for name in names:
        url = provisioned.aws.call("sqs", "GetQueueUrl", {"QueueName": name})["QueueUrl"]
        provisioned.aws.call("sqs", "DeleteQueue", {"QueueUrl": url})
    provisioned.resources.invalidate(provisioned.route.key)
    provisioned.is_gone = True
    with pytest.raises(GoneError):
        await provisioned.ensure()
    assert not provisioned.aws.call("sqs", "ListQueues", {"QueueNamePrefix": next(iter(names))}).get("QueueUrls")
    provisioned.is_gone = False
    assert (await provisioned.ensure()).created == list(names)


async def test_change_during_a_read_is_not_lost(provisioned: ProvisionedRoute) -> None:
    """The result may be from before the change."""
    provisioned.resources.invalidate(provisioned.route.key)
    reading = asyncio.create_task(provisioned.ensure())
    while not provisioned.aws.reads:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    provisioned.resources.invalidate(provisioned.route.key)
    await reading
    assert await provisioned.reads() > 0


async def test_failure_is_never_remembered(provisioned: ProvisionedRoute, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next reconciliation reads everything again."""

    def deny(service: str, operation: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        del request
        raise ProvisionError(failure_of(service, operation, "q", "AccessDenied", "denied"))

    provisioned.resources.invalidate(provisioned.route.key)
    with monkeypatch.context() as patched:
        patched.setattr(provisioned.aws, "call", deny)
        with pytest.raises(ProvisionError):
            await provisioned.ensure()
    assert await provisioned.reads() > 0


async def test_calls_that_outlive_their_task_are_waited_for(provisioned: ProvisionedRoute) -> None:
    """A thread can't be cancelled; the Lease is neither released nor acquired again before it has ended."""
    began, go_on, real = threading.Event(), threading.Event(), provisioned.aws.aws

    class Held:
        def call(self, service: str, operation: str, request: Mapping[str, Any], /) -> Mapping[str, Any]:
            began.set()
            go_on.wait(60)
            return real.call(service, operation, request)

    assert await provisioned.resources.ended(0)
    provisioned.aws.aws = Held()
    provisioned.resources.invalidate(provisioned.route.key)
    task = asyncio.create_task(provisioned.ensure())
    await asyncio.to_thread(began.wait, 60)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not await provisioned.resources.ended(0.1)
    go_on.set()
    assert await provisioned.resources.ended(60)


class ManualClock(SystemClock):
    """Time passes when the test says so."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def monotonic(self) -> float:
        return self.seconds


async def test_an_idle_route_is_read_about_once_an_hour(moto: str) -> None:
    """32 calls an hour are left beside the counts of seven queues every 15 minutes; a route that wakes up is read as usual."""
    made, clock, idle = ProvisionedRoute(moto), ManualClock(), set[tuple[str, str]]()
    made.resources = AwsResources(made.aws, intervals=ReconcileIntervals(), clock=clock, idle=idle)
    made.resources.settings = ProvisionSettings("test")
    made.document["spec"].pop("retry", None)  # the defaults: six rungs
    await made.ensure()
    idle.add((made.route.namespace, made.route.name))

    async def calls_in(hours: int) -> int:
        before = len(made.aws.reads)
        for _ in range(hours * 12):
            clock.seconds += 300
            await made.ensure()
        return len(made.aws.reads) - before

    assert len((await made.ensure()).observed.queues) in (0, 7)
    assert await calls_in(24) / 24 <= 32
    idle.clear()
    assert await calls_in(1) >= 12 * 15
    made.resources.close()
