"""Attempts during a shortage of our own, in virtual time with the real FIFO rules."""

import asyncio
import itertools
from collections import Counter

import pytest

from chaski_core.route.model import Ordering
from chaski_worker.delivery.attempt import hidden_seconds
from chaski_worker.settings import WorkerSettings
from chaski_worker.shortage.detection import Shortage, ShortageError, ShortageReason
from support.metric_pages import value
from support.worker.harness import NO_DESCRIPTOR, FakeTarget, WorkerHarness, loop_time, make_route, short_while

BOTH = pytest.mark.parametrize("ordering", [Ordering.RELAXED, Ordering.STRICT], ids=str)


@pytest.mark.looptime
@BOTH
@pytest.mark.promise(3)
@pytest.mark.promise(4)
@pytest.mark.parametrize("seconds", [3, 400], ids=["short", "longer-than-a-hold"])
async def test_a_shortage_counts_as_no_attempt(ordering: Ordering, seconds: int) -> None:
    """No attempt, no record, no rung, no dead dead_letter; then each message once, as attempt 1, and in order."""
    harness = WorkerHarness(make_route(ordering), FakeTarget(short_while(lambda _: loop_time() < seconds)))
    for number, subject in itertools.product(range(5), range(20)):
        await harness.send(f"s{subject}", number)
    harness.start()
    await harness.wait_until_empty(within=seconds + 20)
    await harness.stop()

    assert Counter((call.subject, call.number) for call in harness.target.calls) == Counter(
        (f"s{subject}", number) for subject, number in itertools.product(range(20), range(5))
    )
    for subject in range(20):
        assert [call.number for call in harness.target.of(f"s{subject}")] == list(range(5))
    assert harness.backend.dead_letters.kept == {}
    assert harness.backend.attempt_records.reads == 0
    assert value(harness.metrics, "chaski_attempts_total", outcome="failed") == 0
    assert value(harness.metrics, "chaski_shortages_total", reason="descriptors", target="t0") > 0
    assert value(harness.metrics, "chaski_repeats_total") == 0, "the heartbeat kept every hold"


@pytest.mark.looptime
@BOTH
@pytest.mark.promise(4)
async def test_the_ladder_continues_after_a_shortage(ordering: Ordering) -> None:
    """A shortage between two retries takes no step of the ladder: 4xx has four retries, however long it lasted."""
    shortages = iter([False, True, True, False, True, False, False, True, False])

    def answer(_subject: str, _number: int, _attempt: int) -> int:
        if next(shortages):
            raise ShortageError(NO_DESCRIPTOR)
        return 404

    harness = WorkerHarness(make_route(ordering), FakeTarget(answer))
    await harness.send("s", 0)
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()

    (dead_letter,) = harness.backend.dead_letters.kept.values()
    assert (len(harness.target.calls), dead_letter.attempts, len(dead_letter.errors)) == (5, 5, 5)


@pytest.mark.looptime
@BOTH
@pytest.mark.promise(9)
async def test_a_lane_that_waits_has_no_slot(ordering: Ordering) -> None:
    """One slot, and a subject that can't be attempted: another one is delivered meanwhile."""
    harness = WorkerHarness(
        make_route(ordering, concurrency=1),
        FakeTarget(short_while(lambda subject: subject == "a" and loop_time() < 100)),
        WorkerSettings(lanes_per_slot=9, observe_interval_seconds=0),
    )
    await harness.send("a", 0)
    await harness.send("b", 0)
    harness.start()
    await asyncio.sleep(10)
    assert [call.subject for call in harness.target.calls] == ["b"]
    await harness.wait_until_empty(within=120)
    await harness.stop()
    assert [call.subject for call in harness.target.calls] == ["b", "a"]


@pytest.mark.looptime
@BOTH
@pytest.mark.promise(9)
async def test_a_rule_whose_certificate_can_not_be_used_does_not_delay_another(ordering: Ordering) -> None:
    """40 subjects for the rule, at most 8 lanes: those of the other rule are delivered meanwhile, and in the end all are."""
    broken = Shortage(ShortageReason.CERTIFICATE, "the caBundle can't be used", "t0")
    harness = WorkerHarness(
        make_route(ordering, targets=2, concurrency=4),
        FakeTarget(short_while(lambda subject: subject.startswith("broken") and loop_time() < 900, broken)),
    )
    for subject in range(40):
        await harness.send(f"broken{subject}", 0)
        await harness.send(f"broken{subject}", 1)
    harness.start()
    await asyncio.sleep(60)
    began = loop_time()
    for subject in range(40):
        await harness.send(f"good{subject}", 0, target=1)
    async with asyncio.timeout(60):
        while len(harness.target.calls) < 40:
            await asyncio.sleep(0.5)
    assert all(call.subject.startswith("good") for call in harness.target.calls)
    assert loop_time() - began < 60
    await harness.wait_until_empty(within=1_200)
    await harness.stop()

    for subject in range(40):
        assert [call.number for call in harness.target.of(f"broken{subject}")] == [0, 1]
    assert harness.backend.dead_letters.kept == {}


@pytest.mark.looptime
@BOTH
@pytest.mark.promise(11)
async def test_a_stop_ends_the_wait_for_a_shortage(ordering: Ordering) -> None:
    """Waiting messages are released at once, in order, and none stays hidden."""
    harness = WorkerHarness(make_route(ordering), FakeTarget(short_while(lambda _: True)))
    for number in range(3):
        await harness.send("s", number)
    harness.start()
    await asyncio.sleep(50)
    before = loop_time()
    await harness.stop()

    assert loop_time() - before < 1
    counts = await harness.backend.queue("mem://p0").counts()
    assert (counts.visible, counts.in_flight) == (3, 0)
    harness.target.answer = lambda *_: 200
    harness.start()
    await harness.wait_until_empty(within=20)
    await harness.stop()
    assert [call.number for call in harness.target.calls] == [0, 1, 2]


def test_the_longer_a_shortage_lasts_the_longer_lanes_are_hidden() -> None:
    """But never for longer than a minute, so that they are received soon after it ends."""
    assert [hidden_seconds(lasted) for lasted in (0, 4, 20, 60, 119, 120, 86_400)] == [5, 5, 10, 30, 60, 60, 60]
