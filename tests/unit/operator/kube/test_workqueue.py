"""Each key is reconciled on its own: at once after a change, with backoff after failures."""

import asyncio
import itertools

import pytest

from chaski_operator.kube.workqueue import EventPace, Key, WorkQueue
from chaski_operator.settings import ReconcileIntervals

pytestmark = pytest.mark.looptime

A, B = ("ns", "a"), ("ns", "b")


def work_queue(reconcile: object, **intervals: float) -> WorkQueue:
    """Without jitter."""
    return WorkQueue(reconcile, ReconcileIntervals(**intervals), lambda: 0.5)  # type: ignore[arg-type]  # a function of the test


@pytest.mark.promise(9)
async def test_key_that_hangs_or_fails_delays_no_other() -> None:
    """The other one is reconciled at once, every time."""
    seen: list[tuple[Key, float]] = []

    async def reconcile(key: Key) -> float | None:
        seen.append((key, asyncio.get_running_loop().time()))
        if key == A:
            await asyncio.sleep(50)
            raise ValueError("broken")
        return 300.0

    queue = work_queue(reconcile)
    for second in range(5):
        queue.enqueue(A)
        queue.enqueue(B)
        await asyncio.sleep(1)
        assert [at for key, at in seen if key == B][-1] == second
    await queue.stop()


async def test_key_is_never_reconciled_concurrently() -> None:
    """Several changes meanwhile lead to one more reconciliation."""
    running, most, count = 0, 0, 0

    async def reconcile(_: Key) -> float | None:
        nonlocal running, most, count
        running, count = running + 1, count + 1
        most = max(most, running)
        await asyncio.sleep(1)
        running -= 1
        return 300.0

    queue = work_queue(reconcile)
    for _ in range(10):
        queue.enqueue(A)
        await asyncio.sleep(0.05)
    await asyncio.sleep(10)
    await queue.stop()
    assert (most, count) == (1, 2)


async def test_failure_is_retried_with_backoff() -> None:
    """After `retry_seconds`, doubling, up to a minute, for any exception."""
    times: list[float] = []

    async def reconcile(_: Key) -> float | None:
        times.append(asyncio.get_running_loop().time())
        raise RuntimeError("a bug")

    queue = work_queue(reconcile)
    queue.enqueue(A)
    await asyncio.sleep(400)
    await queue.stop()
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert pauses[:6] == pytest.approx([1, 2, 4, 8, 16, 32])
    assert set(pauses[6:]) == {60}


async def test_deleted_key_is_forgotten_and_may_be_enqueued_again() -> None:
    """No task is left."""
    count = 0

    async def reconcile(_: Key) -> float | None:
        nonlocal count
        count += 1
        return None

    queue = work_queue(reconcile)
    for _ in range(3):
        queue.enqueue(A)
        await asyncio.sleep(1)
    assert count == 3
    await queue.stop()


@pytest.mark.parametrize("steps", range(4))
async def test_stop_ends_a_task_that_was_enqueued_at_the_same_moment(steps: int) -> None:
    """Whether or not the waiting task has run by then."""

    async def reconcile(_: Key) -> float | None:
        return 300.0

    queue = work_queue(reconcile)
    queue.enqueue(A)
    await asyncio.sleep(1)
    queue.enqueue(A)
    for _ in range(steps):
        await asyncio.sleep(0)
    async with asyncio.timeout(1):
        await queue.stop()


async def test_added_key_is_reconciled_once_and_then_at_its_interval() -> None:
    """Adding it again does not wake it, unlike a change."""
    count = 0

    async def reconcile(_: Key) -> float | None:
        nonlocal count
        count += 1
        return 100.0

    queue = work_queue(reconcile)
    for _ in range(5):
        queue.add(A)
        await asyncio.sleep(1)
    assert count == 1
    queue.enqueue(A)
    await asyncio.sleep(1)
    assert count == 2
    await asyncio.sleep(100)
    assert count == 3
    await queue.stop()


async def test_first_reconciliation_can_be_delayed_until_the_key_changes() -> None:
    """So that all keys of a start do not come at once."""
    seen: list[Key] = []

    async def reconcile(key: Key) -> float | None:
        seen.append(key)
        return None

    queue = work_queue(reconcile)
    queue.add(A, 10.0)
    queue.add(B, 10.0)
    await asyncio.sleep(5)
    assert seen == []
    queue.enqueue(B)
    await asyncio.sleep(1)
    assert seen == [B]
    await asyncio.sleep(5)
    assert seen == [B, A]
    await queue.stop()


async def test_another_writer_who_answers_each_write_causes_no_hot_loop() -> None:
    """Each reconciliation is followed by a change; a single change long after is reconciled at once."""
    times: list[float] = []
    loop, answering = asyncio.get_running_loop(), True

    async def reconcile(key: Key) -> float | None:
        times.append(loop.time())
        if answering:
            loop.call_later(0.05, queue.enqueue, key)
        return 300.0

    queue = work_queue(reconcile)
    queue.enqueue(A)
    await asyncio.sleep(30)
    assert len(times) <= 12
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert pauses[5:8] == pytest.approx([1.05, 2.05, 2.05], abs=1.0)
    await asyncio.sleep(600)
    assert len(times) <= 12 + 600 / 8
    answering = False
    await asyncio.sleep(100)
    queue.enqueue(A)
    await asyncio.sleep(0.01)
    assert loop.time() - times[-1] < 0.02
    await queue.stop()


def test_interval_between_changes_grows_and_shrinks_again() -> None:
    """Five at once, then 1 s, 2 s, 4 s; after a quiet minute five at once again."""
    pace = EventPace()
    assert [pace.next_delay(0.0) for _ in range(9)] == [0, 0, 0, 0, 0, 1, 2, 4, 8]
    assert [pace.next_delay(90.0) for _ in range(6)] == [0, 0, 0, 0, 0, 1]
    assert max(pace.next_delay(90.0) for _ in range(20)) == 60
