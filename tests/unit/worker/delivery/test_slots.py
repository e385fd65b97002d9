"""Limits of the attempts at once, in all and for each target."""

import asyncio

import pytest

from chaski_worker.delivery.slots import Slots


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
