"""The consumer engine in virtual time: order, ladder, holds, hand-over and drain, with the real FIFO rules."""

import asyncio
import itertools
import random
from collections import Counter, defaultdict

import pytest

from chaski_core.ports import Failed
from chaski_core.retry.ladder import Reason
from chaski_core.route.model import Ordering
from support.worker.harness import Call, FakeTarget, World, make_route
from support.worker.memory_backend import EPOCH_MS, LoopClock, unavailable

pytestmark = pytest.mark.looptime

BOTH = pytest.mark.parametrize("ordering", [Ordering.RELAXED, Ordering.STRICT], ids=str)


def firsts(calls: list[Call]) -> list[int]:
    """Message numbers of one subject in the order of their first attempts."""
    return list(dict.fromkeys(call.number for call in calls))


async def test_messages_of_a_subject_arrive_in_order_and_subjects_side_by_side() -> None:
    """Twenty subjects of ten messages each: in order within a subject, and together as fast as one alone."""

    async def answer(_subject: str, _number: int, _attempt: int) -> int:
        await asyncio.sleep(1)
        return 200

    world = World(make_route(), FakeTarget(answer))
    for number, subject in itertools.product(range(10), range(20)):
        await world.send(f"s{subject}", number)
    world.start()
    await world.settled()
    await world.stop()

    for subject in range(20):
        assert list(range(10)) == [call.number for call in world.target.of(f"s{subject}")]
    assert max(call.done for call in world.target.calls) < 15


@BOTH
@pytest.mark.promise(4)
@pytest.mark.parametrize(
    ("status", "attempts"), [(400, 5), (500, 6), (0, 3), (301, 1)], ids=["4xx", "5xx", "timeout", "no-ladder"]
)
async def test_a_failing_message_gets_exactly_its_ladder(ordering: Ordering, status: int, attempts: int) -> None:
    """Each class: as many attempts as its ladder says, then one dead letter with every error."""
    world = World(make_route(ordering), FakeTarget(lambda *_: status))
    await world.send("s", 0)
    world.start()
    await world.settled()
    await world.stop()

    (letter,) = world.backend.dead_letters.kept.values()
    assert attempts == len(world.target.calls)
    assert attempts == letter.attempts == len(letter.errors)
    assert (Reason.NO_LADDER if status == 301 else Reason.EXHAUSTED) == letter.reason


@BOTH
@pytest.mark.promise(4)
async def test_retries_wait_for_their_rungs(ordering: Ordering) -> None:
    """4xx climbs 2 x fast (5 s), then 2 x medium (60 s): never earlier, and not much later."""
    world = World(make_route(ordering), FakeTarget(lambda *_: 404))
    await world.send("s", 0)
    world.start()
    await world.settled()
    await world.stop()

    times = [call.at for call in world.target.calls]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert all(0 <= gap - rung < 2 for gap, rung in zip(gaps, [5, 5, 60, 60], strict=True))
    (letter,) = world.backend.dead_letters.kept.values()
    assert 1_000 > letter.dead_lettered_at - EPOCH_MS - times[-1] * 1000 >= 0  # when the last attempt had failed
    assert (4 if ordering is Ordering.STRICT else 0) == world.backend.attempt_records.reads  # one for each coming back


@pytest.mark.promise(4)
async def test_the_first_error_fixes_the_ladder() -> None:
    """A 404 that turns into 500s and timeouts keeps the four retries of 4xx."""
    answers = [404, 500, 0, 503, 500, 200]
    world = World(make_route(), FakeTarget(lambda _subject, _number, attempt: answers[attempt - 1]))
    await world.send("s", 0)
    world.start()
    await world.settled()
    await world.stop()

    (letter,) = world.backend.dead_letters.kept.values()
    assert letter.error_class == "404"
    assert [note.key for note in letter.errors] == ["404", "500", "timeout", "503", "500"]


@pytest.mark.promise(3)
async def test_strict_attempts_a_message_only_after_its_predecessors_are_settled() -> None:
    """With failures of all kinds, no message is attempted before the one ahead was delivered or dead-lettered."""
    chance = random.Random(7)

    async def answer(_subject: str, _number: int, _attempt: int) -> int:
        await asyncio.sleep(chance.random())
        return chance.choice([200, 200, 500, 404, 0])

    world = World(make_route(Ordering.STRICT), FakeTarget(answer))
    for number, subject in itertools.product(range(12), range(15)):
        await world.send(f"s{subject}", number)
    world.start()
    world.start()
    await world.settled()
    await world.stop()

    kept = {letter.id for letter in world.backend.dead_letters.kept.values()}
    for subject in range(15):
        calls = world.target.of(f"s{subject}")
        numbers = [call.number for call in calls]
        assert sorted(numbers) == numbers
        last = {call.number: call for call in calls}
        assert set(range(12)) == set(last)
        assert all((call.status == 200) != (f"s{subject}-{number}" in kept) for number, call in last.items())
        assert all(before.done <= after.at for before, after in itertools.pairwise(calls))


@pytest.mark.promise(3)
async def test_relaxed_keeps_the_order_of_first_attempts_and_of_each_rung() -> None:
    """Failures move aside; first attempts stay in order, and so do the retries of one rung."""
    chance = random.Random(11)
    world = World(make_route(), FakeTarget(lambda *_: chance.choice([200, 500, 500, 404])))
    for number, subject in itertools.product(range(15), range(10)):
        await world.send(f"s{subject}", number)
    world.start()
    world.start()
    await world.settled()
    await world.stop()

    by_attempt: dict[tuple[str, int], list[int]] = defaultdict(list)
    for entry in world.backend.journal.entries:
        by_attempt[(entry.subject, entry.number)].append(int(entry.id.rpartition("-")[2]))
    for subject in range(10):
        assert list(range(15)) == by_attempt[(f"s{subject}", 1)]
        assert sorted(by_attempt[(f"s{subject}", 2)]) == by_attempt[(f"s{subject}", 2)]


async def test_long_waits_behind_slow_messages_are_covered_by_the_heartbeat() -> None:
    """Ten messages of 29 s each, held by one receive for far longer than the visibility, are each attempted once."""

    async def answer(_subject: str, _number: int, _attempt: int) -> int:
        await asyncio.sleep(29)
        return 200

    world = World(make_route(), FakeTarget(answer))
    for number in range(10):
        await world.send("s", number)
    world.start()
    world.start()
    await world.settled()
    await world.stop()

    assert list(range(10)) == [call.number for call in world.target.calls]


@pytest.mark.promise(2)
async def test_a_hand_over_that_fails_holds_the_lane() -> None:
    """While the rung's queue is away, nothing behind the failed message is attempted, and nothing is lost."""
    world = World(
        make_route(), FakeTarget(lambda _subject, number, attempt: 500 if (number, attempt) == (0, 1) else 200)
    )
    for number in range(3):
        await world.send("s", number)

    def away(action: str) -> None:
        if action == "send" and asyncio.get_running_loop().time() < 300:
            raise unavailable()

    world.backend.faults.before = away
    world.start()
    await asyncio.sleep(299)
    assert firsts(world.target.calls) == [0]
    await world.settled()
    await world.stop()

    assert firsts(world.target.of("s")) == [0, 1, 2]
    assert Counter({200: 3, 500: 1}) == Counter(call.status for call in world.target.calls)


@BOTH
@pytest.mark.promise(10)
async def test_everything_away_for_minutes_loses_nothing_and_ends_nothing(ordering: Ordering) -> None:
    """Queue and store fail for five minutes in the middle: the worker goes on by itself, all are settled, in order."""
    chance = random.Random(3)
    world = World(make_route(ordering), FakeTarget(lambda *_: chance.choice([200, 500, 404])))

    def away(_action: str) -> None:
        if 20 < asyncio.get_running_loop().time() < 320:
            raise unavailable()

    for number, subject in itertools.product(range(10), range(5)):
        await world.send(f"s{subject}", number)
    world.backend.faults.before = away
    world.start()
    await asyncio.sleep(330)
    await world.settled()
    await world.stop()

    delivered = {f"{call.subject}-{call.number}" for call in world.target.calls if call.status == 200}
    kept = {letter.id for letter in world.backend.dead_letters.kept.values()}
    assert len(delivered | kept) == 50
    for subject in range(5):
        assert list(range(10)) == firsts(world.target.of(f"s{subject}"))


@BOTH
async def test_answers_that_are_lost_on_their_way_lose_no_message(ordering: Ordering) -> None:
    """Every fourth call takes effect but its answer never comes: attempts may repeat, nothing is missing."""
    chance = random.Random(5)
    world = World(make_route(ordering), FakeTarget(lambda *_: chance.choice([200, 500])))
    for number, subject in itertools.product(range(8), range(5)):
        await world.send(f"s{subject}", number)
    counter = itertools.count()

    def cut(_action: str) -> None:
        if next(counter) % 4 == 3:
            raise unavailable("the answer was lost")

    world.backend.faults.after = cut
    world.start()
    await world.settled()
    world.backend.faults.after = lambda _action: None
    await world.stop()

    delivered = {f"{call.subject}-{call.number}" for call in world.target.calls if call.status == 200}
    kept = {letter.id for letter in world.backend.dead_letters.kept.values()}
    assert len(delivered | kept) == 40
    for subject in range(5):
        assert list(range(8)) == firsts(world.target.of(f"s{subject}"))


async def test_an_entry_that_fails_inside_a_good_answer_is_done_again() -> None:
    """Deletes and hand-overs that come back as Failed are repeated until they are done."""
    chance = random.Random(9)
    world = World(make_route(), FakeTarget(lambda *_: chance.choice([200, 500])))
    for number in range(20):
        await world.send("s", number)
    failures = itertools.count()

    def fail(action: str, _index: int) -> Failed | None:
        if action == "send" and next(failures) % 3 == 0:
            return Failed("InternalError", "try again", sender_fault=False)
        return None

    world.backend.faults.entry = fail
    world.start()
    await world.settled()
    await world.stop()

    assert list(range(20)) == firsts(world.target.of("s"))
    delivered = {f"s-{call.number}" for call in world.target.calls if call.status == 200}
    assert len(delivered | {letter.id for letter in world.backend.dead_letters.kept.values()}) == 20


@pytest.mark.promise(11)
async def test_a_stop_finishes_what_is_in_flight_and_gives_the_rest_back_in_order() -> None:
    """After a stop: the attempt under way ends and counts, and another worker goes on with the next message at once."""

    async def answer(_subject: str, _number: int, _attempt: int) -> int:
        await asyncio.sleep(10)
        return 200

    world = World(make_route(), FakeTarget(answer))
    for number in range(5):
        await world.send("s", number)
    world.start()
    await asyncio.sleep(15)
    await world.stop()
    stopped_at = asyncio.get_running_loop().time()
    assert [call.number for call in world.target.calls] == [0, 1]
    world.start()
    await world.settled()
    await world.stop()

    assert 20 <= stopped_at < 21
    assert list(range(5)) == [call.number for call in world.target.calls]
    assert stopped_at + 1 > world.target.calls[2].at


@pytest.mark.promise(5)
async def test_garbage_becomes_a_dead_letter_and_the_line_goes_on() -> None:
    """Bytes that are no envelope are kept as they were, with the reason `malformed`."""
    world = World(make_route(), FakeTarget(lambda *_: 200))
    await asyncio.sleep(100)
    await world.put("mem://p0", b"\xff not json", "s", "x")
    await asyncio.sleep(100)
    await world.send("s", 1)
    world.start()
    await world.settled()
    await world.stop()

    (letter,) = world.backend.dead_letters.kept.values()
    assert (letter.reason, letter.raw, letter.subject) == (Reason.MALFORMED, b"\xff not json", "s")
    assert letter.dead_lettered_at == EPOCH_MS + 200_000  # when it became one, not when it was sent
    assert [call.number for call in world.target.calls] == [1]


@pytest.mark.promise(5)
async def test_a_message_without_metadata_on_a_rung_is_a_dead_letter() -> None:
    """The rung does not know how far it has climbed, so it is not attempted."""
    world = World(make_route(), FakeTarget(lambda *_: 200))
    await world.put("mem://rung-fast", b'{"subject":"s","body":{"url":"http://t0.example/"},"extra":1}')
    world.start()
    await world.settled()
    await world.stop()

    (letter,) = world.backend.dead_letters.kept.values()
    assert letter.reason == Reason.NO_METADATA
    assert letter.envelope == {"subject": "s", "body": {"url": "http://t0.example/"}, "extra": 1}
    assert world.target.calls == []


@BOTH
async def test_a_message_about_to_expire_is_kept_unattempted(ordering: Ordering) -> None:
    """A message of 13 days and more goes to the dead letters in order; the next one is attempted."""
    world = World(make_route(ordering), FakeTarget(lambda *_: 200))
    await world.send("s", 0)
    await asyncio.sleep(13 * 86_400 + 1)
    await world.send("s", 1)
    world.start()
    await world.settled()
    await world.stop()

    (letter,) = world.backend.dead_letters.kept.values()
    assert (letter.reason, letter.id) == (Reason.EXPIRED, "s-0")
    assert [call.number for call in world.target.calls] == [1]


async def test_a_suspended_route_attempts_nothing_and_still_saves_what_would_expire() -> None:
    """Suspended for 15 days: no call, and each message is a dead letter before its queue deletes it."""
    world = World(make_route(suspended=True), FakeTarget(lambda *_: 200))
    for number, subject in itertools.product(range(15), range(3)):
        await world.send(f"s{subject}", number)
    world.start()
    await asyncio.sleep(12 * 86_400)
    assert world.backend.dead_letters.kept == {}
    await world.settled(3 * 86_400, look_every=600)
    await world.stop()

    assert len(world.backend.dead_letters.kept) == 45
    assert {Reason.EXPIRED} == {letter.reason for letter in world.backend.dead_letters.kept.values()}
    assert world.target.calls == []


@pytest.mark.promise(2)
@BOTH
async def test_old_messages_of_a_queue_that_keeps_them_are_delivered(ordering: Ordering) -> None:
    """The embedded backend: stopped for 20 days, everything goes on."""
    world = World(make_route(ordering), FakeTarget(lambda *_: 200), keeps=True)
    for number in range(3):
        await world.send("s", number)
    await asyncio.sleep(20 * 86_400)
    world.start()
    await world.settled()
    await world.stop()

    assert [call.number for call in world.target.calls] == [0, 1, 2]
    assert world.backend.dead_letters.kept == {}


async def test_a_suspended_route_leaves_queues_alone_that_keep_their_messages() -> None:
    """There is nothing to save: no receive, so that no receive is counted either."""
    world = World(make_route(suspended=True), FakeTarget(lambda *_: 200), keeps=True)
    await world.send("s", 0)
    world.start()
    await asyncio.sleep(20 * 86_400)
    await world.stop()

    assert {queue.calls["receive"] for queue in world.backend.queues.values()} == {0}
    assert world.backend.dead_letters.kept == {}


class SetBackClock(LoopClock):
    """A wall clock that is set back at a time of the loop."""

    def __init__(self, at: float, by_seconds: int) -> None:
        self.at, self.by_ms = at, by_seconds * 1000

    def now_ms(self) -> int:
        """Epoch milliseconds."""
        return super().now_ms() - (self.by_ms if self.monotonic() >= self.at else 0)


@pytest.mark.promise(10)
async def test_strict_subject_goes_on_after_the_clock_was_set_back() -> None:
    """By 400 days, after the first failure: the retry is made when its rung is over, not in 400 days."""
    world = World(make_route(Ordering.STRICT), FakeTarget(lambda _s, _n, attempt: 404 if attempt < 2 else 200))
    begun = asyncio.get_running_loop().time()
    world.clock = SetBackClock(begun + 2, 400 * 86_400)
    await world.send("s", 0)
    world.start()
    await world.settled(within=60)
    await world.stop()

    assert [call.status for call in world.target.calls] == [404, 200]
    assert world.target.calls[1].at - world.target.calls[0].at >= 5


@pytest.mark.promise(9)
async def test_a_target_that_hangs_does_not_hold_up_another() -> None:
    """With 200 subjects on a target that never answers, messages for another target still arrive within seconds."""

    async def answer(subject: str, _number: int, _attempt: int) -> int:
        if subject.startswith("dead"):
            await asyncio.sleep(30)
            return 0
        return 200

    world = World(make_route(targets=2, concurrency=16), FakeTarget(answer))
    for subject in range(200):
        await world.send(f"dead{subject}", 0, target=1)
    world.start()
    await asyncio.sleep(20)
    sent_at = asyncio.get_running_loop().time()
    for subject in range(50):
        await world.send(f"live{subject}", 0)
    await world.settled()
    await world.stop()

    live = [call.at - sent_at for call in world.target.calls if call.subject.startswith("live")]
    assert len(live) == 50
    assert max(live) < 30


@pytest.mark.promise(12)
async def test_what_is_held_stays_within_the_caps() -> None:
    """With 1,000 subjects waiting and slow targets, lanes stay near their cap and attempts at theirs."""

    async def answer(_subject: str, _number: int, _attempt: int) -> int:
        await asyncio.sleep(5)
        return 200

    world = World(make_route(concurrency=8), FakeTarget(answer))
    for subject in range(1000):
        await world.send(f"s{subject}", 0)
    worker = world.start()
    most = 0
    for _ in range(200):
        await asyncio.sleep(1)
        most = max(most, sum(len(consumer.lanes) for consumer in worker._consumers))
    await world.settled()
    await world.stop()

    assert world.target.most_running == 8
    assert most <= 16 + 10


async def test_strict_reads_no_record_for_a_message_received_once() -> None:
    """A message that is delivered at once costs no read and no write of an attempt record."""
    world = World(make_route(Ordering.STRICT), FakeTarget(lambda *_: 200))
    for number in range(10):
        await world.send("s", number)
    world.start()
    await world.settled()
    await world.stop()

    assert world.backend.attempt_records.reads == 0
    assert world.backend.attempt_records.kept == {}


async def test_strict_head_received_early_is_hidden_again_uncounted() -> None:
    """A head that comes back before its time (a broker restart) is not attempted and keeps its due time."""
    world = World(make_route(Ordering.STRICT), FakeTarget(lambda _s, _n, attempt: 404 if attempt < 4 else 200))
    await world.send("s", 0)
    world.start()
    for _ in range(30):
        await asyncio.sleep(2)
        world.backend.queue("mem://p0")._rules.release_all(world.backend.queue("mem://p0")._now())
    await world.settled()
    await world.stop()

    times = [call.at for call in world.target.calls]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert all(gap >= rung for gap, rung in zip(gaps, [5, 5, 60], strict=True))
