"""Each event wakes the right number of long polls, and none misses it."""

import asyncio

import pytest

from chaski_embedded.broker.waiters import Waiters

pytestmark = pytest.mark.looptime


async def park(waiters: Waiters, count: int, seconds: float = 100) -> list["asyncio.Task[None]"]:
    """Starts `count` waiting long polls."""
    until = asyncio.get_running_loop().time() + seconds
    tasks = [asyncio.create_task(waiters.wait(waiters.version, until)) for _ in range(count)]
    await asyncio.sleep(0.001)
    return tasks


async def woken(tasks: list["asyncio.Task[None]"]) -> int:
    """The number of woken long polls, after a moment."""
    await asyncio.sleep(0.001)
    return sum(task.done() for task in tasks)


async def cancel(tasks: list["asyncio.Task[None]"]) -> None:
    """Cancels the waiting long polls."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize(("ready", "wakes"), [(0, 0), (1, 1), (10, 1), (11, 2), (1_000, 4)])
async def test_only_as_many_are_woken_as_can_receive(ready: int, wakes: int) -> None:
    """One receive takes messages of up to ten groups."""
    waiters = Waiters()
    tasks = await park(waiters, 4)
    waiters.notify(ready, None)
    assert await woken(tasks) == wakes
    await cancel(tasks)


async def test_long_polls_are_woken_in_order_of_arrival() -> None:
    """First come, first served."""
    waiters = Waiters()
    tasks = await park(waiters, 3)
    waiters.notify(1, None)
    await asyncio.sleep(0.001)
    assert [task.done() for task in tasks] == [True, False, False]
    await cancel(tasks)


async def test_an_event_between_receive_and_wait_is_not_missed() -> None:
    """A long poll that tried to receive before the event does not wait after it."""
    waiters = Waiters()
    seen = waiters.version
    waiters.notify(1, None)
    await asyncio.wait_for(waiters.wait(seen, asyncio.get_running_loop().time() + 100), 0.001)


async def test_next_event_wakes_one_at_its_time() -> None:
    """The end of a visibility timeout or a delay wakes one long poll."""
    waiters = Waiters()
    tasks = await park(waiters, 2)
    waiters.notify(0, 5_000)
    await asyncio.sleep(4.99)
    assert await woken(tasks) == 0
    await asyncio.sleep(0.02)
    assert await woken(tasks) == 1
    await cancel(tasks)


async def test_a_newer_event_replaces_the_older() -> None:
    """The timer moves when the next event is later or sooner than before."""
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
    """Without an event."""
    waiters = Waiters()
    (task,) = await park(waiters, 1, seconds=20)
    begun = asyncio.get_running_loop().time()
    await task
    assert 19.9 < asyncio.get_running_loop().time() - begun < 20.1


async def test_a_woken_but_cancelled_long_poll_wakes_another() -> None:
    """It was woken and did not receive, so another is woken."""
    waiters = Waiters()
    tasks = await park(waiters, 2)
    waiters.notify(1, None)
    tasks[0].cancel()
    assert await woken(tasks) == 2
    assert tasks[0].cancelled()
    assert not tasks[1].cancelled()


async def test_a_cancelled_long_poll_is_removed() -> None:
    """It does not count as woken."""
    waiters = Waiters()
    tasks = await park(waiters, 2)
    await cancel(tasks[:1])
    waiters.notify(1, None)
    assert await woken(tasks[1:]) == 1


async def test_all_wake_when_the_queue_is_deleted() -> None:
    """All of them must fail."""
    waiters = Waiters()
    tasks = await park(waiters, 5)
    waiters.wake_all()
    assert await woken(tasks) == 5
