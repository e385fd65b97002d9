"""How often the counts of queues are read, in virtual time: calls to SQS cost money, and an idle route should cost none."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from chaski_core.errors import BackendRejectedError
from chaski_core.ports import QueueCounts
from chaski_operator.pods.ingest_activity import Report
from chaski_operator.pods.worker_metrics import Pods
from support.operator.scaling import ScalingHarness, route_document

pytestmark = pytest.mark.looptime

URL = "https://q/a-messages-0"
DEFAULT_RUNGS: dict[str, Any] = {
    "rungs": [{"name": f"r{number}", "delaySeconds": 5 + number} for number in range(6)],
    "ladders": [{"class": "any", "rungs": ["r0"]}],
}


@pytest.fixture
def harness() -> ScalingHarness:
    """An empty cluster, all of whose Pods of ingest report."""
    made = ScalingHarness()
    made.reported = True
    return made


async def calls_in_an_hour(harness: ScalingHarness) -> int:
    """Readings of counts."""
    before = len(harness.queues.calls)
    await asyncio.sleep(3_600)
    return len(harness.queues.calls) - before


async def test_an_idle_route_is_read_four_times_an_hour(harness: ScalingHarness) -> None:
    """One partition and six rungs without Pods; it counts as idle only after three minutes without a message."""
    key = harness.cluster.add(route_document("a", retry=DEFAULT_RUNGS), replicas=0)
    async with harness.running():
        await asyncio.sleep(170)
        assert harness.idle == set()
        assert 16 <= harness.queues.calls.count(URL) <= 19
        await asyncio.sleep(30)
        assert harness.idle == {key}
        assert 24 <= await calls_in_an_hour(harness) <= 32
    assert harness.idle == set(), "nobody notes what is put on queues any more"


@pytest.mark.promise(8)
async def test_a_route_is_read_as_usual_while_a_pod_of_ingest_is_silent(harness: ScalingHarness) -> None:
    """What ingest does not report is unknown, not nothing."""
    harness.reported = False
    harness.cluster.add(route_document("a", retry=DEFAULT_RUNGS), replicas=0)
    async with harness.running():
        await asyncio.sleep(600)
        assert harness.idle == set()
        assert await calls_in_an_hour(harness) >= 340 + 6 * 110


@pytest.mark.promise(2)
async def test_the_first_message_starts_a_pod_at_once(harness: ScalingHarness) -> None:
    """Without a call to SQS, whose counts may not show it for a minute; the Pod stays until it has polled."""
    harness.cluster.add(route_document("a", autoscaling={"scaleToZeroAfterSeconds": 60}), replicas=0)
    harness.cluster.add(route_document("b"), replicas=0)
    async with harness.running():
        await asyncio.sleep(600)
        calls = len(harness.queues.calls)
        harness.note(Report(accepted=frozenset({URL, "https://q/deleted"})))
        await asyncio.sleep(0.1)
        assert harness.cluster.scaled == [("chaski-a-messages", 1)]
        assert harness.queues.calls[calls:].count(URL) == 0
        await asyncio.sleep(100)
        assert harness.cluster.replicas["chaski-a-messages"] == 1
        assert harness.queues.calls[calls:].count(URL) >= 9
        assert harness.queues.calls[calls:].count("https://q/b-messages-0") == 0
        harness.cluster.pods["chaski-a-messages"] = Pods(1)
        await asyncio.sleep(100)
        assert harness.cluster.replicas["chaski-a-messages"] == 0


@pytest.mark.promise(2)
@pytest.mark.parametrize("report", [Report(uncertain=frozenset({URL})), Report(lost=True)])
async def test_what_may_be_on_a_queue_has_it_read(harness: ScalingHarness, report: Report) -> None:
    """After a call that failed, and after a Pod that was killed; for three minutes, since counts lag. No Pod is started for nothing."""
    harness.cluster.add(route_document("a"), replicas=0)
    async with harness.running():
        await asyncio.sleep(1_000)
        calls = harness.queues.calls.count(URL)
        harness.note(report)
        await asyncio.sleep(60)
        assert harness.queues.calls.count(URL) - calls >= 5
        assert harness.cluster.scaled == []
        harness.queues.counts[URL] = QueueCounts(1, 0, 0)
        await asyncio.sleep(20)
    assert harness.cluster.scaled == [("chaski-a-messages", 1)]


async def test_messages_put_on_sqs_directly_are_found_within_a_quarter_of_an_hour(harness: ScalingHarness) -> None:
    """And a change of the spec at once."""
    key = harness.cluster.add(route_document("a"), replicas=0)
    async with harness.running():
        await asyncio.sleep(1_000)
        harness.queues.counts[URL] = QueueCounts(1, 0, 0)
        await asyncio.sleep(920)
        assert harness.cluster.scaled == [("chaski-a-messages", 1)]
        harness.queues.counts.clear()
        await asyncio.sleep(3_000)
        assert harness.cluster.replicas["chaski-a-messages"] == 0
        document = harness.cluster.documents[key]
        document["metadata"]["generation"] = 2
        document["spec"]["autoscaling"] = {"minReplicas": 2}
        await asyncio.sleep(15)
    assert harness.cluster.replicas["chaski-a-messages"] == 2


async def test_a_deleted_queue_of_an_idle_route_is_reconciled(harness: ScalingHarness) -> None:
    """Ingest's calls to it fail, so it is read."""
    key = harness.cluster.add(route_document("a"), replicas=0)
    async with harness.running():
        await asyncio.sleep(1_000)
        harness.queues.counts[URL] = BackendRejectedError("QueueDoesNotExist", "gone")
        harness.note(Report(uncertain=frozenset({URL})))
        await asyncio.sleep(15)
    assert harness.cluster.reconciled == [key]


async def test_pods_that_hold_nothing_poll_more_often_than_counts_are_read(harness: ScalingHarness) -> None:
    """Two partitions and two rungs, one Pod each: 180 long polls an hour of each queue. Once they hold something, at once."""
    harness.cluster.add(route_document("a", queues=[{"name": "messages", "partitions": 2}]))
    quiet = Pods(1, attempts=7)
    harness.cluster.pods |= {"chaski-a-messages": quiet, "chaski-a-retry": quiet}
    harness.cluster.documents["ns", "a"]["spec"]["autoscaling"] = {"minReplicas": 1}
    async with harness.running():
        await asyncio.sleep(600)
        assert await calls_in_an_hour(harness) <= 4 * 180 / 2
        before = harness.queues.calls.count(URL)
        harness.cluster.pods["chaski-a-messages"] = replace(quiet, lanes=1, attempts=8)
        await asyncio.sleep(60)
        assert harness.queues.calls.count(URL) - before >= 5


@pytest.mark.parametrize("lanes", [0, 640])
async def test_a_route_with_many_queues_costs_no_more_than_1500_readings_an_hour(
    harness: ScalingHarness, lanes: int
) -> None:
    """Four queues with four partitions each and three rungs, ten Pods: idle, and busy."""
    rungs = DEFAULT_RUNGS | {"rungs": DEFAULT_RUNGS["rungs"][:3]}
    queues = [{"name": "a", "partitions": 4}]
    queues += [{"name": name, "partitions": 4, "subjects": [f"{name}-*"]} for name in "bcd"]
    harness.cluster.add(route_document("a", queues=queues, retry=rungs, autoscaling={"minReplicas": 2}), replicas=2)
    for name in (*"abcd", "retry"):
        harness.cluster.pods[f"chaski-a-{name}"] = Pods(2, lanes=lanes, subjects=lanes, attempts=lanes)
    async with harness.running():
        await asyncio.sleep(600)
        assert await calls_in_an_hour(harness) <= 1_500
