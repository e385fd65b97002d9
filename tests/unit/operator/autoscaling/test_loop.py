"""The autoscaler's loop in virtual time: what it asks, sets and says, and that routes do not hold each other up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from chaski_core.errors import BackendRejectedError
from chaski_core.ports import QueueCounts
from chaski_core.route.resolved import Generation
from chaski_core.route.resolved_document import resolved_values
from chaski_operator.autoscaling.loop import Scaler
from chaski_operator.autoscaling.policy import Pods
from chaski_operator.autoscaling.scaler import Parts, ScalerIntervals
from chaski_runtime.observability.metrics.operator_metrics import OperatorMetrics
from support.metric_pages import value
from support.operator.scaling import (
    AWAY,
    DENIED,
    FakeCluster,
    FakeQueues,
    resolve,
    route_document,
    sweeper_of,
    workers_of,
)
from support.worker.memory_backend import LoopClock

pytestmark = pytest.mark.looptime

URL = "https://q/a-messages-0"
BUSY = Pods(1, full=1, lanes=128, subjects=128, attempt_seconds=1.0)


class Scene:
    """A cluster with a route `a`, its queues, and the metrics."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.queues = FakeQueues()
        self.metrics = OperatorMetrics()

    @asynccontextmanager
    async def running(self, pace: ScalerIntervals | None = None) -> AsyncIterator[None]:
        """While the autoscaler runs."""
        parts = Parts(
            cluster=self.cluster,
            read_queue=self.queues.read,
            ask_pods=self.cluster.ask_pods,
            workers_of=workers_of,
            sweeper_of=sweeper_of,
            metrics=self.metrics,
            clock=LoopClock(),
            pace=pace or ScalerIntervals(),
        )
        task = asyncio.create_task(Scaler(parts, lambda: 0.5).run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def scene() -> Scene:
    """Nothing in it yet."""
    return Scene()


async def test_a_backlog_scales_and_is_told(scene: Scene) -> None:
    """The Deployment, the status, the gauges and the counter say the same."""
    key = scene.cluster.add(route_document("a", autoscaling={"maxReplicas": 5}))
    scene.queues.told[URL] = QueueCounts(1_000_000, 128, 0)
    scene.cluster.pods["a-messages"] = BUSY
    async with scene.running():
        await asyncio.sleep(65)
        scene.cluster.pods["a-messages"] = replace(BUSY, told=2, full=2, lanes=256)
        await asyncio.sleep(65)
    assert scene.cluster.replicas == {"a-messages": 4, "a-retry": 1}
    assert scene.cluster.scaled == [("a-messages", 2), ("a-messages", 4)]
    assert scene.cluster.conditions(key) == {
        "Autoscaling": ("True", "Scaling"),
        "ScalingLimited": ("False", "NotLimited"),
        "Shortage": ("False", "NoShortage"),
        "NearExpiry": ("False", "NotNear"),
    }
    status = scene.cluster.documents[key]["status"]
    assert (status["backlog"], status["retrying"]) == (1_000_128, 0)
    row = next(each for each in status["queues"] if each["name"] == "messages")
    assert row == {
        "name": "messages", "visible": 1_000_000, "inFlight": 128, "delayed": 0, "replicas": 4, "desiredReplicas": 4,
        "notEmptySince": row["notEmptySince"],
    }  # fmt: skip
    labels = {"namespace": "ns", "route": "a", "queue": "messages"}
    assert value(scene.metrics, "chaski_replicas", state="wanted", **labels) == 4
    assert value(scene.metrics, "chaski_scaling_decisions_total", direction="up", **labels) == 2
    assert value(scene.metrics, "chaski_queue_messages", state="visible", **labels) == 1_000_000


async def test_one_subject_stays_at_one_pod_and_the_status_says_why(scene: Scene) -> None:
    """A sentence that a person understands."""
    key = scene.cluster.add(route_document("a"))
    scene.queues.told[URL] = QueueCounts(9_990, 10, 0)
    scene.cluster.pods["a-messages"] = Pods(1, lanes=1, subjects=1, attempt_seconds=1.0)
    async with scene.running():
        await asyncio.sleep(600)
    assert scene.cluster.scaled == [("a-retry", 0)]
    assert scene.cluster.conditions(key)["ScalingLimited"] == ("True", "MessageGroupsExhausted")
    assert scene.cluster.told == [("Normal", "MessageGroupsExhausted")]
    told = scene.cluster.documents[key]["status"]["conditions"][1]["message"]
    assert told == (
        '"messages": a subject is delivered by one lane at a time, and those that have messages fill 1 Pod of 64 lanes; '
        "more Pods can't help"
    )


async def test_what_pods_lack_is_a_condition_until_they_have_it(scene: Scene) -> None:
    """With the reason, the rule and what to do; told of once, and the replicas go on as before."""
    key = scene.cluster.add(route_document("a"))
    scene.queues.told[URL] = QueueCounts(10, 0, 0)
    scene.cluster.pods["a-messages"] = replace(BUSY, shortages=frozenset({("certificate", "crm")}))
    async with scene.running():
        await asyncio.sleep(35)
        assert scene.cluster.conditions(key)["Shortage"] == ("True", "Certificate")
        (condition,) = [
            each for each in scene.cluster.documents[key]["status"]["conditions"] if each["type"] == "Shortage"
        ]
        assert condition["message"].startswith('the workers of "messages" lack a certificate')
        assert "(rule crm)" in condition["message"]
        scene.cluster.pods["a-messages"] = BUSY
        await asyncio.sleep(35)
    assert scene.cluster.conditions(key)["Shortage"] == ("False", "NoShortage")


async def test_where_nothing_changes_nothing_is_written(scene: Scene) -> None:
    """One status for the first look, and no other write in an hour; the queues are asked at their pace."""
    scene.cluster.add(route_document("a", autoscaling={"minReplicas": 1}))
    async with scene.running():
        await asyncio.sleep(3_600)
    assert len(scene.cluster.written) == 1
    assert scene.cluster.scaled == []
    assert 350 <= scene.queues.calls.count(URL) <= 365
    assert 115 <= scene.queues.calls.count("https://q/a-rung-fast") <= 125


async def test_counts_are_written_once_a_minute(scene: Scene) -> None:
    """They change at every look."""
    scene.cluster.add(route_document("a", autoscaling={"mode": "Disabled"}))
    scene.cluster.pods["a-messages"] = BUSY

    async def fewer_and_fewer() -> QueueCounts:
        return QueueCounts(1_000_000 - len(scene.queues.calls), 0, 0)

    scene.queues.told[URL] = fewer_and_fewer
    async with scene.running():
        await asyncio.sleep(600)
    assert 9 <= len(scene.cluster.written) <= 11


@pytest.mark.promise(8)
@pytest.mark.parametrize(
    ("error", "condition"),
    [(DENIED, ("False", "MetricsAccessDenied")), (AWAY, ("Unknown", "MetricsUnavailable"))],
    ids=["denied", "away"],
)
async def test_a_queue_that_can_not_be_read_is_held_and_told_of(
    scene: Scene, error: Exception, condition: tuple[str, str]
) -> None:
    """From zero one Pod is started; what runs stays; the row shows no counts."""
    key = scene.cluster.add(route_document("a"), replicas=0)
    scene.cluster.replicas["a-retry"] = 6
    scene.queues.told[URL] = error
    scene.queues.told["https://q/a-rung-slow"] = error
    async with scene.running():
        await asyncio.sleep(900)
        told = [("Warning", condition[1])]
        assert scene.cluster.told == told
        assert scene.cluster.scaled == [("a-messages", 1)]
        assert scene.cluster.conditions(key)["Autoscaling"] == condition
        seen = scene.cluster.documents[key]["status"]
        scene.queues.told.clear()
        await asyncio.sleep(60)
    assert scene.cluster.told == [*told, ("Normal", "Scaling")]
    scene.cluster.documents[key]["status"] = seen
    rows = {row["name"]: row for row in scene.cluster.documents[key]["status"]["queues"]}
    assert rows["messages"] == {"name": "messages", "replicas": 1}
    assert "rung-slow" not in rows
    assert rows["rung-fast"]["visible"] == 0
    failures = value(scene.metrics, "chaski_scaling_failures_total", queue="messages", reason="counts")
    assert failures >= 80
    assert value(scene.metrics, "chaski_queue_messages", queue="messages") == 0


@pytest.mark.promise(9)
async def test_a_route_whose_queues_hang_delays_no_other(scene: Scene) -> None:
    """Twenty of them never answer; each look of the hundred others comes in time."""
    never = asyncio.Event()

    async def hang() -> QueueCounts:
        await never.wait()
        raise AssertionError

    for number in range(120):
        scene.cluster.add(route_document(f"r{number}"), replicas=0)
        if number < 20:
            scene.queues.told[f"https://q/r{number}-messages-0"] = hang
    async with scene.running():
        await asyncio.sleep(300)
    calls = [scene.queues.calls.count(f"https://q/r{number}-messages-0") for number in range(20, 120)]
    assert min(calls) >= 28


async def test_a_route_that_is_not_made_yet_or_on_its_way_out_is_left_alone(scene: Scene) -> None:
    """It has no queues, or they are being deleted."""
    scene.cluster.add(route_document("new", ready=False))
    going = route_document("going")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    scene.cluster.add(going)
    broken = route_document("broken")
    broken["spec"]["queues"] = []
    scene.cluster.documents["ns", "broken"] = broken
    async with scene.running():
        await asyncio.sleep(60)
        assert (scene.queues.calls, scene.cluster.written) == ([], [])
        scene.cluster.documents["ns", "new"] = route_document("new")
        await asyncio.sleep(5)
        assert scene.queues.calls == []  # its Deployments are not made yet
        scene.cluster.add(route_document("new"))
        await asyncio.sleep(5)
    assert "https://q/new-messages-0" in scene.queues.calls


async def test_a_route_that_is_gone_is_forgotten(scene: Scene) -> None:
    """Its gauges too."""
    key = scene.cluster.add(route_document("a"))
    async with scene.running():
        await asyncio.sleep(20)
        assert value(scene.metrics, "chaski_replicas", state="set") > 0
        del scene.cluster.documents[key]
        await asyncio.sleep(20)
        calls = len(scene.queues.calls)
        await asyncio.sleep(60)
    assert len(scene.queues.calls) == calls
    assert value(scene.metrics, "chaski_replicas", state="set") == 0


async def test_settings_that_somebody_changed_have_the_route_reconciled_at_once(scene: Scene) -> None:
    """Counts change at every look and mean nothing; a visibility timeout does."""
    key = scene.cluster.add(route_document("a"))
    async with scene.running():
        await asyncio.sleep(60)
        assert scene.cluster.reconciled == []
        scene.queues.settings[URL] = "1"
        await asyncio.sleep(60)
    assert scene.cluster.reconciled == [key]


async def test_a_route_that_is_to_be_left_alone_is(scene: Scene) -> None:
    """By the annotation that also stops the reconciler."""
    key = scene.cluster.add(route_document("a"), replicas=0)
    scene.queues.told[URL] = QueueCounts(5, 0, 0)
    scene.cluster.documents[key]["metadata"]["annotations"] = {"chaski.dev/reconcile": "disabled"}
    async with scene.running():
        await asyncio.sleep(60)
        assert (scene.queues.calls, scene.cluster.scaled) == ([], [])
        scene.cluster.documents[key]["metadata"]["annotations"] = {}
        await asyncio.sleep(60)
    assert scene.cluster.scaled == [("a-messages", 1)]


async def test_a_queue_that_is_gone_has_the_route_reconciled_once(scene: Scene) -> None:
    """It is made again by that; while that takes, nobody is pestered."""
    key = scene.cluster.add(route_document("a"))
    async with scene.running():
        await asyncio.sleep(60)
        scene.queues.told[URL] = BackendRejectedError("QueueDoesNotExist", "no such queue")
        await asyncio.sleep(60)
    assert scene.cluster.reconciled == [key]
    assert scene.cluster.conditions(key)["Autoscaling"] == ("Unknown", "MetricsUnavailable")


async def test_what_the_api_server_did_not_take_is_tried_again(scene: Scene) -> None:
    """It is away for a while."""
    scene.cluster.add(route_document("a"), replicas=0)
    scene.queues.told[URL] = QueueCounts(5, 0, 0)
    scene.cluster.away = True
    async with scene.running():
        await asyncio.sleep(60)
        assert value(scene.metrics, "chaski_scaling_failures_total", queue="messages", reason="apply") > 0
        scene.cluster.away = False
        await asyncio.sleep(60)
    assert scene.cluster.scaled == [("a-messages", 1)]
    assert scene.cluster.written


async def test_an_older_generation_counts_for_its_queue_and_has_a_row_of_its_own(scene: Scene) -> None:
    """Its messages keep the queue's Pods."""
    document = route_document("a")
    older = Generation(1, {"messages": ("https://q/old",)})
    document["status"] = {"resolved": resolved_values(resolve(document, older=[older]))}
    key = scene.cluster.add(document, replicas=0)
    scene.queues.told["https://q/old"] = QueueCounts(7, 0, 0)
    async with scene.running():
        await asyncio.sleep(60)
    assert scene.cluster.scaled == [("a-messages", 1)]
    rows = {row["name"]: row for row in scene.cluster.documents[key]["status"]["queues"]}
    assert (rows["messages.g1"]["visible"], rows["messages"]["visible"]) == (7, 0)
    assert value(scene.metrics, "chaski_queue_messages", queue="messages", state="visible") == 7


@pytest.mark.parametrize(
    ("mode", "condition"), [("External", ("True", "External")), ("Disabled", ("False", "Disabled"))]
)
async def test_replicas_that_are_not_ours_are_left_alone(scene: Scene, mode: str, condition: tuple[str, str]) -> None:
    """External shows the wanted number as a metric, for another autoscaler; Disabled shows none."""
    key = scene.cluster.add(route_document("a", autoscaling={"mode": mode}), replicas=0)
    scene.queues.told[URL] = QueueCounts(100, 0, 0)
    async with scene.running():
        await asyncio.sleep(60)
    assert scene.cluster.scaled == []
    assert scene.cluster.conditions(key)["Autoscaling"] == condition
    assert value(scene.metrics, "chaski_replicas", queue="messages", state="wanted") == (1 if mode == "External" else 0)


async def test_delayed_messages_wake_the_error_consumer_only_when_they_are_due_soon(scene: Scene) -> None:
    """Those of the slow rung, 900 s, are waited for without a Pod; those of the fast one are not."""
    scene.cluster.add(route_document("a"), replicas=0)
    scene.queues.told["https://q/a-rung-slow"] = QueueCounts(0, 0, 3)
    async with scene.running():
        await asyncio.sleep(120)
        assert scene.cluster.scaled == []
        scene.queues.told["https://q/a-rung-fast"] = QueueCounts(0, 0, 1)
        await asyncio.sleep(60)
    assert scene.cluster.scaled == [("a-retry", 1)]
