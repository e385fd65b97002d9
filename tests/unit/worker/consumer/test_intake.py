"""A consumer's limits, and its workload for the autoscaler."""

import asyncio

import pytest

from chaski_worker.consumer.intake import RECENT_SECONDS, IntakeLimiter, OldestReceived, WorkloadStats
from chaski_worker.shortage.detection import Shortage, ShortageReason
from support.clocks import StillClock
from support.metric_pages import value
from support.worker.harness import FakeTarget, WorkerHarness, make_route
from support.worker.memory_backend import LoopClock


async def test_polling_waits_at_either_limit() -> None:
    """Lanes or bytes: whichever is reached first."""
    intake = IntakeLimiter(max_lanes=2, max_bytes=100)
    intake.acquire(10)
    assert not intake.full
    intake.acquire(10)
    assert intake.full
    intake.release(10)
    intake.acquire(95)
    assert intake.full
    intake.release(95)
    await asyncio.wait_for(intake.wait(), 1)
    assert (intake.lanes, intake.bytes) == (1, 10)


def test_lanes_that_a_shortage_blocks_are_parked_for_the_sake_of_others() -> None:
    """A shortage of all targets blocks until polling has stopped; one of a single rule blocks half of the lanes at most."""
    intake = IntakeLimiter(max_lanes=128, max_bytes=1_000)
    general = Shortage(ShortageReason.DESCRIPTORS, "", "t")
    of_one = [Shortage(reason, "", "t") for reason in (ShortageReason.CERTIFICATE, ShortageReason.PORTS)]
    crowded: dict[int, list[bool]] = {}
    for lanes in range(1, 129):
        intake.acquire(1)
        crowded[lanes] = [intake.is_crowded(shortage) for shortage in (general, *of_one)]
    assert {lanes: crowded[lanes] for lanes in (64, 65, 127, 128)} == {
        64: [False, False, False],
        65: [False, True, True],
        127: [False, True, True],
        128: [True, True, True],
    }


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


def test_the_mean_follows_the_last_dozens_of_attempts() -> None:
    """It is unknown before the first."""
    workload = WorkloadStats(StillClock())
    assert workload.mean_attempt_seconds is None
    workload.observe_attempt(1.0)
    assert workload.mean_attempt_seconds == 1.0
    for _ in range(100):
        workload.observe_attempt(0.1)
    assert workload.mean_attempt_seconds == pytest.approx(0.1, abs=0.01)


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
