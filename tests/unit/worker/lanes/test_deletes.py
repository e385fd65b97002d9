"""Deletes that run beside the attempts of their lane, in virtual time with the real FIFO rules."""

import asyncio
import itertools
import random
from collections.abc import Sequence

import pytest

from chaski_core.route.model import Ordering
from chaski_worker.settings import WorkerSettings
from support.worker.harness import Answer, FakeTarget, WorkerHarness, loop_time, make_route
from support.worker.memory_backend import refuse_delete, unavailable

pytestmark = pytest.mark.looptime

BOTH = pytest.mark.parametrize("ordering", [Ordering.RELAXED, Ordering.STRICT], ids=str)
LINGERING = WorkerSettings(delete_linger_seconds=0.06, observe_interval_seconds=0)


def after(seconds: float) -> Answer:
    """Every attempt is delivered, and takes as long."""

    async def answer(_subject: str, _number: int, _attempt: int) -> int:
        await asyncio.sleep(seconds)
        return 200

    return answer


async def harness_of(
    ordering: Ordering, answer: Answer, messages: int, settings: WorkerSettings | None = None
) -> WorkerHarness:
    """A worker, not started, and a subject with messages."""
    settings = settings or WorkerSettings(observe_interval_seconds=0)
    harness = WorkerHarness(make_route(ordering), FakeTarget(answer), settings)
    for number in range(messages):
        await harness.send("s", number)
    return harness


def numbers(harness: WorkerHarness) -> list[int]:
    """Messages in the order attempted."""
    return [call.number for call in harness.target.of("s")]


def deletes(harness: WorkerHarness) -> int:
    """Delete calls of the first queue."""
    return harness.backend.queue("mem://p0").calls["delete"]


def failing(action: str, begin: float, end: float) -> None:
    """A delete fails between two loop times."""
    if action == "delete" and begin <= loop_time() < end:
        raise unavailable()


@BOTH
async def test_a_lane_is_delivered_back_to_back(ordering: Ordering) -> None:
    """Deletes take longer than three attempts: ten messages take ten attempts' time, and their deletes four calls."""
    harness = await harness_of(ordering, after(1), 10)
    harness.backend.faults.seconds = lambda action: 3.25 if action == "delete" else 0.0
    harness.start()
    await harness.wait_until_empty(within=20)
    await harness.stop()

    calls = harness.target.of("s")
    assert [call.number for call in calls] == list(range(10))
    assert all(after.at - before.done < 0.01 for before, after in itertools.pairwise(calls))
    assert deletes(harness) == 4  # one message, and three times three


@BOTH
@pytest.mark.parametrize("messages", [1, 2])
async def test_only_a_lane_with_further_messages_has_a_task_for_its_deletes(ordering: Ordering, messages: int) -> None:
    """A task costs as much as a tenth of a delivery, and many lanes have one message."""
    harness = await harness_of(ordering, after(1), messages)
    harness.backend.faults.seconds = lambda action: 0.5 if action == "delete" else 0.0
    harness.start()
    await asyncio.sleep(0.5)
    tasks = len(asyncio.all_tasks())
    await asyncio.sleep(0.7)  # the first message's delete is under way: the task of its call, and that of its lane
    assert len(asyncio.all_tasks()) - tasks == messages
    await harness.wait_until_empty(within=20)
    await harness.stop()


async def test_the_deletes_of_a_quick_lane_share_one_call() -> None:
    """On SQS they linger: ten messages of 5 ms each take one call, which is made when the last one is delivered."""
    harness = await harness_of(Ordering.RELAXED, after(0.005), 30, LINGERING)
    harness.start()
    await harness.wait_until_empty(poll_every=0.001)
    took = loop_time()
    await harness.stop()
    assert deletes(harness) == 3
    assert took < 30 * 0.005 + 0.01


@BOTH
@pytest.mark.promise(3)
async def test_once_a_delete_has_failed_nothing_further_of_the_lane_starts(ordering: Ordering) -> None:
    """From 3.5 s on deletes fail: the attempt under way ends, the next one starts when they succeed, and none is repeated."""
    harness = await harness_of(ordering, after(1), 10)
    await harness.send("other", 0)
    harness.backend.faults.before = lambda action: failing(action, 3.5, 40)
    harness.start()
    await asyncio.sleep(39)
    begun = [call.number for call in harness.target.of("s")]
    assert begun == [0, 1, 2, 3, 4]  # the delete of 3 failed as 4 had begun
    assert len(harness.target.of("other")) == 1
    await harness.wait_until_empty(within=40)
    await harness.stop()

    assert numbers(harness) == list(range(10))
    assert harness.target.of("s")[5].at >= 40
    assert harness.repeats() == 0


@BOTH
@pytest.mark.promise(3)
async def test_once_a_delete_has_failed_no_message_becomes_a_dead_letter(ordering: Ordering) -> None:
    """The third message is malformed: it is stored as a dead letter once the deletes of those before it succeed."""
    harness = await harness_of(ordering, after(1), 2)
    await harness.put("mem://p0", b"not json", "s", "malformed")
    harness.backend.faults.before = lambda action: failing(action, 0, 40)
    harness.start()
    await asyncio.sleep(39)
    assert numbers(harness) == [0, 1]
    assert harness.backend.dead_letters.kept == {}
    await harness.wait_until_empty(within=40)
    await harness.stop()
    assert len(harness.backend.dead_letters.kept) == 1


@BOTH
async def test_an_attempt_that_waits_for_a_slot_does_not_start_once_a_delete_has_failed(ordering: Ordering) -> None:
    """Its turn comes while the deletes of its lane fail: it gives the slot to another subject, and starts afterwards."""

    async def answer(subject: str, _number: int, _attempt: int) -> int:
        await asyncio.sleep(10 if subject == "slow" else 0)
        return 200

    harness = WorkerHarness(
        make_route(ordering, concurrency=1),
        FakeTarget(answer),
        WorkerSettings(lanes_per_slot=9, observe_interval_seconds=0),
    )
    for number in range(2):
        await harness.send("s", number)
    await harness.send("slow", 0)
    await harness.send("last", 0)
    harness.backend.faults.seconds = lambda action: 5.0 if action == "delete" and loop_time() < 5 else 0.0
    harness.backend.faults.before = lambda action: failing(action, 0, 60)
    harness.start()
    await asyncio.sleep(59)
    assert [call.subject for call in harness.target.calls] == ["s", "slow", "last"]
    await harness.wait_until_empty(within=60)
    await harness.stop()
    assert numbers(harness) == [0, 1]


@BOTH
@pytest.mark.promise(3)
async def test_a_refused_delete_drops_the_lane(ordering: Ordering) -> None:
    """The handle of the fourth message is no longer valid: nothing of the lane starts until it is received again."""
    harness = await harness_of(ordering, after(1), 10)
    harness.backend.faults.entry = refuse_delete(3)
    harness.start()
    await harness.wait_until_empty(within=300)
    await harness.stop()

    assert numbers(harness) == [0, 1, 2, 3, 4, *range(3, 10)]
    assert harness.target.of("s")[5].at >= 60  # its visibility timeout, counted from the receive


@BOTH
@pytest.mark.promise(3)
async def test_a_kill_at_the_worst_moment_repeats_ten_messages_in_order(ordering: Ordering) -> None:
    """Ten were delivered and no delete has taken effect: these ten are repeated and counted, and the next ones follow."""
    harness = await harness_of(ordering, after(1), 12)
    harness.backend.faults.seconds = lambda action: 50.0 if action == "delete" else 0.0
    harness.start()
    await asyncio.sleep(30)
    assert numbers(harness) == list(range(10))
    await harness.kill()
    harness.backend.faults.seconds = lambda _action: 0.0
    harness.start()
    await harness.wait_until_empty(within=120)
    await harness.stop()

    assert numbers(harness) == [*range(10), *range(12)]
    assert harness.repeats() == 10


@BOTH
@pytest.mark.promise(2)
@pytest.mark.promise(3)
@pytest.mark.parametrize("seed", range(12))
async def test_kills_repeat_the_last_messages_delivered_in_order(ordering: Ordering, seed: int) -> None:
    """Killed five times while deletes take long, and are sometimes lost: at most ten are repeated, always the newest."""
    chance = random.Random(seed)

    async def answer(_subject: str, _number: int, _attempt: int) -> int:
        await asyncio.sleep(chance.random() * 2)
        return 200

    def lose(action: str) -> None:
        if action == "delete" and chance.random() < 0.1:
            raise unavailable("the answer was lost")

    harness = await harness_of(ordering, answer, 60)
    harness.backend.faults.seconds = lambda action: chance.random() * 6 if action == "delete" else 0.0
    harness.backend.faults.after = lose
    for _ in range(5):
        harness.start()
        await asyncio.sleep(5 + chance.random() * 15)
        await harness.kill()
        await asyncio.sleep(chance.random() * 60)
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()

    check_repeats(numbers(harness), 60)


def check_repeats(made: Sequence[int], messages: int) -> None:
    """Every message was delivered; after each the next one follows, or one of the ten last ones and those after it."""
    assert sorted(set(made)) == list(range(messages))
    newest = -1
    for before, number in itertools.pairwise((-1, *made)):
        assert number == before + 1 or newest - 10 < number <= before, made
        newest = max(newest, number)


@BOTH
async def test_a_lane_stays_hidden_while_its_deletes_fail(ordering: Ordering) -> None:
    """For five minutes, each after nine seconds: the messages are extended with the rest of the lane, and nothing is repeated."""
    harness = await harness_of(ordering, after(1), 10)
    harness.backend.faults.seconds = lambda action: 9.0 if action == "delete" and loop_time() < 300 else 0.0
    harness.backend.faults.before = lambda action: failing(action, 0, 300)
    harness.start()
    harness.start()
    await harness.wait_until_empty(within=400)
    await harness.stop()
    assert numbers(harness) == list(range(10))
    assert harness.repeats() == 0


@BOTH
@pytest.mark.promise(11)
async def test_a_stop_flushes_pending_deletes_and_releases_the_rest_in_order(ordering: Ordering) -> None:
    """Stopped in the fourth attempt while deletes take two seconds: four are deleted, six are visible at once."""
    harness = await harness_of(ordering, after(1), 10)
    harness.backend.faults.seconds = lambda action: 2.0 if action == "delete" else 0.0
    harness.start()
    await asyncio.sleep(3.5)
    await harness.stop()
    counts = await harness.backend.queue("mem://p0").counts()
    assert (counts.visible, counts.in_flight) == (6, 0)
    assert loop_time() < 10
    harness.start()
    await harness.wait_until_empty(within=30)
    await harness.stop()
    assert numbers(harness) == list(range(10))


@pytest.mark.promise(4)
async def test_a_move_to_a_rung_does_not_wait_for_deletes() -> None:
    """Relaxed: the rung stores the message before its delete, while the delete of the one before takes ten seconds."""
    harness = await harness_of(
        Ordering.RELAXED, lambda _s, number, attempt: 500 if (number, attempt) == (1, 1) else 200, 3
    )
    harness.backend.faults.seconds = lambda action: 10.0 if action == "delete" else 0.0
    harness.start()
    await asyncio.sleep(4)
    assert numbers(harness) == [0, 1, 2]
    assert (await harness.backend.queue("mem://rung-fast").counts()).total == 1
    assert (await harness.backend.queue("mem://p0").counts()).total == 3
    await harness.wait_until_empty(within=60)
    await harness.stop()
    assert numbers(harness) == [0, 1, 2, 1]


async def test_a_strict_dead_letter_is_not_attempted_again_after_a_crash() -> None:
    """Its delete was not acknowledged: the put is repeated and the next message, attempted already, is repeated too."""
    harness = await harness_of(Ordering.STRICT, lambda _s, number, _a: 301 if number == 0 else 200, 2)
    harness.backend.faults.seconds = lambda action: 30.0 if action == "delete" else 0.0
    harness.start()
    await asyncio.sleep(10)
    assert numbers(harness) == [0, 1]
    assert len(harness.backend.dead_letters.kept) == 1
    await harness.kill()
    harness.backend.faults.seconds = lambda _action: 0.0
    harness.start()
    await harness.wait_until_empty(within=120)
    await harness.stop()
    assert numbers(harness) == [0, 1, 1]
    assert harness.repeats() == 1
    assert len(harness.backend.dead_letters.kept) == 1
    assert harness.backend.attempt_records.kept == {}


@pytest.mark.parametrize(("messages", "within"), [(1, 0.07), (2, 0.02)])
async def test_a_lane_of_one_message_lingers_and_others_do_not(messages: int, within: float) -> None:
    """More of a subject may wait behind several messages; the delete of a single one may share a call."""
    harness = await harness_of(Ordering.RELAXED, after(0.001), messages, LINGERING)
    harness.start()
    await harness.wait_until_empty(poll_every=0.001)
    took = loop_time()
    await harness.stop()
    assert took < within
    assert (took > 0.06) is (messages == 1)
