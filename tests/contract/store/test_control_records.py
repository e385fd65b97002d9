"""The contract of every store of control records, through the port."""

from dataclasses import replace

import pytest

from chaski_core.retry.control import ControlAction, ControlRecord
from contract.conftest import StoreWorld

HOLD = ControlRecord("ns/r", "s\u00fc #1", ControlAction.HOLD, 1_800_000_000_000)
SKIP = ControlRecord("ns/r", "s", ControlAction.SKIP, 1_800_000_000_001, "m1")
RETRY = ControlRecord("ns/r", "s", ControlAction.RETRY_NOW, 1_800_000_000_002, "m2", 3)


async def read(stores: StoreWorld) -> set[ControlRecord]:
    """The records of the route."""
    return set(await stores.control_records.read("ns/r"))


async def test_records_of_a_route_are_read_back_as_a_set(stores: StoreWorld) -> None:
    """Consistently, unchanged, and none where there is none."""
    assert await read(stores) == set()
    long = replace(HOLD, subject="\u00fc" * 2_000)
    for record in (HOLD, SKIP, RETRY, long):
        await stores.control_records.write(record)
    assert await read(stores) == {HOLD, SKIP, RETRY, long}


async def test_a_later_record_replaces_the_one_about_the_same(stores: StoreWorld) -> None:
    """One for each message, one hold for each subject; a hold and a record about a message stand side by side."""
    later = replace(RETRY, action=ControlAction.SKIP, at=RETRY.at + 1, attempts=None)
    held = replace(HOLD, subject="s")
    for record in (RETRY, later, held, replace(held, at=9)):
        await stores.control_records.write(record)
    assert await read(stores) == {later, replace(held, at=9)}


@pytest.mark.parametrize("record", [HOLD, SKIP, RETRY])
async def test_a_removed_record_is_gone(stores: StoreWorld, record: ControlRecord) -> None:
    """A removal may be repeated."""
    await stores.control_records.write(record)
    await stores.control_records.remove(record)
    await stores.control_records.remove(record)
    assert await read(stores) == set()


async def test_a_removal_spares_the_record_that_replaced_it(stores: StoreWorld) -> None:
    """A worker that was killed before the removal may make it long after people decided again."""
    newer = replace(RETRY, at=RETRY.at + 1, attempts=4)
    await stores.control_records.write(RETRY)
    await stores.control_records.write(newer)
    await stores.control_records.remove(RETRY)
    await stores.control_records.remove(replace(RETRY, at=newer.at, action=ControlAction.SKIP))
    assert await read(stores) == {newer}
