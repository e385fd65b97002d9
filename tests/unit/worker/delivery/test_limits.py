"""Limits of the lanes held, and of the attempts at once, in all and for each target."""

import asyncio

import pytest

from chaski_worker.delivery.limits import IntakeLimiter, Slots
from chaski_worker.shortage.detection import Shortage, ShortageReason


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
    """A single target needs no reserved slots."""
    slots = Slots(3, targets=1)
    for _ in range(3):
        await asyncio.wait_for(slots.acquire("only"), 1)
    assert slots.taken == 3


@pytest.mark.parametrize(("targets", "crowds_out"), [(1, False), (2, True)], ids=["alone", "beside another"])
async def test_a_target_crowds_out_only_where_there_is_another(targets: int, *, crowds_out: bool) -> None:
    """A lone target that holds every slot blocks no other one, so its lanes wait for a slot and are not parked."""
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
    slots = Slots(1, targets=1)
    assert slots.mean_seconds is None
    slots.observe(1.0)
    assert slots.mean_seconds == 1.0
    for _ in range(100):
        slots.observe(0.1)
    assert slots.mean_seconds == pytest.approx(0.1, abs=0.01)
