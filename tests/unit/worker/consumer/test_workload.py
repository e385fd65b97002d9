"""A consumer's workload for the autoscaler."""

import asyncio

import pytest

from chaski_worker.consumer.consumer import RECENT_SECONDS, OldestReceived, WorkloadStats
from support.clocks import StillClock
from support.metric_pages import value
from support.worker.harness import FakeTarget, WorkerHarness, make_route
from support.worker.memory_backend import LoopClock


def test_a_subject_counts_while_it_is_held_and_for_a_minute() -> None:
    """Each is counted once, however often it is received."""
    clock = StillClock()
    workload = WorkloadStats(clock)
    for subject in "aab":
        workload.observe_subject(("queue", subject))
    assert workload.active_subjects(set()) == 2
    assert workload.active_subjects({("queue", "b"), ("queue", "c")}) == 3
    clock.pass_time(RECENT_SECONDS / 2)
    workload.observe_subject(("queue", "a"))
    clock.pass_time(RECENT_SECONDS / 2 + 1)
    assert workload.active_subjects(set()) == 1
    assert workload.active_subjects({("queue", "b")}) == 2


def test_the_number_of_subjects_is_bounded() -> None:
    """So is the memory for them."""
    workload = WorkloadStats(StillClock())
    for number in range(10_050):
        workload.observe_subject(("queue", str(number)))
    assert workload.active_subjects(set()) == 10_000


@pytest.mark.looptime
async def test_a_worker_shows_its_workload() -> None:
    """Thirty subjects, each attempt takes 2 s."""

    async def slow(*_: object) -> int:
        await asyncio.sleep(2)
        return 200

    harness = WorkerHarness(make_route(), FakeTarget(slow))
    for number in range(30):
        await harness.send(f"s{number}", 0)
    harness.start()
    await asyncio.sleep(1)
    assert value(harness.metrics, "chaski_subjects", queue="messages") == 30
    await harness.wait_until_empty()
    assert value(harness.metrics, "chaski_attempt_mean_seconds", queue="messages") == pytest.approx(2.0)
    await harness.stop()


@pytest.mark.looptime
@pytest.mark.promise(2)
async def test_oldest_received_is_forgotten_after_one_to_two_windows() -> None:
    """So that an old message that was delivered does not count as waiting."""
    harness = WorkerHarness(make_route(), FakeTarget(lambda *_: 200))
    await harness.send_to("mem://p0", "a")
    messages = await harness.backend.queue("mem://p0").receive(
        max_messages=10, wait_seconds=0, visibility_seconds=1, attempt_id=""
    )
    received = OldestReceived(LoopClock(), 600)
    received.observe("q", messages)
    assert received.oldest(["q", "other"]) == messages[0].sent_at
    await asyncio.sleep(900)
    assert received.oldest(["q"]) == messages[0].sent_at
    await asyncio.sleep(400)
    assert received.oldest(["q"]) is None
