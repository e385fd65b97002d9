"""Each route is looked at on its own, at once when something happened, later and later while it fails."""

import asyncio
import itertools

import pytest

from chaski_operator.kube.workqueue import Key, WorkQueue
from chaski_operator.settings import ReconcileIntervals

pytestmark = pytest.mark.looptime

A, B = ("ns", "a"), ("ns", "b")


def rounds(look: object, **pace: float) -> WorkQueue:
    """Without chance."""
    return WorkQueue(look, ReconcileIntervals(**pace), lambda: 0.5)  # type: ignore[arg-type]  # a function of the test


@pytest.mark.promise(9)
async def test_a_route_that_hangs_or_fails_delays_no_other() -> None:
    """The other one is looked at at once, every time."""
    seen: list[tuple[Key, float]] = []

    async def look(key: Key) -> float | None:
        seen.append((key, asyncio.get_running_loop().time()))
        if key == A:
            await asyncio.sleep(50)
            raise ValueError("broken")
        return 300.0

    made = rounds(look)
    for second in range(5):
        made.wake(A)
        made.wake(B)
        await asyncio.sleep(1)
        assert [at for key, at in seen if key == B][-1] == second
    await made.stop()


async def test_a_route_is_never_looked_at_twice_at_a_time() -> None:
    """What happens meanwhile leads to one look more, not to as many as there were wakings."""
    running, most, looks = 0, 0, 0

    async def look(_: Key) -> float | None:
        nonlocal running, most, looks
        running, looks = running + 1, looks + 1
        most = max(most, running)
        await asyncio.sleep(1)
        running -= 1
        return 300.0

    made = rounds(look)
    for _ in range(10):
        made.wake(A)
        await asyncio.sleep(0.05)
    await asyncio.sleep(10)
    await made.stop()
    assert (most, looks) == (1, 2)


async def test_a_look_that_fails_is_repeated_later_and_later() -> None:
    """Doubling, up to a minute; whatever the fault."""
    times: list[float] = []

    async def look(_: Key) -> float | None:
        times.append(asyncio.get_running_loop().time())
        raise RuntimeError("a fault of ours")

    made = rounds(look)
    made.wake(A)
    await asyncio.sleep(400)
    await made.stop()
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert pauses[:5] == pytest.approx([2, 4, 8, 16, 32])
    assert set(pauses[5:]) == {60}


async def test_a_route_that_is_gone_is_forgotten_and_may_come_back() -> None:
    """No task is left."""
    looks = 0

    async def look(_: Key) -> float | None:
        nonlocal looks
        looks += 1
        return None

    made = rounds(look)
    for _ in range(3):
        made.wake(A)
        await asyncio.sleep(1)
    assert looks == 3
    await made.stop()


@pytest.mark.parametrize("steps", range(4))
async def test_a_stop_ends_also_a_look_that_was_woken_at_the_same_moment(steps: int) -> None:
    """Whether the task that waits has taken the news by then or not."""

    async def look(_: Key) -> float | None:
        return 300.0

    made = rounds(look)
    made.wake(A)
    await asyncio.sleep(1)
    made.wake(A)
    for _ in range(steps):
        await asyncio.sleep(0)
    async with asyncio.timeout(1):
        await made.stop()
