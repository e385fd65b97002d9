"""Limits of the lanes held, and of the attempts at once, in all and for each host."""

import asyncio

import pytest

from chaski_worker.delivery.limits import IntakeLimiter, Slots
from chaski_worker.shortage.detection import Shortage, ShortageReason


def make_slots(total: int, *, several: bool) -> Slots:
    """Slots whose clock stands still: no host is noticed as silent."""
    return Slots(total, several=several, monotonic=lambda: 0.0)


async def test_one_host_never_takes_the_last_slots() -> None:
    """Of eight slots six go to a host that answers; another host gets its turn at once."""
    slots = make_slots(8, several=True)
    assert slots.take_free("slow")
    slots.release("slow", answered=True)
    for _ in range(6):
        await slots.acquire("slow")
    assert slots.crowds_out("slow") is False, "there is no other host"
    waiting = asyncio.create_task(slots.acquire("slow"))
    await asyncio.sleep(0)
    await asyncio.wait_for(slots.acquire("other"), 1)

    assert not waiting.done()
    assert slots.crowds_out("slow")
    slots.release("slow", answered=True)
    await asyncio.wait_for(waiting, 1)
    assert slots.taken == 7


@pytest.mark.parametrize("answered", [True, False])
async def test_a_lone_host_takes_all_slots(*, answered: bool) -> None:
    """A single host needs no reserved slots, so its lanes wait for a slot and are not parked."""
    slots = make_slots(3, several=False)
    for _ in range(3):
        await asyncio.wait_for(slots.acquire("only"), 1)
    assert slots.taken == 3
    assert slots.crowds_out("only") is False
    waiting = asyncio.create_task(slots.acquire("only"))
    await asyncio.sleep(0)
    slots.release("only", answered=answered)
    await asyncio.wait_for(waiting, 1)


async def test_hosts_take_turns() -> None:
    """The slot goes to the host that holds the fewest, and of equal ones to the one that waits longest."""
    slots = make_slots(1, several=True)
    await slots.acquire("a")
    order: list[str] = []

    async def wait(host: str) -> None:
        await slots.acquire(host)
        order.append(host)
        slots.release(host, answered=True)

    waiting = [asyncio.create_task(wait(host)) for host in ("a", "a", "a", "b", "c", "b")]
    await asyncio.sleep(0)
    slots.release("a", answered=True)
    await asyncio.gather(*waiting)
    assert order == ["a", "b", "c", "a", "b", "a"]


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_cancelled_wait_takes_no_slot(*, at_once: bool) -> None:
    """Cancelled before, in the same moment as, or just after its turn came, a waiter leaves the slot to the next."""
    slots = make_slots(1, several=False)
    await slots.acquire("t")
    early, late = asyncio.create_task(slots.acquire("t")), asyncio.create_task(slots.acquire("t"))
    await asyncio.sleep(0)
    early.cancel()
    if not at_once:
        await asyncio.sleep(0)
    slots.release("t")
    late.cancel()
    await asyncio.gather(early, late, return_exceptions=True)

    await asyncio.wait_for(slots.acquire("t"), 1)
    assert slots.taken == 1


async def test_polling_waits_at_either_limit() -> None:
    """Lanes or bytes: whichever is reached first."""
    intake = IntakeLimiter(max_lanes=2, max_bytes=100)
    intake.acquire(10)
    assert not intake.full
    intake.acquire(10)
    assert intake.full
    intake.release(10)
    intake.acquire(95)
    assert intake.full
    intake.release(95)
    await asyncio.wait_for(intake.wait(), 1)
    assert (intake.lanes, intake.bytes) == (1, 10)


def test_lanes_that_a_shortage_blocks_are_parked_for_the_sake_of_others() -> None:
    """A shortage of all targets blocks until polling has stopped; one of a single rule blocks half of the lanes at most."""
    intake = IntakeLimiter(max_lanes=128, max_bytes=1_000)
    general = Shortage(ShortageReason.DESCRIPTORS, "", "t")
    of_one = [Shortage(reason, "", "t") for reason in (ShortageReason.CERTIFICATE, ShortageReason.PORTS)]
    crowded: dict[int, list[bool]] = {}
    for lanes in range(1, 129):
        intake.acquire(1)
        crowded[lanes] = [intake.is_crowded(shortage) for shortage in (general, *of_one)]
    assert {lanes: crowded[lanes] for lanes in (64, 65, 127, 128)} == {
        64: [False, False, False],
        65: [False, True, True],
        127: [False, True, True],
        128: [True, True, True],
    }


def test_the_mean_follows_the_last_dozens_of_attempts() -> None:
    """It is unknown before the first."""
    slots = make_slots(1, several=False)
    assert slots.mean_seconds is None
    slots.observe(1.0)
    assert slots.mean_seconds == 1.0
    for _ in range(100):
        slots.observe(0.1)
    assert slots.mean_seconds == pytest.approx(0.1, abs=0.01)
