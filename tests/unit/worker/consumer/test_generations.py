"""A changed map: the older generation of queues is worked off before the newer one is touched."""

import asyncio
import dataclasses

import pytest

from chaski_core.errors import BackendRejectedError
from chaski_core.route.resolved import Generation
from chaski_worker.settings import WorkerSettings
from support.worker.harness import FakeTarget, World, make_route
from support.worker.memory_backend import unavailable

pytestmark = pytest.mark.looptime


@pytest.mark.promise(3)
async def test_the_newer_generation_waits_for_the_older_one() -> None:
    """Messages of the same subject in both: not one of the newer is attempted before the older queue is empty."""

    async def answer(_subject: str, number: int, attempt: int) -> int:
        await asyncio.sleep(1)
        return 404 if number == 3 and attempt == 1 else 200

    settings = WorkerSettings(drained_polls=3, drained_over_seconds=60, observe_interval_seconds=0)
    world = World(make_route(), FakeTarget(answer), settings)
    for number in range(20):
        await world.send("s", number)
    world.resolved = dataclasses.replace(
        world.resolved, generations=(world.resolved.current, Generation(2, {"messages": ("mem://new",)}))
    )
    for number in range(20, 30):
        await world.send("s", number)
    world.start()
    await world.settled()
    await world.stop()

    firsts = list(dict.fromkeys(call.number for call in world.target.of("s")))
    assert list(range(30)) == firsts
    old_done = max(call.done for call in world.target.calls if call.number < 20 and call.number != 3)
    new_from = min(call.at for call in world.target.calls if call.number >= 20)
    assert new_from - old_done >= 60


async def test_no_generation_is_skipped_while_the_queue_can_not_be_seen() -> None:
    """Counts that fail are unknown, and unknown is not empty."""
    world = World(make_route(), FakeTarget(lambda *_: 200))
    world.resolved = dataclasses.replace(
        world.resolved, generations=(world.resolved.current, Generation(2, {"messages": ("mem://new",)}))
    )
    await world.send("s", 0)

    def blind(action: str) -> None:
        if action == "counts" and asyncio.get_running_loop().time() < 500:
            raise unavailable()

    world.backend.faults.before = blind
    world.start()
    await asyncio.sleep(499)
    assert world.target.calls == []
    await asyncio.sleep(2)
    await world.settled()
    await world.stop()
    assert len(world.target.calls) == 1


@pytest.mark.promise(3)
async def test_a_queue_waits_for_the_older_generation_of_all_queues() -> None:
    """A subject that moved from one queue to another: the new one's worker waits until the old one is empty."""
    settings = WorkerSettings(drained_polls=3, drained_over_seconds=60, observe_interval_seconds=0)
    world = World(make_route(), FakeTarget(lambda *_: 200), settings)
    await world.send("s", 0)
    old = Generation(1, {"old": world.resolved.current.queues["messages"]})
    world.resolved = dataclasses.replace(world.resolved, generations=(old, Generation(2, {"messages": ("mem://new",)})))
    await world.send("s", 1)
    world.start(only_queue="messages")
    await asyncio.sleep(1000)
    assert world.target.calls == []  # `old` is another worker's, and still holds a message

    world.start(only_queue="old")
    await world.settled()
    await world.stop()
    assert [call.number for call in world.target.of("s")] == [0, 1]


async def test_an_older_generation_that_was_dropped_holds_nobody_up() -> None:
    """A worker that still reads its name from an old file: it was dropped because it was empty."""
    world = World(make_route(), FakeTarget(lambda *_: 200))
    world.resolved = dataclasses.replace(
        world.resolved, generations=(Generation(1, {"messages": ("mem://gone",)}), world.resolved.current)
    )

    async def gone(**_arguments: object) -> None:
        raise BackendRejectedError("QueueDoesNotExist", "there is no such queue")

    queue = world.backend.queue("mem://gone")
    queue.counts = queue.receive = gone  # type: ignore[method-assign,assignment]
    await world.send("s", 0)
    world.start()
    async with asyncio.timeout(1_000):
        while not world.target.calls:
            await asyncio.sleep(1)
    await world.stop()
    assert len(world.target.calls) == 1
