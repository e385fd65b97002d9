"""The contract of every store of attempt records, through the port."""

from dataclasses import replace

from chaski_core.dead_letter import DeadLetterFilter
from chaski_core.ports import AttemptRecord, HiddenHead
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


async def test_hidden_heads_of_a_route_are_listed(stores: StoreWorld) -> None:
    """With subject, receipt handle and last error; not those of another route, those without a place, and deleted ones."""
    records = stores.attempt_records
    head = HiddenHead("ns/r", "s\u00fc #1", "https://queue", "h" * 400, 88)
    last = LadderState("5xx", 0, (ErrorNote("503", 5, "HTTP 503", "busy"),))
    hidden = AttemptRecord(last, due_at=77, receives=3, head=head, held_at=5)
    for number in range(30):
        await records.write(f"m{number}", hidden)
    await records.write("other", replace(hidden, head=replace(head, route="ns/other")))
    await records.write("before", replace(hidden, head=None))
    await records.delete("m0")
    await records.write("m1", replace(hidden, due_at=78))
    listed = {message_id: record async for message_id, record in records.hidden("ns/r")}
    assert listed == {f"m{number}": hidden for number in range(2, 30)} | {"m1": replace(hidden, due_at=78)}
    assert await records.read("m1") == replace(hidden, due_at=78)


async def test_a_hidden_head_is_listed_with_its_last_error(stores: StoreWorld) -> None:
    """Its texts may be shortened, and earlier errors missing; a read has all of them."""
    head = HiddenHead("ns/r", "s", "https://queue", "h" * 400, 88)
    notes = tuple(ErrorNote("503", at, "HTTP 503", "busy " * 200) for at in range(9))
    hidden = AttemptRecord(LadderState("5xx", 8, notes), due_at=77, receives=9, head=head)
    await stores.attempt_records.write("m1", hidden)
    ((_, listed),) = [each async for each in stores.attempt_records.hidden("ns/r")]
    assert replace(listed, state=hidden.state) == hidden
    assert (listed.state.key, listed.state.retries) == ("5xx", 8)
    last = listed.state.errors[-1]
    assert (last.key, last.at, last.detail) == ("503", 8, "HTTP 503")
    assert await stores.attempt_records.read("m1") == hidden


async def test_a_climb_is_read_back_after_every_failure(stores: StoreWorld) -> None:
    """With texts of all lengths, written by one failure at a time, also where a head is hidden again without an attempt."""
    lengths = (0, 1_000, 20, 5_000, 1_000, 1_000, 30, 30, 2_000, 100)
    notes: tuple[ErrorNote, ...] = ()
    for number, length in enumerate(lengths):
        notes += (ErrorNote("503", 1_000 * number, "HTTP 503", f"{number}" * length),)
        record = AttemptRecord(LadderState("5xx", number, notes), due_at=number, receives=number + 1)
        await stores.attempt_records.write("m1", record)
        assert await stores.attempt_records.read("m1") == record
        again = replace(record, receives=number + 2)
        await stores.attempt_records.write("m1", again)
        assert await stores.attempt_records.read("m1") == again


async def test_a_hidden_head_is_found_as_no_dead_letter(stores: StoreWorld) -> None:
    """On DynamoDB it is in the index by id, under a text that no message has as its id."""
    head = HiddenHead("ns/r", "s", "https://queue", "h", 88)
    await stores.attempt_records.write("m1", AttemptRecord(CLIMB, due_at=77, head=head))
    for wanted in ("m1", *(f"head#{shard}" for shard in range(8))):
        assert list(await stores.dead_letters.get(wanted)) == []
    assert [each async for each in stores.dead_letters.find(DeadLetterFilter(subject="s"))] == []
