"""Lanes of both orderings: order, ladder, failing backends and repeats, in virtual time with the real FIFO rules."""

import asyncio
import itertools
import random
from dataclasses import replace

import pytest

from chaski_core.retry.ladder import Reason
from chaski_core.retry.policy import Ladder, Result, RetryPolicy, Rung, StatusRule
from chaski_core.route.model import Ordering
from chaski_worker.settings import WorkerSettings
from support.metric_pages import value
from support.worker.harness import FAST, MEDIUM, POLICY, FakeTarget, WorkerHarness, first_attempts, make_route
from support.worker.memory_backend import EPOCH_MS, unavailable

pytestmark = pytest.mark.looptime

BOTH = pytest.mark.parametrize("ordering", [Ordering.RELAXED, Ordering.STRICT], ids=str)


async def test_messages_of_a_subject_arrive_in_order_and_subjects_side_by_side() -> None:
    """Twenty subjects of ten messages each: in order within a subject, and together as fast as one alone."""

    async def answer(_subject: str, _number: int, _attempt: int) -> int:
        await asyncio.sleep(1)
        return 200

    harness = WorkerHarness(make_route(), FakeTarget(answer))
    for number, subject in itertools.product(range(10), range(20)):
        await harness.send(f"s{subject}", number)
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()

    for subject in range(20):
        assert list(range(10)) == [call.number for call in harness.target.of(f"s{subject}")]
    assert max(call.done for call in harness.target.calls) < 15


@BOTH
@pytest.mark.promise(4)
@pytest.mark.parametrize(
    ("status", "attempts"), [(400, 5), (500, 6), (0, 3), (301, 1)], ids=["4xx", "5xx", "timeout", "no-ladder"]
)
async def test_a_failing_message_gets_exactly_its_ladder(ordering: Ordering, status: int, attempts: int) -> None:
    """Each class: the attempts of its ladder, then one dead dead_letter with every error."""
    harness = WorkerHarness(make_route(ordering), FakeTarget(lambda *_: status))
    await harness.send("s", 0)
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()

    (dead_letter,) = harness.backend.dead_letters.kept.values()
    assert attempts == len(harness.target.calls)
    assert attempts == dead_letter.attempts == len(dead_letter.errors)
    assert (Reason.NO_LADDER if status == 301 else Reason.EXHAUSTED) == dead_letter.reason


@BOTH
@pytest.mark.promise(4)
async def test_retries_wait_for_their_rungs(ordering: Ordering) -> None:
    """4xx climbs 2 x fast (5 s), then 2 x medium (60 s and this subject's part of the jitter): never earlier, and not much later."""
    harness = WorkerHarness(make_route(ordering), FakeTarget(lambda *_: 404))
    await harness.send("s", 0)
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()

    times = [call.at for call in harness.target.calls]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    medium = MEDIUM.wait_seconds("s")
    assert 60 < medium < 72
    assert all(0 <= gap - rung < 2 for gap, rung in zip(gaps, [5, 5, medium, medium], strict=True))
    (dead_letter,) = harness.backend.dead_letters.kept.values()
    assert 1_000 > dead_letter.dead_lettered_at - EPOCH_MS - times[-1] * 1000 >= 0  # when the last attempt had failed
    assert (
        4 if ordering is Ordering.STRICT else 0
    ) == harness.backend.attempt_records.reads  # one for each coming back


@pytest.mark.promise(4)
async def test_the_first_error_fixes_the_ladder() -> None:
    """A 404 that turns into 500s and timeouts keeps the four retries of 4xx."""
    answers = [404, 500, 0, 503, 500, 200]
    harness = WorkerHarness(make_route(), FakeTarget(lambda _subject, _number, attempt: answers[attempt - 1]))
    await harness.send("s", 0)
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()

    (dead_letter,) = harness.backend.dead_letters.kept.values()
    assert dead_letter.error_class == "404"
    assert [note.key for note in dead_letter.errors] == ["404", "500", "timeout", "503", "500"]


@BOTH
@pytest.mark.promise(10)
async def test_an_outage_of_all_backends_loses_no_message(ordering: Ordering) -> None:
    """Queues and stores fail for five minutes in the middle: the worker recovers, and all messages are settled, in order."""
    chance = random.Random(3)
    harness = WorkerHarness(make_route(ordering), FakeTarget(lambda *_: chance.choice([200, 500, 404])))

    def outage(_action: str) -> None:
        if 20 < asyncio.get_running_loop().time() < 320:
            raise unavailable()

    for number, subject in itertools.product(range(10), range(5)):
        await harness.send(f"s{subject}", number)
    harness.backend.faults.before = outage
    harness.start()
    await asyncio.sleep(330)
    await harness.wait_until_empty()
    await harness.stop()

    delivered = {f"{call.subject}-{call.number}" for call in harness.target.calls if call.status == 200}
    kept = {dead_letter.id for dead_letter in harness.backend.dead_letters.kept.values()}
    assert len(delivered | kept) == 50
    for subject in range(5):
        assert list(range(10)) == first_attempts(harness.target.of(f"s{subject}"))


@BOTH
async def test_lost_responses_lose_no_message(ordering: Ordering) -> None:
    """Every fourth call takes effect, but its response is lost: attempts may repeat, no message is missing."""
    chance = random.Random(5)
    harness = WorkerHarness(make_route(ordering), FakeTarget(lambda *_: chance.choice([200, 500])))
    for number, subject in itertools.product(range(8), range(5)):
        await harness.send(f"s{subject}", number)
    counter = itertools.count()

    def cut(_action: str) -> None:
        if next(counter) % 4 == 3:
            raise unavailable("the answer was lost")

    harness.backend.faults.after = cut
    harness.start()
    await harness.wait_until_empty()
    harness.backend.faults.after = lambda _action: None
    await harness.stop()

    delivered = {f"{call.subject}-{call.number}" for call in harness.target.calls if call.status == 200}
    kept = {dead_letter.id for dead_letter in harness.backend.dead_letters.kept.values()}
    assert len(delivered | kept) == 40
    for subject in range(5):
        assert list(range(8)) == first_attempts(harness.target.of(f"s{subject}"))


@pytest.mark.promise(5)
async def test_a_malformed_message_becomes_a_dead_letter_and_the_lane_continues() -> None:
    """Bytes that are not an envelope are stored unchanged, with the reason `malformed`."""
    harness = WorkerHarness(make_route(), FakeTarget(lambda *_: 200))
    await asyncio.sleep(100)
    await harness.put("mem://p0", b"\xff not json", "s", "x")
    await asyncio.sleep(100)
    await harness.send("s", 1)
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()

    (dead_letter,) = harness.backend.dead_letters.kept.values()
    assert (dead_letter.reason, dead_letter.raw, dead_letter.subject) == (Reason.MALFORMED, b"\xff not json", "s")
    assert dead_letter.dead_lettered_at == EPOCH_MS + 200_000  # when it became one, not when it was sent
    assert [call.number for call in harness.target.calls] == [1]


@BOTH
async def test_an_expiring_message_becomes_a_dead_letter_unattempted(ordering: Ordering) -> None:
    """A message older than 13 days becomes a dead dead_letter in order; the next one is attempted."""
    harness = WorkerHarness(make_route(ordering), FakeTarget(lambda *_: 200))
    await harness.send("s", 0)
    await asyncio.sleep(13 * 86_400 + 1)
    await harness.send("s", 1)
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()

    (dead_letter,) = harness.backend.dead_letters.kept.values()
    assert (dead_letter.reason, dead_letter.id) == (Reason.EXPIRED, "s-0")
    assert [call.number for call in harness.target.calls] == [1]


@pytest.mark.promise(2)
@BOTH
async def test_old_messages_of_a_queue_without_retention_are_delivered(ordering: Ordering) -> None:
    """The embedded backend: stopped for 20 days, everything is delivered."""
    harness = WorkerHarness(make_route(ordering), FakeTarget(lambda *_: 200), keeps=True)
    for number in range(3):
        await harness.send("s", number)
    await asyncio.sleep(20 * 86_400)
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()

    assert [call.number for call in harness.target.calls] == [0, 1, 2]
    assert harness.backend.dead_letters.kept == {}


@BOTH
async def test_climbing_a_ladder_repeats_nothing(ordering: Ordering) -> None:
    """Heads that fail and are redelivered when due, and the messages behind them, are not repeats."""
    harness = WorkerHarness(make_route(ordering), FakeTarget(lambda _s, number, _a: 500 if number % 2 else 200))
    for number in range(8):
        await harness.send("s", number)
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()
    assert len(harness.target.calls) == 4 + 4 * 6
    assert harness.repeats() == 0


@BOTH
async def test_every_attempt_that_a_crash_repeats_is_counted(ordering: Ordering) -> None:
    """Killed during a first attempt and during a retry: each is made again, and counted once."""
    began: list[int] = []

    async def answer(_subject: str, _number: int, attempt: int) -> int:
        began.append(attempt)
        await asyncio.sleep(3)
        return 500

    harness = WorkerHarness(make_route(ordering), FakeTarget(answer))
    await harness.send("s", 0)
    for attempt in (1, 2):
        harness.start()
        while attempt not in began:
            await asyncio.sleep(1)
        await harness.kill()
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()
    assert began == [1, 1, 2, 2, 3, 4, 5, 6]
    assert harness.repeats() == 2


RESULTS = replace(POLICY, outcomes=(StatusRule(("409",), Result.DELIVERED), StatusRule(("410",), Result.DISCARD)))


@BOTH
@pytest.mark.promise(4)
async def test_declared_results_end_a_message_at_any_attempt(ordering: Ordering) -> None:
    """409 at the second attempt is delivered; 410 is kept as discarded; the subject continues."""
    answers = {(0, 1): 500, (0, 2): 409, (1, 1): 500, (1, 2): 410}
    harness = WorkerHarness(
        make_route(ordering, policy=RESULTS),
        FakeTarget(lambda _s, number, attempt: answers.get((number, attempt), 200)),
    )
    for number in range(3):
        await harness.send("s", number)
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()

    (dead_letter,) = harness.backend.dead_letters.kept.values()
    assert (dead_letter.id, dead_letter.reason, dead_letter.error_class) == ("s-1", Reason.DISCARDED, "500")
    assert [note.key for note in dead_letter.errors] == ["500", "410"]
    outcomes = {(entry.id, entry.number): entry.outcome for entry in harness.backend.journal.entries}
    assert outcomes["s-0", 2] == "delivered"
    assert outcomes["s-1", 2] == "failed"
    assert outcomes["s-2", 1] == "delivered"
    assert len(harness.target.calls) == 5


@BOTH
@pytest.mark.promise(2)
async def test_a_discarded_message_that_is_not_kept_is_counted_and_deleted(ordering: Ordering) -> None:
    """At the first attempt and at a retry; it leaves no dead letter and no attempt record, and its subject continues."""
    policy = replace(POLICY, outcomes=(StatusRule(("410",), Result.DISCARD, keep=False),))
    answers = {(0, 1): 410, (1, 1): 500, (1, 2): 410}
    harness = WorkerHarness(
        make_route(ordering, policy=policy), FakeTarget(lambda _s, number, attempt: answers.get((number, attempt), 200))
    )
    for number in range(3):
        await harness.send("s", number)
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()

    assert harness.backend.dead_letters.kept == {}
    assert harness.backend.attempt_records.kept == {}
    outcomes = {(entry.id, entry.number): entry.outcome for entry in harness.backend.journal.entries}
    assert outcomes == {
        ("s-0", 1): "discarded",
        ("s-1", 1): "failed",
        ("s-1", 2): "discarded",
        ("s-2", 1): "delivered",
    }
    assert value(harness.metrics, "chaski_messages_discarded_total") == 2
    assert value(harness.metrics, "chaski_messages_settled_total", end="discarded") == 2
    assert value(harness.metrics, "chaski_messages_settled_total", end="dead_lettered") == 0


@pytest.mark.promise(4)
async def test_a_crash_before_the_dead_letter_keeps_its_reason() -> None:
    """Strict: the worker that finds the ladder ended gives the reason of the last error, not that no retry is left."""
    harness = WorkerHarness(make_route(Ordering.STRICT, policy=RESULTS), FakeTarget(lambda *_: 410))
    await harness.send("s", 0)

    def outage(action: str) -> None:
        if action == "put" and asyncio.get_running_loop().time() < 100:
            raise unavailable()

    harness.backend.faults.before = outage
    harness.start()
    await asyncio.sleep(50)
    await harness.kill()
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()

    (dead_letter,) = harness.backend.dead_letters.kept.values()
    assert (dead_letter.reason, len(harness.target.calls)) == (Reason.DISCARDED, 1)


@BOTH
@pytest.mark.promise(3)
async def test_a_message_older_than_the_route_allows_is_not_attempted_any_more(ordering: Ordering) -> None:
    """Its age counts from its first queue, over all rungs. In Strict too its subject does not wait for a retry that would be too late."""
    harness = WorkerHarness(
        make_route(ordering, policy=RESULTS, max_age_seconds=30),
        FakeTarget(lambda _s, number, _a: 404 if number == 0 else 200),
    )
    await harness.send("s", 0)
    harness.start()
    await asyncio.sleep(25)
    await harness.send("s", 1)
    await harness.wait_until_empty()
    await harness.stop()

    (dead_letter,) = harness.backend.dead_letters.kept.values()
    assert (dead_letter.id, dead_letter.reason) == ("s-0", Reason.TOO_OLD)
    times = [call.at for call in harness.target.of("s") if call.number == 0]
    assert len(times) == 3  # at 0, 5 and 10 s; the next would be at 70 s
    assert dead_letter.dead_lettered_at - EPOCH_MS < 15_000
    assert dead_letter.attempts == 3
    assert [call.status for call in harness.target.of("s") if call.number == 1] == [200]


LONG = RetryPolicy((FAST, Rung("long", 50_000)), (Ladder("any", 1, ("long",)),))


@BOTH
@pytest.mark.promise(3)
@pytest.mark.promise(4)
async def test_waits_of_many_hours_end_when_they_are_due(ordering: Ordering) -> None:
    """Longer than a queue's delay and any visibility timeout; killed between: in order, not early, no repeats, nothing in memory."""
    harness = WorkerHarness(
        make_route(ordering, policy=LONG),
        FakeTarget(lambda _s, number, attempt: 500 if attempt < 2 and number < 2 else 200),
        # Twelve hours of polls of 20 s and heartbeats of 5 s take so much CPU that the test timed out on a busy machine.
        WorkerSettings(observe_interval_seconds=0, visibility_seconds=600, wait_seconds=200),
    )
    for number in range(3):
        await harness.send("s", number)
    harness.start()
    await asyncio.sleep(20_000)
    lanes = [line for line in harness.metrics.render().decode().splitlines() if line.startswith("chaski_lanes{")]
    assert lanes
    assert all(line.endswith(" 0.0") for line in lanes), lanes
    await harness.kill()
    harness.start()
    await harness.wait_until_empty(within=200_000, poll_every=60)
    await harness.stop()

    wait = LONG.rungs[1].wait_seconds("s")
    assert 50_000 < wait < 60_000
    calls = {number: [call for call in harness.target.of("s") if call.number == number] for number in range(3)}
    assert [len(calls[number]) for number in range(3)] == [2, 2, 1]
    for number in range(2):
        times = [call.at for call in calls[number]]
        assert all(0 <= after - before - wait < 60 for before, after in itertools.pairwise(times))
    retries = [(call.at, call.number) for call in harness.target.of("s") if call.number < 2]
    for attempt in range(2):
        assert calls[0][attempt].at <= calls[1][attempt].at
    assert retries == sorted(retries)
    assert harness.repeats() == 0


@BOTH
@pytest.mark.promise(3)
async def test_a_target_that_asks_for_time_gets_it(ordering: Ordering) -> None:
    """Retry-After of ten minutes on a rung of five seconds: messages behind it on the rung wait with it, and no retry is used up.

    They go to another host, because the one that asked is held.
    """
    harness = WorkerHarness(
        make_route(ordering, targets=2),
        FakeTarget(lambda _s, _n, attempt: 503 if attempt == 1 else 200, retry_after_seconds={0: 600.0}),
    )
    for number in range(2):
        await harness.send("s", number, target=number)
    harness.start()
    await harness.wait_until_empty(within=5_000)
    await harness.stop()

    first, second = ([call.at for call in harness.target.of("s") if call.number == number] for number in range(2))
    assert [len(first), len(second)] == [2, 2]
    assert 600 <= first[1] - first[0] < 602
    if ordering is Ordering.STRICT:
        assert second[0] >= first[1]
        assert 5 <= second[1] - second[0] < 7
    else:
        assert second[0] < 1
        assert first[1] <= second[1] < first[1] + 2
