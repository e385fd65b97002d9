"""Batch calls for many lanes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from chaski_core.errors import BackendUnavailableError
from chaski_worker.lanes.batcher import Batcher


def timed(calls: list[tuple[float, int]]) -> Callable[[Sequence[int]], Awaitable[Sequence[int]]]:
    """A call that succeeds, and notes its time on the loop and its number of items."""

    async def call(items: Sequence[int]) -> Sequence[int]:
        calls.append((asyncio.get_running_loop().time(), len(items)))
        return items

    return call


async def test_items_submitted_at_the_same_time_share_a_call() -> None:
    """Twelve single items make two calls, and each gets its own result."""
    calls: list[list[int]] = []

    async def call(items: Sequence[int]) -> Sequence[int]:
        calls.append(list(items))
        return [item * 2 for item in items]

    batcher = Batcher(call)
    results = await asyncio.gather(*(batcher.submit([number]) for number in range(12)))

    assert [[number * 2] for number in range(12)] == results
    assert [len(call) for call in calls] == [10, 2]


async def test_a_group_is_never_split() -> None:
    """Groups of four: two fit into a call of ten, the third goes into the next, whole and in order."""
    calls: list[list[str]] = []

    async def call(items: Sequence[str]) -> Sequence[str]:
        calls.append(list(items))
        return items

    batcher = Batcher(call)
    groups = [[f"{name}{index}" for index in range(4)] for name in "abc"]
    assert groups == [list(result) for result in await asyncio.gather(*(batcher.submit(group) for group in groups))]

    assert [[*groups[0], *groups[1]], groups[2]] == calls


async def test_a_failing_call_fails_its_submitters_only() -> None:
    """The error is raised in each submitter; the batcher continues."""
    failing = True

    async def call(items: Sequence[int]) -> Sequence[int]:
        if failing:
            raise BackendUnavailableError("unavailable")
        return items

    batcher = Batcher(call)
    results = await asyncio.gather(batcher.submit([1]), batcher.submit([2]), return_exceptions=True)
    assert all(isinstance(result, BackendUnavailableError) for result in results)
    failing = False
    assert await batcher.submit([3]) == [3]


@pytest.mark.looptime
async def test_a_linger_fills_batches_and_a_full_batch_goes_at_once() -> None:
    """With a linger, items submitted at different times share a call; ten are sent at once."""
    calls: list[tuple[float, int]] = []
    batcher = Batcher(timed(calls), linger_seconds=0.5)
    first = asyncio.create_task(batcher.submit([1]))
    await asyncio.sleep(0.25)
    await asyncio.gather(first, batcher.submit([2]))
    await asyncio.gather(*(batcher.submit([number]) for number in range(10)))

    assert calls == [(0.5, 2), (0.5, 10)]


@pytest.mark.looptime
async def test_a_blocked_caller_does_not_wait_for_the_linger() -> None:
    """What is waiting is flushed within two milliseconds, and so is what a blocked caller submits; later items linger."""
    calls: list[tuple[float, int]] = []
    batcher = Batcher(timed(calls), linger_seconds=0.5)
    first = asyncio.create_task(batcher.submit([1]))
    await asyncio.sleep(0.1)
    for _ in range(3):
        batcher.flush_soon()
        await asyncio.sleep(0.0005)
    await first
    batcher.flush_soon()  # nothing is waiting
    await batcher.submit([2])
    await asyncio.gather(batcher.submit([3]), batcher.submit([4], soon=True))
    assert calls == [(pytest.approx(0.102), 1), (pytest.approx(0.602), 1), (pytest.approx(0.604), 2)]


@pytest.mark.looptime
async def test_a_list_grows_until_its_call_is_made() -> None:
    """What is added while it lingers goes along, ten are sent at once, and what is added later does not belong to it."""
    calls: list[tuple[float, list[int]]] = []
    loop = asyncio.get_running_loop()

    async def call(items: Sequence[int]) -> Sequence[int]:
        calls.append((loop.time(), list(items)))
        await asyncio.sleep(1)
        return items

    batcher = Batcher(call, linger_seconds=0.5)
    growing, other = [0], [100, 101, 102]
    results = asyncio.gather(batcher.submit(growing), batcher.submit(other))
    for number in range(1, 9):
        await asyncio.sleep(0.01)
        growing.append(number)
        batcher.flush_if_full()
    assert [list(each) for each in await results] == [[0, 1, 2, 3, 4, 5, 6], other]
    assert calls == [(pytest.approx(0.06), [0, 1, 2, 3, 4, 5, 6, *other])]


@pytest.mark.looptime
async def test_what_does_not_fit_into_a_full_call_keeps_its_linger() -> None:
    """Nine waiting items and a group of four: nine are sent at once, the four with what is submitted until the timer."""
    calls: list[tuple[float, int]] = []
    batcher = Batcher(timed(calls), linger_seconds=0.5)
    waiting = [asyncio.create_task(batcher.submit(list(range(size)))) for size in (9, 4)]
    await asyncio.sleep(0.25)
    await asyncio.gather(*waiting, batcher.submit([1]))
    assert calls == [(0.0, 9), (0.5, 5)]
