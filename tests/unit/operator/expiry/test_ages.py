"""The age of messages over weeks of virtual time, over restarts, and with queues that can't be read."""

import asyncio
from typing import Any

import pytest

from chaski_core.ports import QueueCounts
from chaski_core.timestamps import milliseconds
from chaski_operator.autoscaling.dependencies import ScalerIntervals
from chaski_operator.expiry.status import is_sweeping
from chaski_operator.manifests.names import sweeper_name
from chaski_operator.pods.worker_metrics import Pods
from support.metric_pages import value
from support.operator.scaling import DENIED, UNAVAILABLE, ScalingHarness, route_document
from support.worker.memory_backend import LoopClock

pytestmark = [pytest.mark.looptime, pytest.mark.promise(2)]

URL = "https://q/a-messages-0"
SLOW_RUNG = "https://q/a-rung-slow"
DAY = 86_400.0
IDLE = Pods(1)
WAITING = QueueCounts(3, 0, 0)


class AgingHarness(ScalingHarness):
    """A cluster with a route `a`, and operators one after the other."""

    age = 0.0  # days: chaski_queue_unserved_age_seconds at the end of the last operator

    def add(self, **spec: Any) -> None:
        """Adds the route, without a Pod."""
        self.cluster.add(route_document("a", **spec), replicas=0)

    async def days(self, number: float) -> None:
        """Runs a new operator for this number of days; it checks every ten minutes."""
        async with self.running(ScalerIntervals(check_seconds=600, roster_seconds=600)):
            await asyncio.sleep(number * DAY)
            self.age = value(self.metrics, "chaski_queue_unserved_age_seconds", queue="messages") / DAY

    @property
    def status(self) -> dict[str, Any]:
        """The route's status."""
        found: dict[str, Any] = self.cluster.documents["ns", "a"]["status"]
        return found

    @property
    def near_expiry(self) -> tuple[str, str]:
        """Status and reason of the condition."""
        return self.cluster.conditions(("ns", "a"))["NearExpiry"]

    @property
    def sweeps(self) -> bool:
        """Whether the reconciler creates the sweeper."""
        return is_sweeping(self.status)


@pytest.fixture
def harness() -> AgingHarness:
    """An empty cluster."""
    return AgingHarness()


ANY_SCALING = pytest.mark.parametrize(
    "spec",
    [
        {"autoscaling": {"mode": "External"}},
        {"autoscaling": {"mode": "Disabled"}},
        {"autoscaling": {"mode": "External"}, "suspend": {"delivery": True}},
        {"suspend": {"delivery": True}},  # one Pod is requested, and none ever runs
        {},  # likewise
    ],
    ids=["external", "disabled", "external and suspended", "suspended", "usual"],
)


@ANY_SCALING
async def test_queue_without_workers_gets_one_by_day_twelve(harness: AgingHarness, spec: dict[str, Any]) -> None:
    """Regardless of the route's scaling; a warning from day seven on; a restart of the operator loses nothing."""
    harness.add(**spec)
    await harness.days(0.5)
    assert harness.near_expiry == ("False", "NotNear")
    harness.queues.counts[URL] = WAITING
    await harness.days(3)
    assert 2.9 <= harness.age <= 3.3  # since the last check that found it empty and was written
    await harness.days(3.6)
    assert harness.near_expiry == ("False", "NotNear")
    await harness.days(0.5)
    assert harness.near_expiry == ("True", "Unserved")
    assert ("Warning", "Unserved") in harness.cluster.events
    assert 7 <= harness.age <= 7.4
    await harness.days(4.4)
    assert not harness.sweeps
    before = len(harness.cluster.reconciled)
    await harness.days(0.5)
    assert harness.sweeps
    assert len(harness.cluster.reconciled) == before + 1
    assert ("Warning", "Sweeping") in harness.cluster.events
    harness.cluster.pods[sweeper_name("a")] = Pods(1, oldest_received_age=12.2 * DAY)
    await harness.days(0.5)
    assert harness.sweeps
    harness.queues.counts[URL] = QueueCounts(0, 0, 0)  # all of them were dead-lettered
    await harness.days(0.2)
    assert not harness.sweeps
    assert len(harness.cluster.reconciled) == before + 2


async def test_sweeper_is_removed_once_it_has_seen_that_all_messages_are_younger(harness: AgingHarness) -> None:
    """A queue that is never seen empty counts as old when its workers are removed."""
    harness.add(autoscaling={"mode": "External"})
    harness.queues.counts[URL] = WAITING
    await harness.days(1)
    assert harness.sweeps  # it was never checked before: its messages may be of any age
    harness.cluster.pods[sweeper_name("a")] = Pods(1, oldest_received_age=2 * DAY)
    await harness.days(1)
    assert not harness.sweeps
    assert 2 <= harness.age <= 3.1


async def test_queue_whose_workers_answer_is_left_to_them(harness: AgingHarness) -> None:
    """They dead-letter messages older than thirteen days themselves, suspended or not."""
    harness.add(suspend={"delivery": True})
    harness.queues.counts[URL] = WAITING
    harness.cluster.pods["chaski-a-messages"] = IDLE
    await harness.days(16)
    assert (harness.near_expiry, harness.age) == (("False", "NotNear"), 0)


async def test_unresponsive_workers_count_as_no_workers(harness: AgingHarness) -> None:
    """They may crash because a Secret is missing."""
    harness.add(autoscaling={"minReplicas": 1})
    await harness.days(0.1)
    harness.queues.counts[URL] = WAITING
    harness.cluster.pods["chaski-a-messages"] = Pods(0, unresponsive=1)
    await harness.days(13)
    assert harness.cluster.replicas["chaski-a-messages"] == 1
    assert harness.sweeps


@pytest.mark.promise(8)
@pytest.mark.parametrize("error", [DENIED, UNAVAILABLE], ids=["denied", "unavailable"])
async def test_unreadable_queue_keeps_its_bound(harness: AgingHarness, error: Exception) -> None:
    """Its messages grow older all the same, even over the restart of an operator that has never read it."""
    harness.add(autoscaling={"mode": "External"})
    await harness.days(0.1)
    harness.queues.counts[URL] = WAITING
    await harness.days(4)
    since = next(each["notEmptySince"] for each in harness.status["queues"] if each["name"] == "messages")
    harness.queues.counts[URL] = error
    await harness.days(4)
    await harness.days(0.5)
    row = next(each for each in harness.status["queues"] if each["name"] == "messages")
    assert (row.get("notEmptySince"), "visible" in row) == (since, False)
    harness.queues.counts[URL] = WAITING
    await harness.days(0.5)
    kept = milliseconds(row["notEmptySince"])
    assert kept is not None
    assert kept <= LoopClock().now_ms() - 8 * DAY * 1000
    assert harness.near_expiry == ("True", "Unserved")


@pytest.mark.promise(8)
async def test_queue_that_was_never_read_starts_no_sweeper(harness: AgingHarness) -> None:
    """Nothing is known about it."""
    harness.add(autoscaling={"mode": "External"})
    harness.queues.counts[URL] = DENIED
    await harness.days(20)
    assert harness.near_expiry == ("False", "NotNear")


async def test_messages_on_a_rung_count_too(harness: AgingHarness) -> None:
    """The error-consumer may be scaled to zero by another autoscaler too."""
    harness.add(autoscaling={"mode": "External"})
    await harness.days(0.1)
    harness.queues.counts[SLOW_RUNG] = QueueCounts(0, 0, 2)
    await harness.days(12.3)
    assert harness.sweeps
    assert value(harness.metrics, "chaski_queue_unserved_age_seconds", queue="rung-slow") > 12 * DAY


async def test_first_message_after_empty_weeks_is_new(harness: AgingHarness) -> None:
    """Also after a restart of the operator: unchanged counts are written periodically."""
    harness.add(autoscaling={"mode": "External"})
    await harness.days(20)
    assert len(harness.cluster.written) <= 90
    harness.queues.counts[URL] = WAITING
    await harness.days(0.1)
    assert harness.age <= 0.5
