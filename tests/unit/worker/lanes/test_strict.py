"""Strict ordering, in virtual time with the real FIFO rules."""

import asyncio
import itertools
import random

import pytest

from chaski_core.route.model import Ordering
from support.worker.harness import FakeTarget, WorkerHarness, make_route
from support.worker.memory_backend import LoopClock

pytestmark = pytest.mark.looptime


class SetBackClock(LoopClock):
    """A wall clock that is set back at a given loop time."""

    def __init__(self, at: float, by_seconds: int) -> None:
        self.at, self.by_ms = at, by_seconds * 1000

    def now_ms(self) -> int:
        """Epoch milliseconds."""
        return super().now_ms() - (self.by_ms if self.monotonic() >= self.at else 0)


@pytest.mark.promise(3)
async def test_strict_attempts_a_message_only_after_its_predecessors_are_settled() -> None:
    """With failures of all classes, no message is attempted before its predecessor was delivered or dead-lettered."""
    chance = random.Random(7)

    async def answer(_subject: str, _number: int, _attempt: int) -> int:
        await asyncio.sleep(chance.random())
        return chance.choice([200, 200, 500, 404, 0])

    harness = WorkerHarness(make_route(Ordering.STRICT), FakeTarget(answer))
    for number, subject in itertools.product(range(12), range(15)):
        await harness.send(f"s{subject}", number)
    harness.start()
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()

    kept = {dead_letter.id for dead_letter in harness.backend.dead_letters.kept.values()}
    for subject in range(15):
        calls = harness.target.of(f"s{subject}")
        numbers = [call.number for call in calls]
        assert sorted(numbers) == numbers
        last = {call.number: call for call in calls}
        assert set(range(12)) == set(last)
        assert all((call.status == 200) != (f"s{subject}-{number}" in kept) for number, call in last.items())
        assert all(before.done <= after.at for before, after in itertools.pairwise(calls))


@pytest.mark.promise(10)
@pytest.mark.parametrize("by_seconds", [30, 305, 3_000, 400 * 86_400])
async def test_a_strict_subject_continues_after_the_clock_was_set_back(by_seconds: int) -> None:
    """After the first failure: the retry is made after its rung's delay of 5 s, not later by what the clock was moved."""
    harness = WorkerHarness(
        make_route(Ordering.STRICT), FakeTarget(lambda _s, _n, attempt: 404 if attempt < 2 else 200)
    )
    begun = asyncio.get_running_loop().time()
    harness.clock = SetBackClock(begun + 2, by_seconds)
    await harness.send("s", 0)
    harness.start()
    await harness.wait_until_empty(within=20)
    await harness.stop()

    assert [call.status for call in harness.target.calls] == [404, 200]
    assert harness.target.calls[1].at - harness.target.calls[0].at >= 5


async def test_strict_reads_no_record_for_a_message_received_once() -> None:
    """A message that is delivered at once costs no read and no write of an attempt record."""
    harness = WorkerHarness(make_route(Ordering.STRICT), FakeTarget(lambda *_: 200))
    for number in range(10):
        await harness.send("s", number)
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()

    assert harness.backend.attempt_records.reads == 0
    assert harness.backend.attempt_records.kept == {}


async def test_a_strict_head_received_early_is_hidden_again_and_not_counted() -> None:
    """A head that is redelivered early (a broker restart) is not attempted and keeps its due time."""
    harness = WorkerHarness(
        make_route(Ordering.STRICT), FakeTarget(lambda _s, _n, attempt: 404 if attempt < 4 else 200)
    )
    await harness.send("s", 0)
    harness.start()
    for _ in range(30):
        await asyncio.sleep(2)
        harness.backend.queue("mem://p0")._rules.release_all(harness.backend.queue("mem://p0")._now())
    await harness.wait_until_empty()
    await harness.stop()

    times = [call.at for call in harness.target.calls]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert all(gap >= rung for gap, rung in zip(gaps, [5, 5, 60], strict=True))


async def test_strict_releases_the_followers_of_a_failing_head_at_once() -> None:
    """When the head is redelivered after 5 s and delivered, the next ones follow within moments."""
    harness = WorkerHarness(
        make_route(Ordering.STRICT), FakeTarget(lambda _s, number, attempt: 500 if (number, attempt) == (0, 1) else 200)
    )
    for number in range(3):
        await harness.send("s", number)
    harness.start()
    await harness.wait_until_empty(within=30)
    await harness.stop()

    assert [call.number for call in harness.target.calls] == [0, 0, 1, 2]
    assert harness.target.calls[-1].at < 8


async def test_messages_attempted_beside_unacknowledged_deletes_count_as_repeats() -> None:
    """Strict: killed before the first delete took effect, all are redelivered, and each may have been attempted."""

    async def answer(_subject: str, number: int, _attempt: int) -> int:
        await asyncio.sleep(0 if number == 0 else 10)
        return 200

    harness = WorkerHarness(make_route(Ordering.STRICT), FakeTarget(answer))
    for number in range(3):
        await harness.send("s", number)

    def unanswered(action: str) -> None:
        if action == "delete":
            raise asyncio.CancelledError

    harness.backend.faults.before = unanswered
    harness.start()
    await asyncio.sleep(5)
    await harness.kill()
    harness.backend.faults.before = lambda _: None
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()
    assert [call.number for call in harness.target.calls] == [0, 0, 1, 2]
    assert harness.repeats() == 3
