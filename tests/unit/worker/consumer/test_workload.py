"""What a worker tells the autoscaler: how many subjects there are, and how long an attempt takes."""

import asyncio

import pytest

from chaski_worker.consumer.workload import RECENT_SECONDS, WorkloadStats
from support.clocks import StillClock
from support.metric_pages import value
from support.worker.harness import FakeTarget, World, make_route


def test_a_subject_counts_while_it_is_held_and_for_a_minute() -> None:
    """Each once, however often it comes."""
    clock = StillClock()
    load = WorkloadStats(clock)
    for subject in "aab":
        load.met(("queue", subject))
    assert load.subjects(set()) == 2
    assert load.subjects({("queue", "b"), ("queue", "c")}) == 3
    clock.pass_time(RECENT_SECONDS / 2)
    load.met(("queue", "a"))
    clock.pass_time(RECENT_SECONDS / 2 + 1)
    assert load.subjects(set()) == 1
    assert load.subjects({("queue", "b")}) == 2


def test_the_number_of_subjects_is_bounded() -> None:
    """The memory for them is."""
    load = WorkloadStats(StillClock())
    for number in range(10_050):
        load.met(("queue", str(number)))
    assert load.subjects(set()) == 10_000


def test_the_mean_follows_the_last_dozens_of_attempts() -> None:
    """It is unknown before the first."""
    load = WorkloadStats(StillClock())
    assert load.attempt_seconds is None
    load.attempted(1.0)
    assert load.attempt_seconds == 1.0
    for _ in range(100):
        load.attempted(0.1)
    assert load.attempt_seconds == pytest.approx(0.1, abs=0.01)


@pytest.mark.looptime
async def test_a_worker_shows_its_load() -> None:
    """Thirty subjects, each attempt takes 2 s."""

    async def slow(*_: object) -> int:
        await asyncio.sleep(2)
        return 200

    world = World(make_route(), FakeTarget(slow))
    for number in range(30):
        await world.send(f"s{number}", 0)
    world.start()
    await asyncio.sleep(1)
    assert value(world.metrics, "chaski_subjects", queue="messages") == 30
    await world.settled()
    assert value(world.metrics, "chaski_attempt_mean_seconds", queue="messages") == pytest.approx(2.0)
    await world.stop()
