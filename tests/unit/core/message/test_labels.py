"""Message ids sort by time when made, and are stable when derived."""

import uuid

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chaski_core.message.labels import from_idempotency_key, generate, is_label

TIMES = st.integers(0, 2**48 - 1)
RANDOM = st.binary(min_size=10, max_size=10)
TEXTS = st.text(max_size=20)


@given(TIMES, RANDOM)
def test_a_generated_id_is_a_uuid_version_7(now_ms: int, random: bytes) -> None:
    """Version, variant and time stand where RFC 9562 puts them, and the id can be carried."""
    made = generate(now_ms, random)
    value = uuid.UUID(made)
    assert str(value) == made
    assert (value.version, value.variant) == (7, uuid.RFC_4122)
    assert value.int >> 80 == now_ms
    assert is_label(made)


@given(TIMES, TIMES, RANDOM, RANDOM)
def test_generated_ids_sort_by_time(earlier: int, later: int, some: bytes, other: bytes) -> None:
    """As text, whatever the random part."""
    assume(earlier < later)
    assert generate(earlier, some) < generate(later, other)


def test_the_random_part_makes_ids_of_one_millisecond_differ() -> None:
    """74 of the 80 random bits are used: every one but version and variant."""
    base = int.from_bytes(bytes(10))
    made = {generate(1, (base | 1 << bit).to_bytes(10, "big")) for bit in range(80)} | {generate(1, bytes(10))}
    assert len(made) == 74 + 1


@pytest.mark.parametrize("count", [0, 9, 11, 16])
def test_too_little_or_too_much_randomness_is_refused(count: int) -> None:
    """A wrong number of bytes is a mistake of the caller."""
    with pytest.raises(ValueError, match=f"not {count}"):
        generate(1, bytes(count))


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
def test_a_producers_id_is_of_a_small_alphabet(text: str, good: bool) -> None:
    """`[A-Za-z0-9._-]{1,64}`, and no line end slips in behind it."""
    assert is_label(text) == good


def test_an_idempotency_key_gives_a_stable_id() -> None:
    """The very same id in every release: a repeat may meet another one."""
    assert from_idempotency_key("ns/r", "p", "s", "k") == "ik-3d404cbf45e762db98fe67a7ac60d344698da18859f0188b"


FOUR = st.tuples(TEXTS, TEXTS, TEXTS, TEXTS)


@given(FOUR, FOUR)
def test_other_routes_producers_subjects_or_keys_give_other_ids(
    some: tuple[str, str, str, str], other: tuple[str, str, str, str]
) -> None:
    """Not even where the same characters are split in another way."""
    assume(some != other and not any("\0" in part for part in (*some, *other)))
    assert from_idempotency_key(*some) != from_idempotency_key(*other)
    assert is_label(from_idempotency_key(*some))


def test_a_split_moved_between_route_subject_and_key_gives_another_id() -> None:
    """`a` + `bc` is not `ab` + `c`."""
    parts = (("a", "p", "bc", ""), ("ab", "p", "c", ""), ("a", "p", "b", "c"))
    assert len({from_idempotency_key(*each) for each in parts}) == 3


def test_a_key_of_any_bytes_gives_an_id() -> None:
    """A header that is no UTF-8 is decoded with lone surrogates; it must not break the request."""
    assert is_label(from_idempotency_key("ns/r", None, "s", b"\xff".decode("utf-8", "surrogateescape")))
