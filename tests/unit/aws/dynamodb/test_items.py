"""Items of a route's table: distinct keys, sizes within DynamoDB's limits, and lossless reading."""

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaski_aws.dynamodb import keys
from chaski_aws.dynamodb.items import (
    MAX_ITEM_BYTES,
    dead_letter_items,
    is_expired,
    item_bytes,
    parts_of,
    read_dead_letter,
)
from chaski_aws.dynamodb.marks import mark_text
from chaski_aws.dynamodb.table import INDEX_KEYS, TTL_ATTRIBUTE, table_definition, time_to_live
from chaski_core.dead_letter import DeadLetter, DeadLetterFilter, ReplayMark
from chaski_core.retry.ladder import ErrorNote, Reason
from support.dead_letters.builder import a_dead_letter

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
def test_a_dead_letter_is_read_back_unchanged(letter: DeadLetter) -> None:
    """With any texts; the same dead letter always has the same items."""
    stored = dead_letter_items(letter, 30)
    assert read_dead_letter(stored.dead_letter) == letter
    assert stored == dead_letter_items(letter, 30)
    assert all(stored.dead_letter[name]["S"] for name in ("pk", "sk", *INDEX_KEYS.values()))


@given(st.sampled_from([1, 200_000, 327_680]), st.integers(0, 120), st.sampled_from([0, 1_000, 60_000]))
def test_no_item_exceeds_dynamodbs_limit(body: int, errors: int, text: int) -> None:
    """For any length of message, texts and ladder, items stay below 400,000 bytes and the message is whole."""
    notes = tuple(ErrorNote("500", NOON, "é" * text, "x" * text) for _ in range(errors))
    letter = a_dead_letter(
        "i",
        subject="s" * 512,
        dead_lettered_at=NOON,
        error_class="500",
        url="u" * 2_048,
        attempts=errors,
        errors=notes,
        envelope=None,
        raw=b"\xff" * body,
    )
    stored = dead_letter_items(letter, 30)
    assert all(item_bytes(item) < MAX_ITEM_BYTES for item in (stored.hour, *stored.parts, stored.dead_letter))
    assert (parts_of(stored.dead_letter) is None) == (not stored.parts)
    assert read_dead_letter(stored.dead_letter, stored.parts).raw == letter.raw


def test_missing_parts_are_reported_in_the_detail() -> None:
    """Parts outlive their dead letter; if they are missing, the message does not appear as empty."""
    letter = a_dead_letter(envelope=None, raw=b"\xff" * 399_990)
    stored = dead_letter_items(letter, 30)
    assert len(stored.parts) == 2
    assert read_dead_letter(stored.dead_letter, stored.parts).raw == letter.raw
    assert "no longer in the store" in read_dead_letter(stored.dead_letter).detail
    assert "no longer in the store" in read_dead_letter(stored.dead_letter, stored.parts[:1]).detail


LETTER = a_dead_letter("i", dead_lettered_at=NOON)


@pytest.mark.parametrize(
    "changes",
    [{"message_id": "j"}, {"subject": "t"}, {"route": "ns/q"}, {"dead_lettered_at": NOON + 1}],
    ids=["identity", "subject", "route", "time"],
)
def test_different_dead_letters_have_different_keys(changes: dict[str, object]) -> None:
    """The predecessor's keys collided within a second."""
    assert keys.dead_letter_key(LETTER.key) != keys.dead_letter_key(replace(LETTER, **changes).key)  # type: ignore[arg-type]


def test_retention_counts_from_when_a_message_became_a_dead_letter() -> None:
    """Its `died` item outlives every message that could be redelivered."""
    stored = dead_letter_items(LETTER, 2)
    assert int(stored.dead_letter["expiresAt"]["N"]) == NOON // 1000 + 2 * 86_400
    assert not is_expired(stored.dead_letter, NOON + 2 * 86_400_000 - 1_000)
    assert int(stored.died["expiresAt"]["N"]) == NOON // 1000 + 15 * 86_400
    assert int(dead_letter_items(LETTER, 30).died["expiresAt"]["N"]) == NOON // 1000 + 30 * 86_400


@pytest.mark.promise(5)
def test_an_item_of_a_release_before_identities_is_read_by_its_own_key() -> None:
    """The producer's id takes the place of the identity, in the item and in its key."""
    item = dead_letter_items(LETTER, 30).dead_letter
    del item["messageId"]
    before = item | {"id": {"S": "order-1"}, "replay": {"S": '["run",1,5]'}}
    read = read_dead_letter(before)
    assert (read.message_id, read.id, read.replay) == ("order-1", "order-1", ReplayMark("run", 1, 5))
    other = hashlib.sha256(b"s\0ns/r").hexdigest()[:16]
    assert keys.dead_letter_key(read.key).sk == f"{NOON:015d}#order-1#{other}"  # as edfeed9 wrote it
    assert mark_text(ReplayMark("run", 1, 5)) == '["run",1,5]'


def test_one_failing_target_is_spread_over_shards() -> None:
    """A thousand subjects of one target in one hour use eight partitions of the index."""
    partitions = {
        dead_letter_items(replace(LETTER, subject=f"s{n}"), 30).dead_letter["targetKey"]["S"] for n in range(1_000)
    }
    assert len(partitions) == keys.SHARDS


@given(st.integers(0, 4_000_000_000_000), st.integers(0, 4_000_000_000_000), st.integers(0, 4_000_000_000_000))
def test_a_window_contains_exactly_the_keys_of_its_time(since: int, until: int, at: int) -> None:
    """`since` inclusive, `until` exclusive, to the millisecond; the same for hours."""
    wanted = DeadLetterFilter(since=since, until=until)
    key = keys.dead_letter_key(replace(LETTER, dead_lettered_at=at).key)
    letters, hours = keys.dead_letters_window(wanted), keys.hours_window(wanted)
    inside = since <= at < until
    assert inside == (not letters.empty and letters.first <= key.sk <= letters.last)
    if inside:
        assert hours.first <= key.pk <= hours.last


def test_an_item_past_its_retention_is_expired() -> None:
    """DynamoDB returns expired items for days."""
    item = dead_letter_items(LETTER, 30).dead_letter
    end = NOON + 30 * 86_400_000
    assert (is_expired(item, end - 1_000), is_expired(item, end)) == (False, True)


def test_the_table_definition_matches_the_store() -> None:
    """Key, an index for each search, on-demand billing, and expiry by the items' attribute."""
    definition = table_definition("t")
    assert definition["BillingMode"] == "PAY_PER_REQUEST"
    assert {index["IndexName"] for index in definition["GlobalSecondaryIndexes"]} == set(INDEX_KEYS)
    assert {each["AttributeName"] for each in definition["AttributeDefinitions"]} == {"pk", "sk", *INDEX_KEYS.values()}
    assert time_to_live("t")["TimeToLiveSpecification"] == {"Enabled": True, "AttributeName": TTL_ATTRIBUTE}
