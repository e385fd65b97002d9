"""The twelve-day rule in the autoscaler's loop, in virtual time: weeks of looks, restarts, queues that can't be read."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from chaski_core.ports import QueueCounts
from chaski_core.timestamps import milliseconds
from chaski_operator.autoscaling.loop import Scaler
from chaski_operator.autoscaling.policy import Pods
from chaski_operator.autoscaling.scaler import Parts, ScalerIntervals
from chaski_operator.expiry.status import is_sweeping
from chaski_runtime.observability.metrics.operator_metrics import OperatorMetrics
from support.metric_pages import value
from support.operator.scaling import AWAY, DENIED, FakeCluster, FakeQueues, route_document, sweeper_of, workers_of
from support.worker.memory_backend import LoopClock

pytestmark = [pytest.mark.looptime, pytest.mark.promise(2)]

URL = "https://q/a-messages-0"
SLOW_RUNG = "https://q/a-rung-slow"
DAY = 86_400.0
IDLE = Pods(1)
WAITING = QueueCounts(3, 0, 0)


class Scene:
    """A cluster with a route `a`, and operators one after the other."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.queues = FakeQueues()
        self.metrics = OperatorMetrics()

    def add(self, **spec: Any) -> None:
        """The route, without a Pod."""
        self.cluster.add(route_document("a", **spec), replicas=0)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While an operator runs that looks every ten minutes."""
        self.metrics = OperatorMetrics()
        parts = Parts(
            cluster=self.cluster,
            read_queue=self.queues.read,
            ask_pods=self.cluster.ask_pods,
            workers_of=workers_of,
            sweeper_of=sweeper_of,
            metrics=self.metrics,
            clock=LoopClock(),
            pace=ScalerIntervals(look_seconds=600, roster_seconds=600),
        )
        task = asyncio.create_task(Scaler(parts, lambda: 0.5).run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def days(self, number: float) -> None:
        """An operator runs for so many days."""
        async with self.running():
            await asyncio.sleep(number * DAY)
            self.age = value(self.metrics, "chaski_queue_unserved_age_seconds", queue="messages") / DAY

    @property
    def status(self) -> dict[str, Any]:
        """Of the route."""
        found: dict[str, Any] = self.cluster.documents["ns", "a"]["status"]
        return found

    @property
    def near(self) -> tuple[str, str]:
        """The condition."""
        return self.cluster.conditions(("ns", "a"))["NearExpiry"]

    @property
    def sweeps(self) -> bool:
        """Whether the reconciler makes the worker."""
        return is_sweeping(self.status)


@pytest.fixture
def scene() -> Scene:
    """Nothing in it yet."""
    return Scene()


WHATEVER = pytest.mark.parametrize(
    "spec",
    [
        {"autoscaling": {"mode": "External"}},
        {"autoscaling": {"mode": "Disabled"}},
        {"autoscaling": {"mode": "External"}, "suspend": {"delivery": True}},
        {"suspend": {"delivery": True}},  # one Pod is asked for, and none ever runs
        {},  # the same
    ],
    ids=["external", "disabled", "external and suspended", "suspended", "usual"],
)


@WHATEVER
async def test_queue_without_workers_gets_one_by_day_twelve(scene: Scene, spec: dict[str, Any]) -> None:
    """Whatever the route says of scaling; people are warned from day seven, and an operator's restart forgets nothing."""
    scene.add(**spec)
    await scene.days(0.5)
    assert scene.near == ("False", "NotNear")
    scene.queues.told[URL] = WAITING
    await scene.days(3)
    assert 2.9 <= scene.age <= 3.3  # since the last look that found it empty and was written
    await scene.days(3.6)
    assert scene.near == ("False", "NotNear")
    await scene.days(0.5)
    assert scene.near == ("True", "Unserved")
    assert ("Warning", "Unserved") in scene.cluster.told
    assert 7 <= scene.age <= 7.4
    await scene.days(4.4)
    assert not scene.sweeps
    before = len(scene.cluster.reconciled)
    await scene.days(0.5)
    assert scene.sweeps
    assert len(scene.cluster.reconciled) == before + 1
    assert ("Warning", "Sweeping") in scene.cluster.told
    scene.cluster.pods["a-sweep"] = Pods(1, oldest_received_age=12.2 * DAY)
    await scene.days(0.5)
    assert scene.sweeps
    scene.queues.told[URL] = QueueCounts(0, 0, 0)  # kept as dead letters, all of them
    await scene.days(0.2)
    assert not scene.sweeps
    assert len(scene.cluster.reconciled) == before + 2


async def test_worker_leaves_when_it_has_seen_that_all_is_younger(scene: Scene) -> None:
    """A queue that is never seen empty looks old when its workers go."""
    scene.add(autoscaling={"mode": "External"})
    scene.queues.told[URL] = WAITING
    await scene.days(1)
    assert scene.sweeps  # it was never looked at before: its messages may be of any age
    scene.cluster.pods["a-sweep"] = Pods(1, oldest_received_age=2 * DAY)
    await scene.days(1)
    assert not scene.sweeps
    assert 2 <= scene.age <= 3.1


async def test_queue_whose_workers_answer_is_left_to_them(scene: Scene) -> None:
    """They keep what reaches thirteen days themselves, suspended or not."""
    scene.add(suspend={"delivery": True})
    scene.queues.told[URL] = WAITING
    scene.cluster.pods["a-messages"] = IDLE
    await scene.days(16)
    assert (scene.near, scene.age) == (("False", "NotNear"), 0)


async def test_workers_that_do_not_answer_are_none(scene: Scene) -> None:
    """They crash, say, because a Secret is missing."""
    scene.add(autoscaling={"minReplicas": 1})
    await scene.days(0.1)
    scene.queues.told[URL] = WAITING
    scene.cluster.pods["a-messages"] = Pods(0, silent=1)
    await scene.days(13)
    assert scene.cluster.replicas["a-messages"] == 1
    assert scene.sweeps


@pytest.mark.promise(8)
@pytest.mark.parametrize("error", [DENIED, AWAY], ids=["denied", "away"])
async def test_queue_that_can_not_be_read_is_not_forgotten(scene: Scene, error: Exception) -> None:
    """Its messages get older all the same; and the restart of an operator that has never read it forgets nothing."""
    scene.add(autoscaling={"mode": "External"})
    await scene.days(0.1)
    scene.queues.told[URL] = WAITING
    await scene.days(4)
    since = next(each["notEmptySince"] for each in scene.status["queues"] if each["name"] == "messages")
    scene.queues.told[URL] = error
    await scene.days(4)
    await scene.days(0.5)
    row = next(each for each in scene.status["queues"] if each["name"] == "messages")
    assert (row.get("notEmptySince"), "visible" in row) == (since, False)
    scene.queues.told[URL] = WAITING
    await scene.days(0.5)
    kept = milliseconds(row["notEmptySince"])
    assert kept is not None
    assert kept <= LoopClock().now_ms() - 8 * DAY * 1000
    assert scene.near == ("True", "Unserved")


@pytest.mark.promise(8)
async def test_queue_that_was_never_read_starts_nothing(scene: Scene) -> None:
    """Of it nothing is known."""
    scene.add(autoscaling={"mode": "External"})
    scene.queues.told[URL] = DENIED
    await scene.days(20)
    assert scene.near == ("False", "NotNear")


async def test_messages_on_a_rung_count_as_well(scene: Scene) -> None:
    """The error-consumer of another autoscaler may be away too."""
    scene.add(autoscaling={"mode": "External"})
    await scene.days(0.1)
    scene.queues.told[SLOW_RUNG] = QueueCounts(0, 0, 2)
    await scene.days(12.3)
    assert scene.sweeps
    assert value(scene.metrics, "chaski_queue_unserved_age_seconds", queue="rung-slow") > 12 * DAY


async def test_route_that_is_empty_for_weeks_is_new_when_a_message_comes(scene: Scene) -> None:
    """Also where the operator was restarted just before: counts are written now and then although they are the same."""
    scene.add(autoscaling={"mode": "External"})
    await scene.days(20)
    assert len(scene.cluster.written) <= 90
    scene.queues.told[URL] = WAITING
    await scene.days(0.1)
    assert scene.age <= 0.5
