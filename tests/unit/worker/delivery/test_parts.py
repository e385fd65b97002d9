"""The small parts of the engine: batching, slots, room, backoff, triage, lanes, lines."""

import asyncio
import dataclasses
from collections.abc import Sequence

import pytest

from chaski_core.errors import BackendUnavailableError
from chaski_core.message.envelope import Metadata, write_envelope
from chaski_core.ports import ReceivedMessage
from chaski_core.retry.ladder import LadderState, Reason, Rung
from chaski_core.route.resolved import Generation, RungQueue
from chaski_worker.consumer.intake import IntakeLimiter
from chaski_worker.consumer.queue_groups import first_lines, gauge_urls, retry_line
from chaski_worker.delivery.backoff import backoff_seconds
from chaski_worker.delivery.slots import Slots
from chaski_worker.delivery.triage import Deliverable, Stage, Undeliverable, triage
from chaski_worker.lanes.batcher import Batcher
from chaski_worker.lanes.lane import Lane, LaneLostError, split
from chaski_worker.settings import WorkerSettings, needed_hold, poll_seconds_for, visibility_for
from support.worker.harness import make_route, resolve

DAY_MS = 86_400_000


def received(body: bytes, *, group: str = "s", sent_at: int = 0) -> ReceivedMessage:
    """A message as a queue gives it."""
    return ReceivedMessage("mid", "h", body, group, "d", 1, sent_at, 1, sent_at)


# ---- batcher


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


async def test_a_failing_call_fails_those_who_asked_and_nobody_else() -> None:
    """The error reaches each submitter; the batcher goes on."""
    failing = True

    async def call(items: Sequence[int]) -> Sequence[int]:
        if failing:
            raise BackendUnavailableError("away")
        return items

    batcher = Batcher(call)
    results = await asyncio.gather(batcher.submit([1]), batcher.submit([2]), return_exceptions=True)
    assert all(isinstance(result, BackendUnavailableError) for result in results)
    failing = False
    assert await batcher.submit([3]) == [3]


@pytest.mark.looptime
async def test_a_linger_waits_for_company_but_not_for_a_full_batch() -> None:
    """With a linger, items of different moments share a call; ten go at once."""
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
async def test_whoever_waits_is_not_kept_by_a_linger() -> None:
    """Hurried, what lingers is called for within five milliseconds; what comes later lingers again."""
    calls: list[tuple[float, int]] = []
    loop = asyncio.get_running_loop()

    async def call(items: Sequence[int]) -> Sequence[int]:
        calls.append((loop.time(), len(items)))
        return items

    batcher = Batcher(call, linger_seconds=0.5)
    first = asyncio.create_task(batcher.submit([1]))
    await asyncio.sleep(0.1)
    for _ in range(3):
        batcher.hurry()
        await asyncio.sleep(0.001)
    await first
    await batcher.submit([2])
    batcher.hurry()  # nothing lingers: the next is meant
    await batcher.submit([3])
    assert calls == [(pytest.approx(0.105), 1), (pytest.approx(0.605), 1), (pytest.approx(0.61), 1)]


# ---- slots


async def test_one_target_never_takes_the_last_slots() -> None:
    """Of eight slots with two targets, one target gets six; the other gets its turn at once."""
    slots = Slots(8, targets=2)
    for _ in range(6):
        await slots.acquire("slow")
    assert slots.saturated("slow")
    waiting = asyncio.create_task(slots.acquire("slow"))
    await asyncio.sleep(0)
    await asyncio.wait_for(slots.acquire("other"), 1)

    assert not waiting.done()
    slots.release("slow")
    await asyncio.wait_for(waiting, 1)
    assert slots.taken == 7


async def test_a_lone_target_takes_all_slots() -> None:
    """Nothing is kept back where there is nobody to keep it for."""
    slots = Slots(3, targets=1)
    for _ in range(3):
        await asyncio.wait_for(slots.acquire("only"), 1)
    assert slots.taken == 3


@pytest.mark.parametrize(("targets", "crowds_out"), [(1, False), (2, True)], ids=["alone", "beside another"])
async def test_a_target_crowds_out_only_where_there_is_another(targets: int, *, crowds_out: bool) -> None:
    """A lone target that holds every slot keeps nobody out, so its lanes wait for a slot and are not put back."""
    slots = Slots(4, targets)
    for _ in range(4 if targets == 1 else 3):
        await asyncio.wait_for(slots.acquire("busy"), 1)
    assert slots.saturated("busy")
    assert slots.crowds_out("busy") is crowds_out


async def test_a_cancelled_wait_takes_no_slot() -> None:
    """Cancelled before or just after its turn came, a waiter leaves the slot to the next."""
    slots = Slots(1, targets=1)
    await slots.acquire("t")
    early, late = asyncio.create_task(slots.acquire("t")), asyncio.create_task(slots.acquire("t"))
    await asyncio.sleep(0)
    early.cancel()
    await asyncio.sleep(0)
    slots.release("t")
    late.cancel()
    await asyncio.gather(early, late, return_exceptions=True)

    await asyncio.wait_for(slots.acquire("t"), 1)
    assert slots.taken == 1


# ---- room


async def test_polling_waits_at_either_cap() -> None:
    """Lanes or bytes: whichever is reached first."""
    room = IntakeLimiter(max_lanes=2, max_bytes=100)
    room.enter(10)
    assert not room.full
    room.enter(10)
    assert room.full
    room.leave(10)
    room.enter(95)
    assert room.full
    room.leave(95)
    await asyncio.wait_for(room.wait(), 1)
    assert (room.lanes, room.bytes) == (1, 10)


# ---- backoff


@pytest.mark.parametrize(
    ("failures", "random", "seconds"),
    [(1, 0.0, 0.05), (1, 1.0, 0.1), (3, 1.0, 0.4), (9, 1.0, 20.0), (10_000, 0.0, 10.0)],
)
def test_backoff_doubles_up_to_its_cap(failures: int, random: float, seconds: float) -> None:
    """0.1 s, doubled with each failure, at most 20 s, and by chance down to half of that."""
    assert seconds == pytest.approx(backoff_seconds(failures, random))


# ---- settings


@pytest.mark.parametrize(("timeout", "visibility"), [(1, 60), (30, 60), (45, 75), (300, 120)])
def test_visibility_covers_an_attempt_within_120_seconds(timeout: int, visibility: int) -> None:
    """At least 60 s, more for longer timeouts, never above the 120 s that deduplication allows; else what is set."""
    assert visibility == visibility_for(timeout, WorkerSettings())
    assert visibility_for(timeout, WorkerSettings(visibility_seconds=6)) == 6


@pytest.mark.parametrize(("visibility", "seconds"), [(60, 20), (120, 20), (6, 2)])
def test_a_poll_is_short_against_the_hold_that_it_brings(visibility: int, seconds: float) -> None:
    """A hold counts from the poll's start: with a longer poll a message that came late would be held no more."""
    assert poll_seconds_for(visibility, WorkerSettings()) == seconds


@pytest.mark.parametrize(
    ("timeout", "visibility", "seconds"), [(30, 60, 35), (1, 60, 6), (300, 120, 108), (1, 6, 1.5), (10, 6, 5.4)]
)
def test_an_attempt_needs_a_hold_beyond_its_timeout(timeout: int, visibility: int, seconds: float) -> None:
    """By five seconds; never all of a fresh hold, since extending takes time too."""
    assert needed_hold(timeout, visibility, WorkerSettings()) == pytest.approx(seconds)


# ---- triage


@pytest.mark.parametrize(
    ("body", "stage", "reason"),
    [
        (b"garbage", Stage.FIRST, Reason.MALFORMED),
        (b"[1]", Stage.FIRST, Reason.MALFORMED),
        (b'{"subject":"s"}', Stage.FIRST, Reason.MALFORMED),
        (b"garbage", Stage.RETRY, Reason.MALFORMED),
        (b'{"subject":"s","body":{}}', Stage.RETRY, Reason.NO_METADATA),
        (b'{"subject":"s","body":{},"metadata":{"id":"x"}}', Stage.RETRY, Reason.NO_METADATA),
        (b'{"subject":"s","body":{},"metadata":{"ladder":"?"}}', Stage.RETRY, Reason.NO_METADATA),
    ],
)
def test_what_can_not_be_attempted_says_why(body: bytes, stage: Stage, reason: Reason) -> None:
    """Each kind of unfit message has its own reason."""
    verdict = triage(received(body), stage, 0, 13 * 86_400)
    assert isinstance(verdict, Undeliverable)
    assert reason == verdict.reason


def test_the_predecessors_message_is_attempted_under_the_queues_id() -> None:
    """Without metadata the id is the queue's MessageId, which stays the same when the message comes again."""
    verdict = triage(received(b'{"subject":"s","body":{"url":"u"}}'), Stage.FIRST, 0, 13 * 86_400)
    assert isinstance(verdict, Deliverable)
    assert (verdict.id, verdict.ladder) == ("mid", None)


def test_an_id_that_can_not_be_a_key_is_replaced_by_the_queues() -> None:
    """An id on the queue that breaks the rules (another program wrote it) must not break a deduplication id."""
    body = write_envelope({"subject": "s", "body": {}}, Metadata(id="a b" * 50))
    verdict = triage(received(body), Stage.FIRST, 0, 13 * 86_400)
    assert isinstance(verdict, Deliverable)
    assert verdict.id == "mid"


@pytest.mark.parametrize(("age_ms", "expired"), [(13 * DAY_MS, False), (13 * DAY_MS + 1, True)])
def test_expiry_begins_after_13_days(age_ms: int, *, expired: bool) -> None:
    """A day before the queue would delete it."""
    verdict = triage(received(b'{"subject":"s","body":{}}', sent_at=1_000), Stage.FIRST, 1_000 + age_ms, 13 * 86_400)
    assert expired == (isinstance(verdict, Undeliverable) and verdict.reason is Reason.EXPIRED)


@pytest.mark.promise(2)
def test_nothing_expires_on_a_queue_that_keeps_its_messages() -> None:
    """However old a message is, or seems to be under a clock that is wrong."""
    verdict = triage(received(b'{"subject":"s","body":{}}', sent_at=0), Stage.FIRST, 4_000 * DAY_MS, None)
    assert isinstance(verdict, Deliverable)


def test_a_first_attempt_ignores_a_ladder_that_the_message_brings() -> None:
    """Only a rung queue says that a message has climbed."""
    body = write_envelope({"subject": "s", "body": {}}, Metadata(id="i", ladder=LadderState("404", 1, ())))
    verdict = triage(received(body), Stage.FIRST, 0, 13 * 86_400)
    assert isinstance(verdict, Deliverable)
    assert verdict.ladder is None


# ---- lanes and lines


def test_split_keeps_the_order_of_each_group() -> None:
    """Messages of mixed groups become lanes in the order received."""
    messages = [received(str(index).encode(), group=group) for index, group in enumerate("abacb")]
    assert [[each.body.decode() for each in group] for group in split(messages)] == [["0", "2"], ["1", "4"], ["3"]]


def test_a_lane_is_lost_when_its_hold_runs_out() -> None:
    """At the deadline nothing may be done with it any more, and it stays lost."""
    lane = Lane("q", [received(b"x")], 0.0, 60.0)
    lane.check(59.9)
    with pytest.raises(LaneLostError, match="ran out"):
        lane.check(60.0)
    with pytest.raises(LaneLostError):
        lane.check(1.0)


def test_retired_rungs_and_older_generations_are_still_polled() -> None:
    """Whatever may hold a message has a consumer; gauges are by declared name."""
    resolved = dataclasses.replace(
        resolve(make_route()),
        generations=(Generation(1, {"old": ("u0",)}), Generation(2, {"messages": ("u1", "u2")})),
        retired_rungs=(RungQueue(Rung("gone", 9), "u9"),),
    )
    assert [[line.name for line in lines] for lines in first_lines(resolved)] == [["old"], ["messages"]]
    assert [[line.name for line in lines] for lines in first_lines(resolved, "messages")] == [[], ["messages"]]
    line = retry_line(resolved)
    assert line is not None
    assert "u9" in line.urls
    assert {"old", "messages", "rung-fast", "rung-medium", "rung-gone"} == set(gauge_urls(resolved))
