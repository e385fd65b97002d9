"""Identities, labels, and the key by which a repeated request is recognized."""

import uuid
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chaski_core.message.identity import (
    deduplication_key,
    generate_label,
    is_label,
    label_from_key,
    read_message_id,
    read_sequence_number,
)

BODY: dict[str, Any] = {"url": "https://a.example/", "content": {"a": 1, "b": [1.5, None]}, "headers": {"X": "y"}}
SAME: dict[str, Any] = {"headers": {"X": "y"}, "content": {"b": [1.5, None], "a": 1}, "url": "https://a.example/"}
KEY = ("ns/r", "billing", "customer-9", "id:invoice-1", BODY)


def test_the_key_never_changes() -> None:
    """Two releases side by side must agree, or a repeat is delivered twice."""
    assert deduplication_key(*KEY) == "1f0262b2b3e3b88f32a73681aa91e09d3917826acd392ec9f6cf2f35609c90d6"


def test_the_order_of_keys_makes_no_difference() -> None:
    """A repeat may come from another serialiser."""
    assert deduplication_key(*KEY[:4], SAME) == deduplication_key(*KEY)


@pytest.mark.promise(2)
@pytest.mark.promise(14)
@pytest.mark.parametrize(
    "other",
    [
        ("ns/other", *KEY[1:]),
        (KEY[0], "stranger", *KEY[2:]),
        (KEY[0], None, *KEY[2:]),
        (*KEY[:2], "customer-8", *KEY[3:]),
        (*KEY[:3], "id:invoice-2", BODY),
        (*KEY[:3], "key:invoice-1", BODY),
        (*KEY[:4], BODY | {"content": "junk"}),
        (*KEY[:4], BODY | {"url": "https://attacker.example/"}),
        (*KEY[:4], BODY | {"method": "PUT"}),
    ],
    ids=["route", "producer", "no producer", "subject", "id", "kind of token", "content", "url", "method"],
)
def test_any_difference_makes_another_message(other: tuple[str, str | None, str, str, dict[str, Any]]) -> None:
    """So no message is suppressed by one of another producer or with another content."""
    assert deduplication_key(*other) != deduplication_key(*KEY)


FIELDS = st.tuples(st.text(max_size=4), st.text(max_size=4), st.text(max_size=4), st.text(max_size=4))


@given(FIELDS, FIELDS)
def test_no_split_of_the_same_characters_gives_the_same_key(
    some: tuple[str, str, str, str], other: tuple[str, str, str, str]
) -> None:
    """Each part is hashed as a separate text."""
    assume(some != other)
    assert deduplication_key(*some, BODY) != deduplication_key(*other, BODY)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("0aa8e2f4-9f5c-4b0e-8d5b-6a2ff3f8c2f1", "0aa8e2f4-9f5c-4b0e-8d5b-6a2ff3f8c2f1"),
        ("x" * 100, "x" * 100),
        ("x" * 101, None),
        ("", None),
        ("a b", None),
        ("a\n", None),
        ("é", None),
        (7, None),
        (None, None),
    ],
)
def test_an_identity_is_printable_and_short(value: object, read: str | None) -> None:
    """It becomes a header, part of a deduplication id and a key."""
    assert read_message_id(value) == read


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("18849496460467696128", 18849496460467696128),
        ("0", 0),
        ("-1", None),
        ("1.5", None),
        ("1" * 129, None),
        (5, None),
    ],
)
def test_a_sequence_number_is_digits(value: object, read: int | None) -> None:
    """Beyond 64 bits, so it travels as text."""
    assert read_sequence_number(value) == read


TIMES = st.integers(0, 2**48 - 1)
RANDOM = st.binary(min_size=10, max_size=10)
TEXTS = st.text(max_size=20)


@given(TIMES, RANDOM)
def test_a_generated_label_is_a_uuid_version_7(now_ms: int, random: bytes) -> None:
    """Version, variant and time are where RFC 9562 puts them."""
    made = generate_label(now_ms, random)
    value = uuid.UUID(made)
    assert str(value) == made
    assert (value.version, value.variant) == (7, uuid.RFC_4122)
    assert value.int >> 80 == now_ms
    assert is_label(made)


@given(TIMES, TIMES, RANDOM, RANDOM)
def test_generated_labels_sort_by_time(earlier: int, later: int, some: bytes, other: bytes) -> None:
    """As text, with any random part."""
    assume(earlier < later)
    assert generate_label(earlier, some) < generate_label(later, other)


def test_labels_of_one_millisecond_differ_by_their_random_part() -> None:
    """74 of the 80 random bits are used: all but those of version and variant."""
    base = int.from_bytes(bytes(10))
    made = {generate_label(1, (base | 1 << bit).to_bytes(10, "big")) for bit in range(80)} | {
        generate_label(1, bytes(10))
    }
    assert len(made) == 74 + 1


@pytest.mark.parametrize("count", [0, 9, 11, 16])
def test_a_wrong_number_of_random_bytes_is_an_error(count: int) -> None:
    """It is a mistake of the caller."""
    with pytest.raises(ValueError, match=f"not {count}"):
        generate_label(1, bytes(count))


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("a", True),
        ("A-z_0.9", True),
        ("x" * 64, True),
        ("x" * 65, False),
        ("", False),
        ("a b", False),
        ("a:b", False),
        ("ä", False),
        ("a\n", False),
        ("٣", False),
    ],
)
def test_a_label_has_a_small_alphabet(text: str, good: bool) -> None:
    """`[A-Za-z0-9._-]{1,64}`, without a line end after it."""
    assert is_label(text) == good


def test_an_idempotency_key_gives_a_stable_label() -> None:
    """The same in every release: a repeat may be accepted by another one."""
    assert label_from_key("ns/r", "p", "s", "k") == "ik-3d404cbf45e762db98fe67a7ac60d344698da18859f0188b"


FOUR = st.tuples(TEXTS, TEXTS, TEXTS, TEXTS)


@given(FOUR, FOUR)
def test_another_route_producer_subject_or_key_gives_another_label(
    some: tuple[str, str, str, str], other: tuple[str, str, str, str]
) -> None:
    """Also where the same characters are split in another way."""
    assume(some != other and not any("\0" in part for part in (*some, *other)))
    assert label_from_key(*some) != label_from_key(*other)
    assert is_label(label_from_key(*some))


def test_another_split_between_route_subject_and_key_gives_another_label() -> None:
    """`a` + `bc` is not `ab` + `c`."""
    parts = (("a", "p", "bc", ""), ("ab", "p", "c", ""), ("a", "p", "b", "c"))
    assert len({label_from_key(*each) for each in parts}) == 3


def test_a_key_of_any_bytes_gives_a_label() -> None:
    """A header that is not UTF-8 is decoded with lone surrogates, which must not break the request."""
    assert is_label(label_from_key("ns/r", None, "s", b"\xff".decode("utf-8", "surrogateescape")))
