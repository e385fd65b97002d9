"""Which attempts count as repeats, in virtual time: those that may have been made before, and no others."""

import asyncio

import pytest

from chaski_core.route.model import Ordering
from support.worker.harness import FakeTarget, World, make_route

pytestmark = pytest.mark.looptime

BOTH = pytest.mark.parametrize("ordering", [Ordering.RELAXED, Ordering.STRICT], ids=str)


def repeats(world: World) -> int:
    """What `chaski_repeats_total` says, over all labels."""
    lines = world.metrics.render().decode().splitlines()
    return sum(int(float(line.rpartition(" ")[2])) for line in lines if line.startswith("chaski_repeats_total{"))


async def kill(world: World) -> None:
    """SIGKILL: nothing of the process goes on."""
    (task,) = (task for _, task in world.running)
    world.running.clear()
    for each in asyncio.all_tasks() - {asyncio.current_task()}:
        each.cancel()
    await asyncio.gather(task, return_exceptions=True)


@BOTH
async def test_climbing_a_ladder_repeats_nothing(ordering: Ordering) -> None:
    """Heads that fail and come again when they are due, and what waits behind them, were not attempted before."""
    world = World(make_route(ordering), FakeTarget(lambda _s, number, _a: 500 if number % 2 else 200))
    for number in range(8):
        await world.send("s", number)
    world.start()
    await world.settled()
    await world.stop()
    assert len(world.target.calls) == 4 + 4 * 6
    assert repeats(world) == 0


@BOTH
async def test_every_attempt_that_a_crash_repeats_is_counted(ordering: Ordering) -> None:
    """Killed in the middle of a first attempt and of a retry: each is made again, and counted once."""
    began: list[int] = []

    async def answer(_subject: str, _number: int, attempt: int) -> int:
        began.append(attempt)
        await asyncio.sleep(3)
        return 500

    world = World(make_route(ordering), FakeTarget(answer))
    await world.send("s", 0)
    for attempt in (1, 2):
        world.start()
        while attempt not in began:
            await asyncio.sleep(1)
        await kill(world)
    world.start()
    await world.settled()
    await world.stop()
    assert began == [1, 1, 2, 2, 3, 4, 5, 6]
    assert repeats(world) == 2


async def test_a_message_that_was_attempted_beside_the_delete_before_it_is_counted() -> None:
    """Strict: killed between the two, both come again, and both may have been attempted; the third was not."""

    async def answer(_subject: str, number: int, _attempt: int) -> int:
        await asyncio.sleep(0 if number == 0 else 10)
        return 200

    world = World(make_route(Ordering.STRICT), FakeTarget(answer))
    for number in range(3):
        await world.send("s", number)

    def unanswered(action: str) -> None:
        if action == "delete":
            raise asyncio.CancelledError

    world.backend.faults.before = unanswered
    world.start()
    await asyncio.sleep(5)
    await kill(world)
    world.backend.faults.before = lambda _: None
    world.start()
    await world.settled()
    await world.stop()
    assert [call.number for call in world.target.calls] == [0, 0, 1, 2]
    assert repeats(world) == 2
