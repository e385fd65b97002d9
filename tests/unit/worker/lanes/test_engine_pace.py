"""How many calls the engine makes of a queue whose calls cost a round trip and money, in virtual time."""

import asyncio
import dataclasses
import itertools
import random
import statistics

import pytest

from chaski_core.route.model import Ordering
from chaski_worker.settings import SQS_SETTINGS
from support.worker.harness import FakeTarget, World, make_route

pytestmark = pytest.mark.looptime

SETTINGS = dataclasses.replace(SQS_SETTINGS, observe_interval_seconds=0)


def sqs_calls(world: World) -> int:
    """Calls of the worker: all but the test's own sends and looks."""
    actions = ("receive", "delete", "change_visibility")
    return sum(queue.calls[action] for queue in world.backend.queues.values() for action in actions)


async def test_an_idle_queue_costs_one_long_poll() -> None:
    """Ten minutes of nothing: thirty polls of twenty seconds for each queue."""
    world = World(make_route(), FakeTarget(lambda *_: 200), SETTINGS)
    world.start()
    await asyncio.sleep(600)
    assert max(queue.calls["receive"] for queue in world.backend.queues.values()) <= 31
    await world.stop()


async def test_a_trickle_is_gathered_and_still_quick() -> None:
    """100 messages a second of many subjects: fewer than 1.3 calls a message, at most 50 ms of added latency."""
    world = World(make_route(), FakeTarget(lambda *_: 200), SETTINGS)
    world.start()
    sent: dict[int, float] = {}
    for number in range(2_000):
        sent[number] = asyncio.get_running_loop().time()
        await world.send(f"s{number % 500}", number)
        await asyncio.sleep(0.01)
    await world.settled()
    calls = sqs_calls(world)
    await world.stop()

    waits = [call.at - sent[call.number] for call in world.target.calls]
    assert len(waits) == 2_000
    assert statistics.median(waits) <= 0.05
    assert calls / 2_000 < 1.3


async def test_a_backlog_is_taken_in_full_batches() -> None:
    """1,000 subjects waiting: at most 0.35 calls a message, several polls at once, and each subject in order."""

    async def answer(_subject: str, _number: int, _attempt: int) -> int:
        await asyncio.sleep(0.01)
        return 200

    world = World(make_route(), FakeTarget(answer), SETTINGS)
    for number, subject in itertools.product(range(10), range(1_000)):
        await world.send(f"s{subject}", number)
    world.start()
    await world.settled()
    await world.stop()

    assert sqs_calls(world) / 10_000 <= 0.35
    for subject in range(1_000):
        assert [call.number for call in world.target.of(f"s{subject}")] == list(range(10))


async def test_a_hot_subject_is_not_kept_by_lingering_deletes() -> None:
    """A lane that waits for its own deletes does not wait for company: 200 messages of one subject take a second."""
    world = World(make_route(), FakeTarget(lambda *_: 200), SETTINGS)
    for number in range(200):
        await world.send("hot", number)
    world.start()
    began = asyncio.get_running_loop().time()
    await world.settled()
    took = asyncio.get_running_loop().time() - began
    await world.stop()
    assert [call.number for call in world.target.of("hot")] == list(range(200))
    assert took < 200 * SETTINGS.delete_linger_seconds / 2


@pytest.mark.promise(3)
@pytest.mark.parametrize("ordering", [Ordering.RELAXED, Ordering.STRICT], ids=str)
async def test_order_holds_with_several_polls_and_lingering_deletes(ordering: Ordering) -> None:
    """Two workers, failures of all kinds, answers of all lengths: first attempts of a subject are in order."""
    chance = random.Random(21)

    async def answer(_subject: str, _number: int, _attempt: int) -> int:
        await asyncio.sleep(chance.random() * 0.5)
        return chance.choice([200, 200, 200, 500, 404])

    world = World(make_route(ordering), FakeTarget(answer), SETTINGS)
    for number, subject in itertools.product(range(15), range(40)):
        await world.send(f"s{subject}", number)
    world.start()
    world.start()
    await world.settled()
    await world.stop()

    for subject in range(40):
        calls = world.target.of(f"s{subject}")
        assert list(dict.fromkeys(call.number for call in calls)) == list(range(15))
        if ordering is Ordering.STRICT:
            assert [call.number for call in calls] == sorted(call.number for call in calls)


async def test_hand_overs_wait_for_company() -> None:
    """Many subjects that fail, none at the same moment: far fewer sends to the rung than messages."""

    async def answer(_subject: str, number: int, attempt: int) -> int:
        await asyncio.sleep(0.001 * number if attempt == 1 else 0)
        return 200 if attempt > 1 else 500

    world = World(make_route(), FakeTarget(answer), SETTINGS)
    for number in range(300):
        await world.send(f"s{number}", number)
    world.start()
    await world.settled()
    await world.stop()
    sends = sum(queue.calls["send"] for url, queue in world.backend.queues.items() if "rung" in url)
    assert len(world.target.calls) == 600
    assert sends <= 60
