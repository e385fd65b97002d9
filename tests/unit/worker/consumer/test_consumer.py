"""A consumer's polls, lanes, limits and stop, in virtual time with the real FIFO rules."""

import asyncio
import dataclasses
import itertools
import random
import statistics

import pytest

from chaski_core.route.model import Ordering
from chaski_worker.settings import SQS_SETTINGS, WorkerSettings
from support.worker.harness import FakeTarget, WorkerHarness, make_route

pytestmark = pytest.mark.looptime

SETTINGS = dataclasses.replace(SQS_SETTINGS, observe_interval_seconds=0)
BOTH = pytest.mark.parametrize("ordering", [Ordering.RELAXED, Ordering.STRICT], ids=str)
NO_HEARTBEAT = WorkerSettings(renew_below=-1, observe_interval_seconds=0)


def sqs_calls(harness: WorkerHarness) -> int:
    """Calls of the worker: all but the test's own sends and counts."""
    actions = ("receive", "delete", "change_visibility")
    return sum(queue.calls[action] for queue in harness.backend.queues.values() for action in actions)


async def test_an_idle_queue_costs_one_long_poll() -> None:
    """Ten minutes without messages: thirty polls of twenty seconds for each queue."""
    harness = WorkerHarness(make_route(), FakeTarget(lambda *_: 200), SETTINGS)
    harness.start()
    await asyncio.sleep(600)
    assert max(queue.calls["receive"] for queue in harness.backend.queues.values()) <= 31
    await harness.stop()


async def test_a_trickle_is_batched_with_low_latency() -> None:
    """100 messages a second of many subjects: fewer than 1.3 calls a message, at most 50 ms of added latency."""
    harness = WorkerHarness(make_route(), FakeTarget(lambda *_: 200), SETTINGS)
    harness.start()
    sent: dict[int, float] = {}
    for number in range(2_000):
        sent[number] = asyncio.get_running_loop().time()
        await harness.send(f"s{number % 500}", number)
        await asyncio.sleep(0.01)
    await harness.wait_until_empty()
    calls = sqs_calls(harness)
    await harness.stop()

    waits = [call.at - sent[call.number] for call in harness.target.calls]
    assert len(waits) == 2_000
    assert statistics.median(waits) <= 0.05
    assert calls / 2_000 < 1.3


async def test_a_backlog_is_received_in_full_batches() -> None:
    """1,000 subjects waiting: at most 0.35 calls a message, several polls at once, and each subject in order."""

    async def answer(_subject: str, _number: int, _attempt: int) -> int:
        await asyncio.sleep(0.01)
        return 200

    harness = WorkerHarness(make_route(), FakeTarget(answer), SETTINGS)
    for number, subject in itertools.product(range(10), range(1_000)):
        await harness.send(f"s{subject}", number)
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()

    assert sqs_calls(harness) / 10_000 <= 0.35
    for subject in range(1_000):
        assert [call.number for call in harness.target.of(f"s{subject}")] == list(range(10))


async def test_a_hot_subject_is_not_delayed_by_lingering_deletes() -> None:
    """A lane that waits for its own deletes flushes them early: 200 messages of one subject take a second."""
    harness = WorkerHarness(make_route(), FakeTarget(lambda *_: 200), SETTINGS)
    for number in range(200):
        await harness.send("hot", number)
    harness.start()
    began = asyncio.get_running_loop().time()
    await harness.wait_until_empty()
    took = asyncio.get_running_loop().time() - began
    await harness.stop()
    assert [call.number for call in harness.target.of("hot")] == list(range(200))
    assert took < 200 * SETTINGS.delete_linger_seconds / 2


@BOTH
@pytest.mark.parametrize("target_ms", [1, 5, 50])
async def test_a_hot_subject_costs_the_time_of_its_target_and_two_round_trips_for_ten(
    ordering: Ordering, target_ms: int
) -> None:
    """Calls take 10 ms: 200 messages take at most 1.1 times as long as receiving, delivering and deleting ten at a time."""

    async def answer(_subject: str, _number: int, _attempt: int) -> int:
        await asyncio.sleep(target_ms / 1000)
        return 200

    harness = WorkerHarness(make_route(ordering), FakeTarget(answer), SETTINGS)
    for number in range(200):
        await harness.send("hot", number)
    harness.backend.faults.seconds = lambda action: 0.01 if action in ("receive", "delete") else 0.0
    harness.start()
    began = asyncio.get_running_loop().time()
    await harness.wait_until_empty(poll_every=0.001)
    took = asyncio.get_running_loop().time() - began
    await harness.stop()
    assert [call.number for call in harness.target.of("hot")] == list(range(200))
    assert took <= 1.1 * 20 * (10 * target_ms / 1000 + 2 * 0.01)


@pytest.mark.promise(3)
@pytest.mark.parametrize("ordering", [Ordering.RELAXED, Ordering.STRICT], ids=str)
async def test_order_holds_with_several_polls_and_lingering_deletes(ordering: Ordering) -> None:
    """Two workers, failures of all classes, responses of all durations: first attempts of a subject are in order."""
    chance = random.Random(21)

    async def answer(_subject: str, _number: int, _attempt: int) -> int:
        await asyncio.sleep(chance.random() * 0.5)
        return chance.choice([200, 200, 200, 500, 404])

    harness = WorkerHarness(make_route(ordering), FakeTarget(answer), SETTINGS)
    for number, subject in itertools.product(range(15), range(40)):
        await harness.send(f"s{subject}", number)
    harness.start()
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()

    for subject in range(40):
        calls = harness.target.of(f"s{subject}")
        assert list(dict.fromkeys(call.number for call in calls)) == list(range(15))
        if ordering is Ordering.STRICT:
            assert [call.number for call in calls] == sorted(call.number for call in calls)


@BOTH
async def test_one_worker_never_runs_two_lanes_of_a_subject_side_by_side(ordering: Ordering) -> None:
    """Its visibility ran out during an attempt and the same messages are received again: the second lane waits for the first."""

    async def answer(_subject: str, number: int, _attempt: int) -> int:
        await asyncio.sleep(150 if number == 1 and asyncio.get_running_loop().time() < 10 else 1)
        return 200

    harness = WorkerHarness(make_route(ordering), FakeTarget(answer), NO_HEARTBEAT)
    for number in range(4):
        await harness.send("s", number)
    harness.start()
    await harness.wait_until_empty()
    await asyncio.sleep(150)
    await harness.stop()

    calls = harness.target.of("s")
    assert len(calls) == 5
    assert all(before.done <= after.at for before, after in itertools.pairwise(calls))
    assert {call.number for call in calls} == {0, 1, 2, 3}


@pytest.mark.promise(12)
async def test_held_lanes_stay_within_the_limits() -> None:
    """With 1,000 subjects waiting and slow targets, lanes and attempts stay near their limits."""

    async def answer(_subject: str, _number: int, _attempt: int) -> int:
        await asyncio.sleep(5)
        return 200

    harness = WorkerHarness(make_route(concurrency=8), FakeTarget(answer))
    for subject in range(1000):
        await harness.send(f"s{subject}", 0)
    worker = harness.start()
    most = 0
    for _ in range(200):
        await asyncio.sleep(1)
        most = max(most, sum(len(consumer.lanes) for consumer in worker._consumers))
    await harness.wait_until_empty()
    await harness.stop()

    assert harness.target.most_running == 8
    assert most <= 16 + 10


@pytest.mark.promise(9)
async def test_a_target_that_hangs_does_not_delay_another() -> None:
    """With 200 subjects on a target that never responds, messages for another target still arrive within seconds."""

    async def answer(subject: str, _number: int, _attempt: int) -> int:
        if subject.startswith("dead"):
            await asyncio.sleep(30)
            return 0
        return 200

    harness = WorkerHarness(make_route(targets=2, concurrency=16), FakeTarget(answer))
    for subject in range(200):
        await harness.send(f"dead{subject}", 0, target=1)
    harness.start()
    await asyncio.sleep(20)
    sent_at = asyncio.get_running_loop().time()
    for subject in range(50):
        await harness.send(f"live{subject}", 0)
    await harness.wait_until_empty()
    await harness.stop()

    live = [call.at - sent_at for call in harness.target.calls if call.subject.startswith("live")]
    assert len(live) == 50
    assert max(live) < 30


@pytest.mark.promise(11)
async def test_a_stop_finishes_attempts_in_flight_and_releases_the_rest_in_order() -> None:
    """After a stop: the attempt under way ends and counts, and another worker continues with the next message at once."""

    async def answer(_subject: str, _number: int, _attempt: int) -> int:
        await asyncio.sleep(10)
        return 200

    harness = WorkerHarness(make_route(), FakeTarget(answer))
    for number in range(5):
        await harness.send("s", number)
    harness.start()
    await asyncio.sleep(15)
    await harness.stop()
    stopped_at = asyncio.get_running_loop().time()
    assert [call.number for call in harness.target.calls] == [0, 1]
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()

    assert 20 <= stopped_at < 21
    assert list(range(5)) == [call.number for call in harness.target.calls]
    assert stopped_at + 1 > harness.target.calls[2].at


@pytest.mark.promise(11)
async def test_a_stop_attempts_nothing_that_was_waiting_for_a_slot() -> None:
    """One slot, two subjects: after a stop the attempt under way finishes, and the waiting message is released."""

    async def answer(_subject: str, _number: int, _attempt: int) -> int:
        await asyncio.sleep(10)
        return 200

    harness = WorkerHarness(
        make_route(concurrency=1), FakeTarget(answer), WorkerSettings(lanes_per_slot=9, observe_interval_seconds=0)
    )
    await harness.send("a", 0)
    await harness.send("b", 0)
    harness.start()
    await asyncio.sleep(5)
    await harness.stop()

    assert len(harness.target.calls) == 1
    counts = await harness.backend.queue("mem://p0").counts()
    assert (counts.visible, counts.in_flight) == (1, 0)
