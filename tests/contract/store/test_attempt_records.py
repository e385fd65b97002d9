"""The contract of every store of attempt records, through the port."""

from chaski_core.ports import AttemptRecord
from chaski_core.retry.ladder import ErrorNote, LadderState
from contract.conftest import StoreWorld

CLIMB = LadderState("5xx", 3, (ErrorNote("503", 5, "HTTP 503", "busy"), ErrorNote("500", 9, "d" * 5_000)))


async def test_record_is_read_back_unchanged(stores: StoreWorld) -> None:
    """A written record is read consistently; a missing one is None."""
    record = AttemptRecord(CLIMB, due_at=77, receives=3)
    await stores.attempt_records.write("m1", record)
    assert await stores.attempt_records.read("m1") == record
    assert await stores.attempt_records.read("m2") is None


async def test_later_record_replaces_the_earlier(stores: StoreWorld) -> None:
    """One record for each message: the latest."""
    await stores.attempt_records.write("m1", AttemptRecord(CLIMB, due_at=77))
    exhausted = AttemptRecord(LadderState("5xx", 4, CLIMB.errors), due_at=0, exhausted_at=99)
    await stores.attempt_records.write("m1", exhausted)
    assert await stores.attempt_records.read("m1") == exhausted


async def test_deleted_record_is_none(stores: StoreWorld) -> None:
    """A delete may be repeated."""
    await stores.attempt_records.write("m1", AttemptRecord(CLIMB, due_at=77))
    await stores.attempt_records.delete("m1")
    await stores.attempt_records.delete("m1")
    assert await stores.attempt_records.read("m1") is None
