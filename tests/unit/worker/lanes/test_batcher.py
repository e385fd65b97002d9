"""Batch calls for many lanes."""

import asyncio
from collections.abc import Sequence

import pytest

from chaski_core.errors import BackendUnavailableError
from chaski_worker.lanes.batcher import Batcher


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
    loop = asyncio.get_running_loop()

    async def call(items: Sequence[int]) -> Sequence[int]:
        calls.append((loop.time(), len(items)))
        return items

    batcher = Batcher(call, linger_seconds=0.5)
    first = asyncio.create_task(batcher.submit([1]))
    await asyncio.sleep(0.25)
    await asyncio.gather(first, batcher.submit([2]))
    await asyncio.gather(*(batcher.submit([number]) for number in range(10)))

    assert calls == [(0.5, 2), (0.5, 10)]


@pytest.mark.looptime
async def test_a_blocked_caller_does_not_wait_for_the_linger() -> None:
    """The pending batch is flushed within five milliseconds; later items linger again."""
    calls: list[tuple[float, int]] = []
    loop = asyncio.get_running_loop()

    async def call(items: Sequence[int]) -> Sequence[int]:
        calls.append((loop.time(), len(items)))
        return items

    batcher = Batcher(call, linger_seconds=0.5)
    first = asyncio.create_task(batcher.submit([1]))
    await asyncio.sleep(0.1)
    for _ in range(3):
        batcher.flush_soon()
        await asyncio.sleep(0.001)
    await first
    await batcher.submit([2])
    batcher.flush_soon()  # nothing lingers: the next is meant
    await batcher.submit([3])
    assert calls == [(pytest.approx(0.105), 1), (pytest.approx(0.605), 1), (pytest.approx(0.61), 1)]
