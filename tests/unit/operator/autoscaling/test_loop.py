"""The autoscaler's loop over all routes, in virtual time."""

import asyncio

import pytest

from chaski_core.ports import QueueCounts
from support.metric_pages import value
from support.operator.scaling import ScalingHarness, route_document

pytestmark = pytest.mark.looptime


@pytest.fixture
def harness() -> ScalingHarness:
    """An empty cluster."""
    return ScalingHarness()


@pytest.mark.promise(9)
async def test_route_whose_queues_hang_delays_no_other(harness: ScalingHarness) -> None:
    """Twenty never answer; every check of the hundred others is on time."""
    never = asyncio.Event()

    async def hang() -> QueueCounts:
        await never.wait()
        raise AssertionError

    for number in range(120):
        harness.cluster.add(route_document(f"r{number}"), replicas=0)
        if number < 20:
            harness.queues.counts[f"https://q/r{number}-messages-0"] = hang
    async with harness.running():
        await asyncio.sleep(300)
    calls = [harness.queues.calls.count(f"https://q/r{number}-messages-0") for number in range(20, 120)]
    assert min(calls) >= 28


async def test_route_without_queues_or_being_deleted_is_not_scaled(harness: ScalingHarness) -> None:
    """An invalid one neither."""
    harness.cluster.add(route_document("new", ready=False))
    deleted = route_document("deleted")
    deleted["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    harness.cluster.add(deleted)
    broken = route_document("broken")
    broken["spec"]["queues"] = []
    harness.cluster.documents["ns", "broken"] = broken
    async with harness.running():
        await asyncio.sleep(60)
        assert (harness.queues.calls, harness.cluster.written) == ([], [])
        harness.cluster.documents["ns", "new"] = route_document("new")
        await asyncio.sleep(5)
        assert harness.queues.calls == []  # its Deployments do not exist yet
        harness.cluster.add(route_document("new"))
        await asyncio.sleep(5)
    assert "https://q/new-messages-0" in harness.queues.calls


async def test_deleted_route_is_forgotten(harness: ScalingHarness) -> None:
    """Its gauges and counters too; made again, it is counted from zero."""
    key = harness.cluster.add(route_document("a"))
    async with harness.running():
        await asyncio.sleep(20)
        assert value(harness.metrics, "chaski_replicas", state="set") > 0
        harness.metrics.scaled(namespace=key[0], route=key[1], queue="messages", direction="up")
        del harness.cluster.documents[key]
        await asyncio.sleep(20)
        calls = len(harness.queues.calls)
        await asyncio.sleep(60)
    assert len(harness.queues.calls) == calls
    assert value(harness.metrics, "chaski_replicas", state="set") == 0
    assert value(harness.metrics, "chaski_scaling_decisions_total") == 0
