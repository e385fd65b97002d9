"""Long polls are woken for something, by nobody twice, and none sleeps through it."""

import asyncio

import pytest

from chaski_embedded.broker.waiters import Waiters

pytestmark = pytest.mark.looptime


async def park(waiters: Waiters, count: int, seconds: float = 100) -> list["asyncio.Task[None]"]:
    """So many receivers, waiting."""
    until = asyncio.get_running_loop().time() + seconds
    tasks = [asyncio.create_task(waiters.wait(waiters.version, until)) for _ in range(count)]
    await asyncio.sleep(0.001)
    return tasks


async def woken(tasks: list["asyncio.Task[None]"]) -> int:
    """How many go on, after a moment."""
    await asyncio.sleep(0.001)
    return sum(task.done() for task in tasks)


async def cancel(tasks: list["asyncio.Task[None]"]) -> None:
    """Ends what waits."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize(("ready", "wakes"), [(0, 0), (1, 1), (10, 1), (11, 2), (1_000, 4)])
async def test_no_more_receivers_are_woken_than_can_find_something(ready: int, wakes: int) -> None:
    """One receive takes of ten groups."""
    waiters = Waiters()
    tasks = await park(waiters, 4)
    waiters.notify(ready, None)
    assert await woken(tasks) == wakes
    await cancel(tasks)


async def test_first_come_is_first_woken() -> None:
    """Receivers are served in the order of coming."""
    waiters = Waiters()
    tasks = await park(waiters, 3)
    waiters.notify(1, None)
    await asyncio.sleep(0.001)
    assert [task.done() for task in tasks] == [True, False, False]
    await cancel(tasks)


async def test_what_came_between_looking_and_waiting_is_not_missed() -> None:
    """A receiver that looked before the news does not wait after it."""
    waiters = Waiters()
    seen = waiters.version
    waiters.notify(1, None)
    await asyncio.wait_for(waiters.wait(seen, asyncio.get_running_loop().time() + 100), 0.001)


async def test_next_event_wakes_one_at_its_time() -> None:
    """A hold or a delay that ends is looked for when it ends."""
    waiters = Waiters()
    tasks = await park(waiters, 2)
    waiters.notify(0, 5_000)
    await asyncio.sleep(4.99)
    assert await woken(tasks) == 0
    await asyncio.sleep(0.02)
    assert await woken(tasks) == 1
    await cancel(tasks)


async def test_newer_event_takes_the_place_of_the_older() -> None:
    """What was expected first is not waited for when it was put off, and is when it comes sooner."""
    waiters = Waiters()
    tasks = await park(waiters, 1)
    waiters.notify(0, 5_000)
    waiters.notify(0, 60_000)
    await asyncio.sleep(10)
    assert await woken(tasks) == 0
    waiters.notify(0, 1_000)
    await asyncio.sleep(1.1)
    assert await woken(tasks) == 1


async def test_deadline_ends_the_wait() -> None:
    """Nothing comes."""
    waiters = Waiters()
    (task,) = await park(waiters, 1, seconds=20)
    begun = asyncio.get_running_loop().time()
    await task
    assert 19.9 < asyncio.get_running_loop().time() - begun < 20.1


async def test_woken_but_cancelled_receiver_passes_it_on() -> None:
    """What one was woken for and did not look at, another is woken for."""
    waiters = Waiters()
    tasks = await park(waiters, 2)
    waiters.notify(1, None)
    tasks[0].cancel()
    assert await woken(tasks) == 2
    assert tasks[0].cancelled()
    assert not tasks[1].cancelled()


async def test_cancelled_receiver_is_forgotten() -> None:
    """It takes nobody's turn."""
    waiters = Waiters()
    tasks = await park(waiters, 2)
    await cancel(tasks[:1])
    waiters.notify(1, None)
    assert await woken(tasks[1:]) == 1


async def test_everyone_wakes_when_the_queue_is_gone() -> None:
    """All of them have something to learn."""
    waiters = Waiters()
    tasks = await park(waiters, 5)
    waiters.wake_all()
    assert await woken(tasks) == 5
