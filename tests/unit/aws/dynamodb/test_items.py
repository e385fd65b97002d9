"""Items of a route's table: keys that never meet, sizes that DynamoDB takes, and everything read back."""

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaski_aws.dynamodb import keys
from chaski_aws.dynamodb.items import (
    INDEX_KEYS,
    MAX_ITEM_BYTES,
    is_expired,
    item_bytes,
    parts_of,
    read_letter,
    read_record,
    record_item,
    stored_letter,
)
from chaski_aws.dynamodb.marks import TTL_ATTRIBUTE, mark_text
from chaski_aws.dynamodb.table import table_definition, time_to_live
from chaski_core.dead_letter import DeadLetter, DeadLetterFilter, ReplayMark
from chaski_core.ports import AttemptRecord
from chaski_core.retry.ladder import ErrorNote, LadderState, Reason

NOON = 1_800_000_000_000
TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
NOTES = st.builds(ErrorNote, TEXTS, st.integers(0, 2**45), TEXTS, TEXTS)
LETTERS = st.builds(
    DeadLetter,
    route=TEXTS,
    message_id=TEXTS.filter(bool),
    id=TEXTS,
    subject=TEXTS,
    dead_lettered_at=st.integers(0, 4_000_000_000_000),
    reason=st.sampled_from(Reason),
    error_class=st.sampled_from(["", "404", "timeout"]),
    target=TEXTS,
    url=TEXTS,
    attempts=st.integers(0, 200),
    errors=st.lists(NOTES, max_size=4).map(tuple),
    envelope=st.none() | st.dictionaries(TEXTS, TEXTS, max_size=4),
    raw=st.binary(min_size=1, max_size=40),
    detail=TEXTS,
    replay=st.none() | st.builds(ReplayMark, TEXTS, st.integers(1, 99), st.integers(0, 2**45), TEXTS),
    sequence_number=st.none() | st.integers(0, 2**128 - 1),
)


@given(LETTERS)
def test_a_letter_comes_out_of_its_item_as_it_went_in(letter: DeadLetter) -> None:
    """Whatever its texts hold; and the same letter always makes the same items."""
    stored = stored_letter(letter, 30)
    assert read_letter(stored.letter) == letter
    assert stored == stored_letter(letter, 30)
    assert all(stored.letter[name]["S"] for name in ("pk", "sk", *INDEX_KEYS.values()))


@given(st.sampled_from([1, 200_000, 327_680]), st.integers(0, 120), st.sampled_from([0, 1_000, 60_000]))
def test_no_item_is_larger_than_dynamodb_takes(body: int, errors: int, text: int) -> None:
    """However long the message, the texts and the ladder: below 400,000 bytes each, and the message whole."""
    notes = tuple(ErrorNote("500", NOON, "é" * text, "x" * text) for _ in range(errors))
    letter = DeadLetter(
        "ns/r",
        "i",
        "i",
        "s" * 512,
        NOON,
        Reason.EXHAUSTED,
        "500",
        "t",
        "u" * 2_048,
        errors,
        notes,
        None,
        b"\xff" * body,
    )
    stored = stored_letter(letter, 30)
    assert all(item_bytes(item) < MAX_ITEM_BYTES for item in (stored.hour, *stored.parts, stored.letter))
    assert (parts_of(stored.letter) is None) == (not stored.parts)
    assert read_letter(stored.letter, stored.parts).raw == letter.raw


def test_a_letter_whose_parts_are_gone_says_so() -> None:
    """Parts outlive their letter; should they not be there, nobody is told that the message was empty."""
    letter = DeadLetter("ns/r", "i", "i", "s", NOON, Reason.EXHAUSTED, "500", "t", "u", 1, (), None, b"\xff" * 399_990)
    stored = stored_letter(letter, 30)
    assert len(stored.parts) == 2
    assert read_letter(stored.letter, stored.parts).raw == letter.raw
    assert "not in the store" in read_letter(stored.letter).detail
    assert "not in the store" in read_letter(stored.letter, stored.parts[:1]).detail


LETTER = DeadLetter("ns/r", "i", "i", "s", NOON, Reason.EXHAUSTED, "500", "t", "u", 1, (), {"subject": "s"})


@pytest.mark.parametrize(
    "changes",
    [{"message_id": "j"}, {"subject": "t"}, {"route": "ns/q"}, {"dead_lettered_at": NOON + 1}],
    ids=["identity", "subject", "route", "time"],
)
def test_unlike_letters_have_unlike_keys(changes: dict[str, object]) -> None:
    """The predecessor's key met itself within a second."""
    assert keys.letter_key(LETTER.key) != keys.letter_key(replace(LETTER, **changes).key)  # type: ignore[arg-type]


def test_retention_counts_from_when_a_message_became_a_dead_letter() -> None:
    """And what says that it was kept outlives every message that could come again."""
    stored = stored_letter(LETTER, 2)
    assert int(stored.letter["expiresAt"]["N"]) == NOON // 1000 + 2 * 86_400
    assert not is_expired(stored.letter, NOON + 2 * 86_400_000 - 1_000)
    assert int(stored.died["expiresAt"]["N"]) == NOON // 1000 + 15 * 86_400
    assert int(stored_letter(LETTER, 30).died["expiresAt"]["N"]) == NOON // 1000 + 30 * 86_400


@pytest.mark.promise(5)
def test_an_item_of_a_release_before_identities_is_read_by_its_own_key() -> None:
    """Its producer's id stands where the identity does now, in the item and in its key."""
    item = stored_letter(LETTER, 30).letter
    del item["messageId"]
    before = item | {"id": {"S": "order-1"}, "replay": {"S": '["run",1,5]'}}
    read = read_letter(before)
    assert (read.message_id, read.id, read.replay) == ("order-1", "order-1", ReplayMark("run", 1, 5))
    other = hashlib.sha256(b"s\0ns/r").hexdigest()[:16]
    assert keys.letter_key(read.key).sk == f"{NOON:015d}#order-1#{other}"  # as edfeed9 wrote it
    assert mark_text(ReplayMark("run", 1, 5)) == '["run",1,5]'


def test_one_dead_target_is_spread_over_shards_and_hours() -> None:
    """A thousand subjects of one target in one hour: eight partitions of the index, none hot alone."""
    partitions = {stored_letter(replace(LETTER, subject=f"s{n}"), 30).letter["targetKey"]["S"] for n in range(1_000)}
    assert len(partitions) == keys.SHARDS


@given(st.integers(0, 4_000_000_000_000), st.integers(0, 4_000_000_000_000), st.integers(0, 4_000_000_000_000))
def test_a_window_holds_exactly_the_keys_of_its_time(since: int, until: int, at: int) -> None:
    """`since` inclusive, `until` exclusive, to the millisecond; and the hours that they touch."""
    wanted = DeadLetterFilter(since=since, until=until)
    key = keys.letter_key(replace(LETTER, dead_lettered_at=at).key)
    letters, hours = keys.letters_window(wanted), keys.hours_window(wanted)
    inside = since <= at < until
    assert inside == (not letters.empty and letters.first <= key.sk <= letters.last)
    if inside:
        assert hours.first <= key.pk <= hours.last


def test_what_is_past_its_retention_is_expired() -> None:
    """DynamoDB still tells such items for days."""
    item = stored_letter(LETTER, 30).letter
    end = NOON + 30 * 86_400_000
    assert (is_expired(item, end - 1_000), is_expired(item, end)) == (False, True)


@given(st.lists(NOTES, max_size=4).map(tuple), st.integers(0, 100), st.none() | st.integers(0, 2**45))
def test_a_record_comes_out_of_its_item_as_it_went_in(
    notes: tuple[ErrorNote, ...], retries: int, exhausted_at: int | None
) -> None:
    """Class, retries, due time, and the time that fixes the dead letter's key."""
    record = AttemptRecord(LadderState("404", retries, notes), NOON, exhausted_at)
    assert read_record(record_item("m", record, NOON)) == record


def test_the_table_has_what_the_store_asks_for() -> None:
    """Its key, an index for each search, on-demand, and expiry by the attribute that items carry."""
    made = table_definition("t")
    assert made["BillingMode"] == "PAY_PER_REQUEST"
    assert {index["IndexName"] for index in made["GlobalSecondaryIndexes"]} == set(INDEX_KEYS)
    assert {each["AttributeName"] for each in made["AttributeDefinitions"]} == {"pk", "sk", *INDEX_KEYS.values()}
    assert time_to_live("t")["TimeToLiveSpecification"] == {"Enabled": True, "AttributeName": TTL_ATTRIBUTE}
