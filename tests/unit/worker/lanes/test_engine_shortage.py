"""The consumer engine while something of its own is lacking, in virtual time with the real FIFO rules."""

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Callable

import pytest

from chaski_core.route.model import Ordering
from chaski_worker.settings import WorkerSettings
from chaski_worker.shortage.classify import Shortage, ShortageError, ShortageReason
from support.metric_pages import value
from support.worker.harness import Answer, FakeTarget, World, make_route

pytestmark = pytest.mark.looptime

BOTH = pytest.mark.parametrize("ordering", [Ordering.RELAXED, Ordering.STRICT], ids=str)
EMPTY = Shortage(ShortageReason.DESCRIPTORS, "no descriptor is left", "t0")


def now() -> float:
    """Loop seconds."""
    return asyncio.get_running_loop().time()


def lacking(while_: Callable[[str], bool], shortage: Shortage = EMPTY) -> Answer:
    """A target that can't be called while this is so of a subject, and answers 200 then."""

    def answer(subject: str, _number: int, _attempt: int) -> int:
        if while_(subject):
            raise ShortageError(shortage)
        return 200

    return answer


@BOTH
@pytest.mark.promise(3)
@pytest.mark.promise(4)
@pytest.mark.parametrize("seconds", [3, 400], ids=["short", "longer-than-a-hold"])
async def test_a_shortage_is_charged_to_no_message(ordering: Ordering, seconds: int) -> None:
    """No attempt, no record, no rung, no dead letter; then each message once, as attempt 1, and in order."""
    world = World(make_route(ordering), FakeTarget(lacking(lambda _: now() < seconds)))
    for number, subject in itertools.product(range(5), range(20)):
        await world.send(f"s{subject}", number)
    world.start()
    await world.settled(within=seconds + 20)
    await world.stop()

    assert Counter((call.subject, call.number) for call in world.target.calls) == Counter(
        (f"s{subject}", number) for subject, number in itertools.product(range(20), range(5))
    )
    for subject in range(20):
        assert [call.number for call in world.target.of(f"s{subject}")] == list(range(5))
    assert world.backend.dead_letters.kept == {}
    assert world.backend.attempt_records.reads == 0
    assert value(world.metrics, "chaski_attempts_total", outcome="failed") == 0
    assert value(world.metrics, "chaski_shortages_total", reason="descriptors", target="t0") > 0
    assert value(world.metrics, "chaski_repeats_total") == 0, "the heartbeat kept every hold"


@BOTH
@pytest.mark.promise(4)
async def test_the_ladder_goes_on_where_it_was(ordering: Ordering) -> None:
    """A shortage between two retries takes no step: 4xx has four retries, however long it lasted."""
    shortages = iter([False, True, True, False, True, False, False, True, False])

    def answer(_subject: str, _number: int, _attempt: int) -> int:
        if next(shortages):
            raise ShortageError(EMPTY)
        return 404

    world = World(make_route(ordering), FakeTarget(answer))
    await world.send("s", 0)
    world.start()
    await world.settled()
    await world.stop()

    (letter,) = world.backend.dead_letters.kept.values()
    assert (len(world.target.calls), letter.attempts, len(letter.errors)) == (5, 5, 5)


@BOTH
@pytest.mark.promise(9)
async def test_a_lane_that_waits_has_no_slot(ordering: Ordering) -> None:
    """One slot, and a subject that can't be attempted: another one is delivered meanwhile."""
    world = World(
        make_route(ordering, concurrency=1),
        FakeTarget(lacking(lambda subject: subject == "a" and now() < 100)),
        WorkerSettings(lanes_per_slot=9, observe_interval_seconds=0),
    )
    await world.send("a", 0)
    await world.send("b", 0)
    world.start()
    await asyncio.sleep(10)
    assert [call.subject for call in world.target.calls] == ["b"]
    await world.settled(within=120)
    await world.stop()
    assert [call.subject for call in world.target.calls] == ["b", "a"]


@BOTH
@pytest.mark.promise(9)
async def test_a_rule_whose_certificate_can_not_be_used_does_not_delay_another(ordering: Ordering) -> None:
    """40 subjects for the rule, room for 8 lanes: those of the other rule come through, and in the end all are delivered."""
    broken = Shortage(ShortageReason.CERTIFICATE, "the caBundle can't be used", "t0")
    world = World(
        make_route(ordering, targets=2, concurrency=4),
        FakeTarget(lacking(lambda subject: subject.startswith("broken") and now() < 900, broken)),
    )
    for subject in range(40):
        await world.send(f"broken{subject}", 0)
        await world.send(f"broken{subject}", 1)
    world.start()
    await asyncio.sleep(60)
    began = now()
    for subject in range(40):
        await world.send(f"good{subject}", 0, target=1)
    async with asyncio.timeout(60):
        while len(world.target.calls) < 40:
            await asyncio.sleep(0.5)
    assert all(call.subject.startswith("good") for call in world.target.calls)
    assert now() - began < 60
    await world.settled(within=1_200)
    await world.stop()

    for subject in range(40):
        assert [call.number for call in world.target.of(f"broken{subject}")] == [0, 1]
    assert world.backend.dead_letters.kept == {}


@BOTH
@pytest.mark.promise(11)
async def test_a_stop_ends_the_wait(ordering: Ordering) -> None:
    """What waits is given back at once, in order, and nothing of it is hidden."""
    world = World(make_route(ordering), FakeTarget(lacking(lambda _: True)))
    for number in range(3):
        await world.send("s", number)
    world.start()
    await asyncio.sleep(50)
    before = now()
    await world.stop()

    assert now() - before < 1
    counts = await world.backend.queue("mem://p0").counts()
    assert (counts.visible, counts.in_flight) == (3, 0)
    world.target.answer = lambda *_: 200
    world.start()
    await world.settled(within=20)
    await world.stop()
    assert [call.number for call in world.target.calls] == [0, 1, 2]


async def test_a_shortage_is_logged_once_however_many_wait(caplog: pytest.LogCaptureFixture) -> None:
    """And again only when it comes back after it was over; a gauge shows whether it is there."""
    times = [(0, 50), (300, 310)]
    world = World(make_route(), FakeTarget(lacking(lambda _: any(begin <= now() < end for begin, end in times))))

    def logged() -> list[str]:
        return [each.getMessage() for each in caplog.records if each.name == "chaski_worker.shortage.reporting"]

    def gauge() -> float:
        return value(world.metrics, "chaski_shortage", reason="descriptors", target="all")

    with caplog.at_level(logging.INFO):
        for subject in range(50):
            await world.send(f"s{subject}", 0)
        world.start()
        await asyncio.sleep(40)
        assert (len(logged()), gauge()) == (1, 1)
        assert "ns/r, target t0: no descriptor is left" in logged()[0]
        await world.settled(within=60)
        await asyncio.sleep(301 - now())
        assert gauge() == 0
        for subject in range(50):
            await world.send(f"s{subject}", 1)
        await world.settled(within=60)
        assert (len(logged()), gauge()) == (2, 1)
        await world.stop()
