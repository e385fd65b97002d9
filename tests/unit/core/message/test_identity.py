"""What is read as an identity, and what makes one request a repeat of another."""

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chaski_core.message.identity import deduplication_key, read_message_id, read_sequence_number

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
def test_whatever_differs_makes_another_message(other: tuple[str, str | None, str, str, dict[str, Any]]) -> None:
    """So no message can be swallowed by one that another producer sent, or that says something else."""
    assert deduplication_key(*other) != deduplication_key(*KEY)


FIELDS = st.tuples(st.text(max_size=4), st.text(max_size=4), st.text(max_size=4), st.text(max_size=4))


@given(FIELDS, FIELDS)
def test_no_split_of_the_same_characters_gives_the_same_key(
    some: tuple[str, str, str, str], other: tuple[str, str, str, str]
) -> None:
    """Each part is a text of its own in what is hashed."""
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
