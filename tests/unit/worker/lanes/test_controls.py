"""What people decided about subjects, applied by workers: in virtual time with the real FIFO rules."""

import asyncio
import itertools
from dataclasses import replace

import pytest

from chaski_core.ports import VisibilityChange
from chaski_core.retry.control import ControlAction, ControlRecord
from chaski_core.retry.ladder import Reason
from chaski_core.retry.policy import Ladder, RetryPolicy, Rung
from chaski_core.route.model import Ordering
from support.worker.harness import Answer, FakeTarget, WorkerHarness, loop_time, make_route
from support.worker.memory_backend import unavailable

pytestmark = pytest.mark.looptime

BOTH = pytest.mark.parametrize("ordering", [Ordering.STRICT, Ordering.RELAXED])
LONG = RetryPolicy((Rung("hour", 3_000),), (Ladder("any", 2, ("hour",)),))
HOLDING = replace(LONG, hold_exhausted=True)


def harness_with(answer: Answer, ordering: Ordering = Ordering.STRICT, policy: RetryPolicy = LONG) -> WorkerHarness:
    """A worker's surroundings, with one retry after 50 minutes and another 50 minutes later."""
    return WorkerHarness(make_route(ordering, policy=policy), FakeTarget(answer))


async def sent(harness: WorkerHarness, subject: str, number: int) -> str:
    """Sends a message; returns its identity."""
    await harness.send(subject, number)
    queue = harness.backend.queue("mem://p0")
    return queue._id(queue._last)


async def decide(
    harness: WorkerHarness, action: ControlAction, message_id: str = "", attempts: int | None = None, subject: str = "s"
) -> ControlRecord:
    """Writes a control record, and makes the head visible, as the command does."""
    record = ControlRecord("ns/r", subject, action, harness.clock.now_ms(), message_id, attempts)
    await harness.backend.control_records.write(record)
    found = harness.backend.attempt_records.kept.get(message_id)
    if found is not None and found.head is not None:
        change = VisibilityChange(found.head.receipt_handle, 0)
        assert list(await harness.backend.queue(found.head.queue_url).change_visibility([change])) == [None]
    return record


def numbers(harness: WorkerHarness, subject: str = "s") -> list[int]:
    """The messages of a subject in the order of their attempts."""
    return [call.number for call in harness.target.of(subject)]


@pytest.mark.promise(3)
@pytest.mark.promise(4)
async def test_retry_now_attempts_a_hidden_head_at_once_and_uses_its_next_retry() -> None:
    """Within a second of the decision, 50 minutes early; the second retry is made 50 minutes after that."""
    harness = harness_with(lambda _s, number, attempt: 200 if number or attempt == 3 else 503)
    head = await sent(harness, "s", 0)
    await harness.send("s", 1)
    harness.start()
    await asyncio.sleep(100)
    decided_at = loop_time()
    await decide(harness, ControlAction.RETRY_NOW, head, 1)
    await asyncio.sleep(10)
    assert harness.backend.control_records.kept == {}
    await harness.wait_until_empty()
    await harness.stop()
    calls = harness.target.of("s")
    assert [(call.number, call.status) for call in calls] == [(0, 503), (0, 503), (0, 200), (1, 200)]
    assert calls[1].at - decided_at < 1
    assert calls[2].at - calls[1].at >= 3_000


async def test_retry_now_is_made_once_where_the_worker_is_killed_before_the_record_is_removed() -> None:
    """The attempt is in the attempt record; received early again, the head waits until its rung is over."""
    harness = harness_with(lambda _s, _n, attempt: 200 if attempt == 3 else 503)
    head = await sent(harness, "s", 0)
    harness.start()
    await asyncio.sleep(100)

    def killed(action: str) -> None:
        if action == "uncontrol":
            raise asyncio.CancelledError

    harness.backend.faults.before = killed
    await decide(harness, ControlAction.RETRY_NOW, head, 1)
    await asyncio.sleep(10)
    await harness.kill()
    harness.backend.faults.before = lambda _: None
    assert len(harness.backend.control_records.kept) == 1
    queue = harness.backend.queue("mem://p0")
    queue._rules.release_all(queue._now())
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()
    first, second, third = harness.target.of("s")
    assert second.at - first.at < 110
    assert third.at - second.at >= 3_000
    assert harness.backend.control_records.kept == {}


@BOTH
@pytest.mark.promise(2)
@pytest.mark.promise(3)
async def test_a_skipped_message_becomes_a_dead_letter_and_the_next_goes_on(ordering: Ordering) -> None:
    """Whole, with its errors so far; in Relaxed before its first attempt, because the hold of its subject keeps it there."""
    harness = harness_with(lambda _s, number, _attempt: 503 if number == 0 else 200, ordering)
    is_strict = ordering is Ordering.STRICT
    if not is_strict:
        await decide(harness, ControlAction.HOLD)
    head = await sent(harness, "s", 0)
    await harness.send("s", 1)
    harness.start()
    await asyncio.sleep(100)
    await decide(harness, ControlAction.SKIP, head)
    for record in list(harness.backend.control_records.kept.values()):
        if record.action is ControlAction.HOLD:
            await harness.backend.control_records.remove(record)
    await harness.wait_until_empty(within=200)
    await harness.stop()
    (dead_letter,) = harness.backend.dead_letters.letters
    assert (dead_letter.message_id, dead_letter.reason, dead_letter.subject) == (head, Reason.SKIPPED, "s")
    assert dead_letter.envelope is not None
    assert dead_letter.target == "t0"
    assert dead_letter.attempts == (1 if is_strict else 0)
    assert [note.key for note in dead_letter.errors] == (["503"] if is_strict else [])
    assert numbers(harness) == ([0, 1] if is_strict else [1])
    assert harness.backend.control_records.kept == {}
    assert harness.backend.attempt_records.kept == {}
    assert 'reason="skipped"' in harness.metrics.render().decode()


@BOTH
@pytest.mark.parametrize("action", ["delete", "uncontrol"])
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_skip_is_complete_where_the_worker_is_killed(ordering: Ordering, action: str, moment: str) -> None:
    """Between the put, the delete and the removal of the record: one dead letter, no attempt, and the next message goes on."""
    harness = harness_with(lambda *_: 200, ordering)
    await decide(harness, ControlAction.HOLD)
    head = await sent(harness, "s", 0)
    await harness.send("s", 1)
    harness.start()
    await asyncio.sleep(20)

    def killed(made: str) -> None:
        if made == action:
            raise asyncio.CancelledError

    setattr(harness.backend.faults, moment, killed)
    await decide(harness, ControlAction.SKIP, head)
    await asyncio.sleep(100)
    await harness.kill()
    setattr(harness.backend.faults, moment, lambda _: None)
    (hold,) = [each for each in harness.backend.control_records.kept.values() if each.action is ControlAction.HOLD]
    await harness.backend.control_records.remove(hold)
    harness.start()
    await harness.wait_until_empty(within=400)
    await harness.stop()
    assert [each.reason for each in harness.backend.dead_letters.letters] == [Reason.SKIPPED]
    assert numbers(harness) == [1]


@BOTH
@pytest.mark.promise(3)
@pytest.mark.promise(4)
async def test_a_held_subject_waits_in_order_and_uncharged_while_others_go_on(ordering: Ordering) -> None:
    """Held before its first attempt and released: all of its messages follow within one step, at their first attempt."""
    attempts: list[int] = []

    def answer(_subject: str, _number: int, attempt: int) -> int:
        attempts.append(attempt)
        return 200

    harness = harness_with(answer, ordering)
    hold = await decide(harness, ControlAction.HOLD)
    for number, subject in itertools.product(range(15), ("s", "free")):
        await harness.send(subject, number)
    harness.start()
    await asyncio.sleep(1_000)
    assert numbers(harness) == []
    assert numbers(harness, "free") == list(range(15))
    released_at = loop_time()
    await harness.backend.control_records.remove(hold)
    await harness.wait_until_empty(within=400)
    await harness.stop()
    assert numbers(harness) == list(range(15))
    assert harness.target.of("s")[0].at - released_at <= 301
    assert set(attempts) == {1}
    assert harness.repeats() == 0


async def test_a_hold_is_noticed_within_one_interval_by_a_busy_worker() -> None:
    """While messages of the subject are delivered one after the other."""
    harness = harness_with(lambda *_: 200)
    harness.start()
    for number in range(20):
        await harness.send("s", number)
        await asyncio.sleep(1)
        if number == 8:
            await decide(harness, ControlAction.HOLD)
            decided_at = loop_time()
    await asyncio.sleep(100)
    await harness.stop()
    calls = harness.target.of("s")
    assert numbers(harness) == list(range(len(calls)))
    assert calls[-1].at - decided_at <= 6
    assert len(calls) < 20


async def test_a_record_never_touches_another_message() -> None:
    """A skip and a retry of other identities, also of one that was delivered long ago, change nothing for the head."""
    harness = harness_with(lambda _s, _n, attempt: 200 if attempt == 2 else 503)
    harness.start()
    await harness.send("s", 0)
    await asyncio.sleep(10)
    await decide(harness, ControlAction.SKIP, "p0:999")
    await decide(harness, ControlAction.RETRY_NOW, "p0:998")
    queue = harness.backend.queue("mem://p0")
    queue._rules.release_all(queue._now())
    await harness.wait_until_empty()
    await harness.stop()
    first, second = harness.target.of("s")
    assert second.at - first.at >= 3_000
    assert harness.backend.dead_letters.letters == []


async def test_what_was_decided_about_a_delivered_message_is_removed() -> None:
    """It was delivered by the attempt that was under way when people decided."""

    async def answer(_subject: str, _number: int, _attempt: int) -> int:
        await asyncio.sleep(20)
        return 200

    harness = harness_with(answer)
    harness.start()
    head = await sent(harness, "s", 0)
    await asyncio.sleep(10)
    await decide(harness, ControlAction.SKIP, head)
    await harness.send("other", 0)
    await harness.wait_until_empty()
    await harness.stop()
    assert harness.backend.control_records.kept == {}
    assert harness.backend.dead_letters.letters == []


@pytest.mark.promise(2)
@pytest.mark.promise(3)
async def test_a_subject_whose_ladder_has_ended_is_held_until_people_decide() -> None:
    """`onExhausted: Hold`: no dead letter hours later; then a retry that fails, and a skip, after which the next goes on."""
    harness = harness_with(lambda _s, number, _attempt: 503 if number == 0 else 200, policy=HOLDING)
    head = await sent(harness, "s", 0)
    await harness.send("s", 1)
    harness.start()
    await asyncio.sleep(20_000)
    assert numbers(harness) == [0, 0, 0]
    assert harness.backend.dead_letters.letters == []
    record = harness.backend.attempt_records.kept[head]
    assert record.held_at is not None
    assert record.state.attempts == 3
    assert record.head is not None
    assert (record.head.route, record.head.subject) == ("ns/r", "s")
    decided_at = loop_time()
    await decide(harness, ControlAction.RETRY_NOW, head, 3)
    await asyncio.sleep(1)
    assert harness.target.of("s")[-1].at - decided_at < 1
    assert numbers(harness) == [0, 0, 0, 0]
    await asyncio.sleep(10_000)
    assert numbers(harness) == [0, 0, 0, 0]
    await decide(harness, ControlAction.SKIP, head)
    await asyncio.sleep(1)
    await harness.stop()
    assert numbers(harness) == [0, 0, 0, 0, 1]
    (dead_letter,) = harness.backend.dead_letters.letters
    assert (dead_letter.reason, dead_letter.attempts) == (Reason.SKIPPED, 4)
    assert harness.repeats() == 0


async def test_a_held_head_becomes_a_dead_letter_where_the_route_no_longer_holds() -> None:
    """The route was changed to `onExhausted: DeadLetter` while its head was held: at its next receive."""
    harness = harness_with(lambda *_: 503, policy=HOLDING)
    await harness.send("s", 0)
    harness.start()
    await asyncio.sleep(10_000)
    await harness.stop()
    assert harness.backend.dead_letters.letters == []
    route = replace(harness.route, retry=LONG)
    harness.route, harness.resolved = route, replace(harness.resolved, route=route)
    harness.start()
    await harness.wait_until_empty(within=4_000)
    await harness.stop()
    assert numbers(harness) == [0, 0, 0]
    assert [each.reason for each in harness.backend.dead_letters.letters] == [Reason.EXHAUSTED]


async def test_an_idle_worker_reads_no_records() -> None:
    """And a busy one reads them once in an interval, however many messages it delivers."""
    harness = harness_with(lambda *_: 200)
    harness.start()
    await asyncio.sleep(10_000)
    assert harness.backend.control_records.reads == 0
    for number in range(100):
        await harness.send(f"s{number % 7}", number)
        await asyncio.sleep(0.5)
    await harness.wait_until_empty()
    await asyncio.sleep(10_000)
    await harness.stop()
    assert 9 <= harness.backend.control_records.reads <= 12


@pytest.mark.promise(9)
async def test_deliveries_go_on_while_the_records_can_t_be_read() -> None:
    """The last known records apply; the first message waits a second at most."""
    harness = harness_with(lambda *_: 200)

    def failing(action: str) -> None:
        if action == "controls":
            raise unavailable()

    harness.backend.faults.before = failing
    harness.start()
    for number in range(50):
        await harness.send("s", number)
        await asyncio.sleep(1)
    await harness.stop()
    assert numbers(harness) == list(range(50))
    assert harness.target.of("s")[0].at < 2


@pytest.mark.promise(9)
async def test_a_table_that_does_not_respond_delays_attempts_by_seconds_only() -> None:
    """Each read takes 20 s and fails: messages wait for five seconds of each, not one after the other."""
    harness = harness_with(lambda *_: 200)

    async def hanging(_route: str) -> list[ControlRecord]:
        await asyncio.sleep(20)
        raise unavailable()

    harness.backend.control_records.read = hanging  # type: ignore[method-assign]
    for subject, number in itertools.product(range(200), range(5)):
        await harness.send(f"s{subject}", number)
    harness.start()
    await harness.wait_until_empty(within=60)
    await harness.stop()
    assert max(call.at for call in harness.target.calls) < 30
