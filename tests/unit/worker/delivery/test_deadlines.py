"""Many deadlines with one timer."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable

import pytest
import uvloop

from chaski_worker.delivery.http_deliverer import Deadlines

pytestmark = pytest.mark.looptime


async def _take(deadlines: Deadlines, seconds: float) -> float:
    """An attempt of `seconds`; the loop time at its end."""
    with deadlines.start():
        await asyncio.sleep(seconds)
    return asyncio.get_running_loop().time()


async def test_each_deadline_expires_at_its_own_time() -> None:
    """Started one after the other, with others between that end in time."""
    deadlines, loop = Deadlines(10), asyncio.get_running_loop()
    late: list[tuple[int, float]] = []

    async def attempt(number: int) -> None:
        await asyncio.sleep(number)
        try:
            await _take(deadlines, 3 if number % 2 else 100)
        except TimeoutError:
            late.append((number, loop.time()))

    await asyncio.gather(*(attempt(number) for number in range(6)))
    assert late == [(number, pytest.approx(number + 10)) for number in (0, 2, 4)]


async def test_the_timer_restarts_after_an_idle_time() -> None:
    """Nothing was under way when it fired; the next deadline expires all the same."""
    deadlines = Deadlines(10)
    await _take(deadlines, 1)
    await asyncio.sleep(100)
    with pytest.raises(TimeoutError):
        await _take(deadlines, 11)


async def test_a_cancellation_by_the_caller_is_not_a_timeout() -> None:
    """Before the deadline, and in the same moment."""
    for seconds in (5.0, 10.0):
        deadlines = Deadlines(10)
        task = asyncio.create_task(_take(deadlines, 100))
        await asyncio.sleep(seconds)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_an_error_of_the_attempt_is_raised_unchanged() -> None:
    """Only a cancellation by the deadline is a timeout."""
    deadlines = Deadlines(10)
    with pytest.raises(ZeroDivisionError), deadlines.start():
        raise ZeroDivisionError


async def test_nested_deadlines_in_one_task_are_independent() -> None:
    """The inner one's expiry does not end the outer one."""
    outer, inner = Deadlines(20), Deadlines(10)
    with outer.start():
        with pytest.raises(TimeoutError):
            await _take(inner, 15)
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]  # there is one
        with pytest.raises(TimeoutError):
            await _take(Deadlines(5), 15)


def test_a_response_that_arrived_during_a_pause_of_the_process_counts() -> None:
    """The process did not run for longer than the deadline: that is not the target's silence."""

    async def attempt() -> bytes:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            with Deadlines(0.2).start():
                answer = asyncio.ensure_future(loop.sock_recv(ours, 10))
                await asyncio.sleep(0)
                theirs.send(b"answer")
                time.sleep(0.5)  # noqa: ASYNC251 - blocks, as a paused process does
                return await answer

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # asyncio's own loop reads before it runs timers
        assert runner.run(attempt()) == b"answer"


BOTH_LOOPS = pytest.mark.parametrize(
    "make_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)


@BOTH_LOOPS
@pytest.mark.promise(4)
def test_time_in_which_the_process_was_paused_is_not_counted(
    make_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """Paused for three times the deadline right after the start: the rest of the deadline is still the target's."""

    async def attempt(seconds: float) -> float:
        loop = asyncio.get_running_loop()
        resumed = 0.0

        async def pause() -> None:
            nonlocal resumed
            await asyncio.sleep(0.15)
            time.sleep(3)  # noqa: ASYNC251 - blocks, as a paused process does
            resumed = loop.time()

        task = asyncio.create_task(pause())
        try:
            with Deadlines(1).start():
                await task
                await asyncio.sleep(seconds)
        except TimeoutError:
            return loop.time() - resumed
        return 0.0

    with asyncio.Runner(loop_factory=make_loop) as runner:
        assert runner.run(attempt(0.5)) == 0.0  # a response half a second after it resumed
        assert 0.7 < runner.run(attempt(5)) < 1.3  # a silent target still runs into the deadline


@BOTH_LOOPS
def test_a_deadline_expires_wherever_it_is_between_two_ticks(
    make_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """The clock of uvloop counts in milliseconds, its timers may fire early, and it has no timer for what is due at once."""

    async def rings(number: int) -> bool:
        await asyncio.sleep(number * 0.000_37)
        begun = asyncio.get_running_loop().time()
        with contextlib.suppress(TimeoutError):
            await _take(Deadlines(0.05 + number * 0.000_1), 30)
        return asyncio.get_running_loop().time() - begun < 20

    async def all_of_them() -> int:
        return sum(await asyncio.gather(*(rings(number) for number in range(300))))

    with asyncio.Runner(loop_factory=make_loop) as runner:
        assert runner.run(all_of_them()) == 300
