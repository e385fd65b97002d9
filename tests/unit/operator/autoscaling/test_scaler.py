"""The autoscaler of a route, in virtual time: what it reads, sets and reports."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from chaski_core.errors import BackendRejectedError
from chaski_core.ports import QueueCounts
from chaski_core.route.resolved import Generation
from chaski_core.route.resolved_document import resolved_values
from chaski_operator.pods.worker_metrics import Pods
from support.metric_pages import value
from support.operator.scaling import DENIED, UNAVAILABLE, ScalingHarness, resolve, route_document

pytestmark = pytest.mark.looptime

URL = "https://q/a-messages-0"
BUSY = Pods(1, full=1, lanes=128, subjects=128, attempt_seconds=1.0)


@pytest.fixture
def harness() -> ScalingHarness:
    """An empty cluster."""
    return ScalingHarness()


async def test_backlog_scales_and_is_reported(harness: ScalingHarness) -> None:
    """The Deployment, the status, the gauges and the counter agree."""
    key = harness.cluster.add(route_document("a", autoscaling={"maxReplicas": 5}))
    harness.queues.counts[URL] = QueueCounts(1_000_000, 128, 0)
    harness.cluster.pods["chaski-a-messages"] = BUSY
    async with harness.running():
        await asyncio.sleep(65)
        harness.cluster.pods["chaski-a-messages"] = replace(BUSY, reporting=2, full=2, lanes=256)
        await asyncio.sleep(65)
    assert harness.cluster.replicas == {"chaski-a-messages": 4, "chaski-a-retry": 1}
    assert harness.cluster.scaled == [("chaski-a-messages", 2), ("chaski-a-messages", 4)]
    assert harness.cluster.conditions(key) == {
        "Autoscaling": ("True", "Scaling"),
        "ScalingLimited": ("False", "NotLimited"),
        "Shortage": ("False", "NoShortage"),
        "TargetsHeld": ("False", "NotHeld"),
        "NearExpiry": ("False", "NotNear"),
    }
    status = harness.cluster.documents[key]["status"]
    assert (status["backlog"], status["retrying"]) == (1_000_128, 0)
    row = next(each for each in status["queues"] if each["name"] == "messages")
    assert row == {
        "name": "messages", "visible": 1_000_000, "inFlight": 128, "delayed": 0, "replicas": 4, "desiredReplicas": 4,
        "notEmptySince": row["notEmptySince"],
    }  # fmt: skip
    labels = {"namespace": "ns", "route": "a", "queue": "messages"}
    assert value(harness.metrics, "chaski_replicas", state="wanted", **labels) == 4
    assert value(harness.metrics, "chaski_scaling_decisions_total", direction="up", **labels) == 2
    assert value(harness.metrics, "chaski_queue_messages", state="visible", **labels) == 1_000_000


async def test_one_subject_stays_at_one_pod_with_the_reason_in_the_status(harness: ScalingHarness) -> None:
    """More Pods would not help."""
    key = harness.cluster.add(route_document("a"))
    harness.queues.counts[URL] = QueueCounts(9_990, 10, 0)
    harness.cluster.pods["chaski-a-messages"] = Pods(1, lanes=1, subjects=1, attempt_seconds=1.0)
    async with harness.running():
        await asyncio.sleep(600)
    assert harness.cluster.scaled == [("chaski-a-retry", 0)]
    assert harness.cluster.conditions(key)["ScalingLimited"] == ("True", "MessageGroupsExhausted")
    assert harness.cluster.events == [("Normal", "MessageGroupsExhausted")]
    message = harness.cluster.documents[key]["status"]["conditions"][1]["message"]
    assert message == (
        '"messages": a subject is delivered by one lane at a time, and the subjects with messages fill 1 Pod of 64 lanes; '
        "more Pods would not help"
    )


async def test_held_targets_are_a_condition_rows_and_events(harness: ScalingHarness) -> None:
    """As the Pods report them and the spec suspends them; waits that a target asks for are in the rows only."""
    document = route_document("a", targets={"allow": [{"name": "crm", "url": "https://crm.example/", "suspend": True}]})
    key = harness.cluster.add(document)
    harness.queues.counts[URL] = QueueCounts(10, 0, 0)
    held = frozenset({("Breaker", "partners"), ("RetryAfter", "busy")})
    harness.cluster.pods["chaski-a-messages"] = replace(BUSY, holds=held)
    async with harness.running():
        await asyncio.sleep(35)
        status = harness.cluster.documents[key]["status"]
        assert harness.cluster.conditions(key)["TargetsHeld"] == ("True", "Several")
        rows = {row["name"]: row["reasons"] for row in status["targets"]}
        assert rows == {"busy": ["RetryAfter"], "crm": ["Suspended"], "partners": ["Breaker"]}
        assert harness.cluster.events == [("Normal", "TargetHeld"), ("Warning", "TargetHeld")]
        since = {row["name"]: row["heldSince"] for row in status["targets"]}
        harness.cluster.pods["chaski-a-messages"] = Pods(0, unresponsive=1)
        await asyncio.sleep(65)
        assert harness.cluster.conditions(key)["TargetsHeld"] == ("True", "Several"), "unknown is not the end of a hold"
        harness.cluster.pods["chaski-a-messages"] = replace(BUSY, holds=frozenset({("RetryAfter", "partners")}))
        await asyncio.sleep(130)
        status = harness.cluster.documents[key]["status"]
        assert harness.cluster.conditions(key)["TargetsHeld"] == ("True", "Suspended")
        assert {row["name"]: row["reasons"] for row in status["targets"]} == {
            "crm": ["Suspended"],
            "partners": ["RetryAfter"],
        }
        assert {row["heldSince"] for row in status["targets"]} == {since["crm"]}
        assert [each for each in harness.cluster.events if each[1].startswith("Target")] == [
            ("Normal", "TargetHeld"),
            ("Warning", "TargetHeld"),
            ("Normal", "TargetReleased"),
        ]


async def test_a_backlog_that_is_held_starts_no_pods_and_keeps_one(harness: ScalingHarness) -> None:
    """Workers count no subject that waits for a held host; the last Pod stays, because it knows what is held."""
    harness.cluster.add(route_document("a"))
    harness.queues.counts[URL] = QueueCounts(100_000, 5_000, 0)
    pods = Pods(1, lanes=1, subjects=1, attempt_seconds=30.0, holds=frozenset({("Breaker", "crm")}))
    harness.cluster.pods["chaski-a-messages"] = pods
    async with harness.running():
        await asyncio.sleep(600)
        harness.queues.counts[URL] = QueueCounts(0, 5_000, 0)
        harness.cluster.pods["chaski-a-messages"] = replace(pods, lanes=0, subjects=0)
        await asyncio.sleep(1_200)
    assert harness.cluster.replicas["chaski-a-messages"] == 1
    assert all(name != "chaski-a-messages" for name, _ in harness.cluster.scaled)


async def test_shortage_is_a_condition_while_it_lasts(harness: ScalingHarness) -> None:
    """With the reason, the rule and the remedy; the replicas are not affected."""
    key = harness.cluster.add(route_document("a"))
    harness.queues.counts[URL] = QueueCounts(10, 0, 0)
    harness.cluster.pods["chaski-a-messages"] = replace(BUSY, shortages=frozenset({("certificate", "crm")}))
    async with harness.running():
        await asyncio.sleep(35)
        assert harness.cluster.conditions(key)["Shortage"] == ("True", "Certificate")
        (condition,) = [
            each for each in harness.cluster.documents[key]["status"]["conditions"] if each["type"] == "Shortage"
        ]
        assert '"messages"' in condition["message"]
        assert "clientCertSecretName" in condition["message"]
        assert "(rule crm)" in condition["message"]
        harness.cluster.pods["chaski-a-messages"] = BUSY
        await asyncio.sleep(35)
    assert harness.cluster.conditions(key)["Shortage"] == ("False", "NoShortage")


async def test_no_change_means_no_write(harness: ScalingHarness) -> None:
    """One status after the first check, no other write in an hour; queues are read at their intervals."""
    harness.cluster.add(route_document("a", autoscaling={"minReplicas": 1}))
    async with harness.running():
        await asyncio.sleep(3_600)
    assert len(harness.cluster.written) == 1
    assert harness.cluster.scaled == []
    assert 350 <= harness.queues.calls.count(URL) <= 365
    assert 115 <= harness.queues.calls.count("https://q/a-rung-fast") <= 125


async def test_restart_alone_writes_nothing(harness: ScalingHarness) -> None:
    """A thousand routes would otherwise be written at each start; changed counts are, a minute after the last ones."""
    harness.cluster.add(route_document("a", autoscaling={"minReplicas": 1}))
    async with harness.running():
        await asyncio.sleep(30)
    for _ in range(3):
        async with harness.running():
            await asyncio.sleep(100)
    assert len(harness.cluster.written) == 1
    harness.queues.counts[URL] = QueueCounts(7, 0, 0)
    async with harness.running():
        await asyncio.sleep(20)
    assert len(harness.cluster.written) == 2


async def test_counts_are_written_once_a_minute(harness: ScalingHarness) -> None:
    """They change with every check."""
    harness.cluster.add(route_document("a", autoscaling={"mode": "Disabled"}))
    harness.cluster.pods["chaski-a-messages"] = BUSY

    async def decreasing() -> QueueCounts:
        return QueueCounts(1_000_000 - len(harness.queues.calls), 0, 0)

    harness.queues.counts[URL] = decreasing
    async with harness.running():
        await asyncio.sleep(600)
    assert 9 <= len(harness.cluster.written) <= 11


@pytest.mark.promise(8)
@pytest.mark.parametrize(
    ("error", "condition"),
    [(DENIED, ("False", "MetricsAccessDenied")), (UNAVAILABLE, ("Unknown", "MetricsUnavailable"))],
    ids=["denied", "unavailable"],
)
async def test_unreadable_queue_is_held_and_reported(
    harness: ScalingHarness, error: Exception, condition: tuple[str, str]
) -> None:
    """From zero one Pod is started; running Pods stay; the row has no counts."""
    key = harness.cluster.add(route_document("a"), replicas=0)
    harness.cluster.replicas["chaski-a-retry"] = 6
    harness.queues.counts[URL] = error
    harness.queues.counts["https://q/a-rung-slow"] = error
    async with harness.running():
        await asyncio.sleep(900)
        lost = [("Warning", condition[1])]
        assert harness.cluster.events == lost
        assert harness.cluster.scaled == [("chaski-a-messages", 1)]
        assert harness.cluster.conditions(key)["Autoscaling"] == condition
        seen = harness.cluster.documents[key]["status"]
        harness.queues.counts.clear()
        await asyncio.sleep(60)
    assert harness.cluster.events == [*lost, ("Normal", "Scaling")]
    harness.cluster.documents[key]["status"] = seen
    rows = {row["name"]: row for row in harness.cluster.documents[key]["status"]["queues"]}
    assert rows["messages"] == {"name": "messages", "replicas": 1}
    assert "rung-slow" not in rows
    assert rows["rung-fast"]["visible"] == 0
    failures = value(harness.metrics, "chaski_scaling_failures_total", queue="messages", reason="counts")
    assert failures >= 80
    assert value(harness.metrics, "chaski_queue_messages", queue="messages") == 0


async def test_changed_queue_settings_trigger_a_reconciliation(harness: ScalingHarness) -> None:
    """Changed counts do not; a changed visibility timeout does."""
    key = harness.cluster.add(route_document("a"))
    async with harness.running():
        await asyncio.sleep(60)
        assert harness.cluster.reconciled == []
        harness.queues.settings[URL] = "1"
        await asyncio.sleep(60)
    assert harness.cluster.reconciled == [key]


async def test_paused_route_is_not_scaled(harness: ScalingHarness) -> None:
    """The annotation also pauses the reconciler."""
    key = harness.cluster.add(route_document("a"), replicas=0)
    harness.queues.counts[URL] = QueueCounts(5, 0, 0)
    harness.cluster.documents[key]["metadata"]["annotations"] = {"chaski.dev/reconcile": "disabled"}
    async with harness.running():
        await asyncio.sleep(60)
        assert (harness.queues.calls, harness.cluster.scaled) == ([], [])
        harness.cluster.documents[key]["metadata"]["annotations"] = {}
        await asyncio.sleep(60)
    assert harness.cluster.scaled == [("chaski-a-messages", 1)]


def judged(document: dict[str, Any], status: str, reason: str) -> dict[str, Any]:
    """The route with this verdict in its status."""
    condition = {"type": "Accepted", "status": status, "reason": reason, "observedGeneration": 1, "message": ""}
    document["status"]["conditions"] = [condition]
    return document


@pytest.mark.promise(2)
async def test_a_route_that_policies_deny_has_one_pod_for_its_messages(harness: ScalingHarness) -> None:
    """As a suspended one, whatever its spec declares; the Pod stores what SQS is about to delete."""
    denied = judged(route_document("a", autoscaling={"minReplicas": 50, "maxReplicas": 1000}), "False", "PolicyDenied")
    harness.cluster.add(denied, replicas=0)
    harness.queues.counts[URL] = QueueCounts(1_000_000, 0, 0)
    harness.cluster.pods["chaski-a-messages"] = BUSY
    async with harness.running():
        await asyncio.sleep(120)
    assert harness.cluster.replicas == {"chaski-a-messages": 1, "chaski-a-retry": 0}


async def test_a_spec_that_can_not_be_judged_scales_nothing(harness: ScalingHarness) -> None:
    """It could declare more than policies allow; a new operator does not know what was accepted before."""
    document = route_document("a", autoscaling={"minReplicas": 50, "maxReplicas": 1000})
    harness.cluster.add(judged(document, "Unknown", "PoliciesUnknown"), replicas=2)
    harness.queues.counts[URL] = QueueCounts(1_000_000, 0, 0)
    async with harness.running():
        await asyncio.sleep(60)
        assert harness.cluster.scaled == []
        judged(document, "True", "Valid")
        await asyncio.sleep(60)
    assert harness.cluster.scaled[0] == ("chaski-a-messages", 50)


async def test_deleted_queue_triggers_one_reconciliation(harness: ScalingHarness) -> None:
    """Which creates it again; no further one meanwhile."""
    key = harness.cluster.add(route_document("a"))
    async with harness.running():
        await asyncio.sleep(60)
        harness.queues.counts[URL] = BackendRejectedError("QueueDoesNotExist", "no such queue")
        await asyncio.sleep(60)
    assert harness.cluster.reconciled == [key]
    assert harness.cluster.conditions(key)["Autoscaling"] == ("Unknown", "MetricsUnavailable")


async def test_write_that_the_api_server_refused_is_retried(harness: ScalingHarness) -> None:
    """It is unavailable for a minute."""
    harness.cluster.add(route_document("a"), replicas=0)
    harness.queues.counts[URL] = QueueCounts(5, 0, 0)
    harness.cluster.unavailable = True
    async with harness.running():
        await asyncio.sleep(60)
        assert value(harness.metrics, "chaski_scaling_failures_total", queue="messages", reason="apply") > 0
        harness.cluster.unavailable = False
        await asyncio.sleep(60)
    assert harness.cluster.scaled == [("chaski-a-messages", 1)]
    assert harness.cluster.written


async def test_older_generation_counts_for_its_queue_and_has_its_own_row(harness: ScalingHarness) -> None:
    """Its messages start the queue's Pods."""
    document = route_document("a")
    older = Generation(1, {"messages": ("https://q/old",)})
    document["status"] = {"resolved": resolved_values(resolve(document, older=[older]))}
    key = harness.cluster.add(document, replicas=0)
    harness.queues.counts["https://q/old"] = QueueCounts(7, 0, 0)
    async with harness.running():
        await asyncio.sleep(60)
    assert harness.cluster.scaled == [("chaski-a-messages", 1)]
    rows = {row["name"]: row for row in harness.cluster.documents[key]["status"]["queues"]}
    assert (rows["messages.g1"]["visible"], rows["messages"]["visible"]) == (7, 0)
    assert value(harness.metrics, "chaski_queue_messages", queue="messages", state="visible") == 7


@pytest.mark.parametrize(
    ("mode", "condition"), [("External", ("True", "External")), ("Disabled", ("False", "Disabled"))]
)
async def test_modes_external_and_disabled_set_no_replicas(
    harness: ScalingHarness, mode: str, condition: tuple[str, str]
) -> None:
    """External exports the wanted number as a metric for another autoscaler; Disabled does not."""
    key = harness.cluster.add(route_document("a", autoscaling={"mode": mode}), replicas=0)
    harness.queues.counts[URL] = QueueCounts(100, 0, 0)
    async with harness.running():
        await asyncio.sleep(60)
    assert harness.cluster.scaled == []
    assert harness.cluster.conditions(key)["Autoscaling"] == condition
    assert value(harness.metrics, "chaski_replicas", queue="messages", state="wanted") == (
        1 if mode == "External" else 0
    )


async def test_delayed_messages_start_the_error_consumer_only_when_due_soon(harness: ScalingHarness) -> None:
    """Those of the slow rung, 900 s, start no Pod; those of the fast one do."""
    harness.cluster.add(route_document("a"), replicas=0)
    harness.queues.counts["https://q/a-rung-slow"] = QueueCounts(0, 0, 3)
    async with harness.running():
        await asyncio.sleep(120)
        assert harness.cluster.scaled == []
        harness.queues.counts["https://q/a-rung-fast"] = QueueCounts(0, 0, 1)
        await asyncio.sleep(60)
    assert harness.cluster.scaled == [("chaski-a-retry", 1)]
