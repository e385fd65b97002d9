"""A subject's keys: group, partition, queue pattern."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chaski_core.message.subject import (
    first_deduplication_id,
    group_id,
    hop_deduplication_id,
    is_accepted,
    matches_pattern,
    may_send,
    partition,
    replay_deduplication_id,
    replayed_message,
)

SUBJECTS = st.text(min_size=1, max_size=512)
SQS_TOKEN = re.compile(r"""[A-Za-z0-9!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]{1,128}""")


@pytest.mark.parametrize(
    "subject",
    [
        "pc_send_88_519",
        "x",
        "x" * 128,
        "constructor",
        "__proto__",
        "null",
        "0",
        "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
    ],
)
def test_a_subject_that_sqs_accepts_is_its_own_group(subject: str) -> None:
    """So it is found in the console of SQS."""
    assert group_id(subject) == subject


@pytest.mark.parametrize(
    "subject",
    ["x" * 129, "x" * 500, "two words", " ", "tab\t", "line\n", "é", "😀", "\x7f", "\0", "x\u2028"],
    ids=["129", "500", "space", "only space", "tab", "line end", "accent", "emoji", "DEL", "NUL", "line separator"],
)
def test_a_subject_that_sqs_does_not_accept_has_a_hash_as_group(subject: str) -> None:
    """It is too long, or has characters that a MessageGroupId can't have."""
    assert re.fullmatch("sha256:[0-9a-f]{64}", group_id(subject))


def test_the_group_of_a_hashed_subject_never_changes() -> None:
    """Two releases side by side must agree, or the subject's order is lost."""
    assert group_id("two words") == "sha256:a03f1d611645eb53ad16c1af546ca0792dc884505bab57ede80f4dad6b911d3a"


@given(SUBJECTS, SUBJECTS)
def test_groups_are_valid_and_unique(some: str, other: str) -> None:
    """SQS accepts every group, and no two subjects share one."""
    assert SQS_TOKEN.fullmatch(group_id(some))
    assert (group_id(some) == group_id(other)) == (some == other)


@pytest.mark.parametrize(
    ("subject", "murmur"),
    [
        pytest.param("test", 0xBA6BD213, id="test"),
        pytest.param("Hello, world!", 0xC0363E43, id="beyond a signed 32-bit integer"),
        pytest.param("The quick brown fox jumps over the lazy dog", 0x2E4FF723, id="fox"),
        pytest.param("é", None, id="two bytes of UTF-8"),
        pytest.param("😀" * 100, None, id="emoji"),
    ],
)
def test_the_partition_is_murmur3_of_the_subject(subject: str, murmur: int | None) -> None:
    """Published test vectors, unsigned; the others by the algorithm written out."""
    expected = reference_murmur3_32(subject.encode())
    assert murmur in (None, expected)
    for partitions in (1, 2, 3, 4, 7, 63, 64):
        assert partition(subject, partitions) == expected % partitions


@given(SUBJECTS, st.integers(1, 64))
def test_every_subject_has_one_partition_that_exists(subject: str, partitions: int) -> None:
    """Always the same one, by MurmurHash3_x86_32 with seed 0."""
    assert partition(subject, partitions) == reference_murmur3_32(subject.encode()) % partitions


def reference_murmur3_32(data: bytes) -> int:
    """MurmurHash3_x86_32, seed 0, from its public description."""
    mask, value = 0xFFFFFFFF, 0
    for start in range(0, len(data), 4):
        block = data[start : start + 4]
        mixed = int.from_bytes(block, "little") * 0xCC9E2D51 & mask
        mixed = (mixed << 15 | mixed >> 17) & mask
        value ^= mixed * 0x1B873593 & mask
        if len(block) == 4:
            value = (value << 13 | value >> 19) & mask
            value = (value * 5 + 0xE6546B64) & mask
    value ^= len(data)
    value = (value ^ value >> 16) * 0x85EBCA6B & mask
    value = (value ^ value >> 13) * 0xC2B2AE35 & mask
    return value ^ value >> 16


@given(st.text("ab*", max_size=8), st.text("ab*\n", max_size=12))
def test_a_pattern_matches_as_a_glob_of_stars_does(pattern: str, subject: str) -> None:
    """The oracle is a regular expression; in a pattern only `*` is special."""
    oracle = ".*".join(re.escape(part) for part in pattern.split("*"))
    assert matches_pattern(pattern, subject) == (re.fullmatch(oracle, subject, re.DOTALL) is not None)


@pytest.mark.parametrize(
    ("pattern", "subject", "expected"),
    [
        ("pc_assignments_*", "pc_assignments_88", True),
        ("pc_assignments_*", "pc_assignments_", True),
        ("pc_assignments_*", "xpc_assignments_88", False),
        ("exact", "exact", True),
        ("exact", "exactly", False),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("*ab*ab", "abab", True),
        ("*ab*ab", "xab", False),
        ("*", "anything at all", True),
        ("**", "", True),
        ("a?c", "abc", False),
        ("[ab]", "a", False),
        ("*" * 60 + "b", "a" * 512, False),
    ],
)
def test_examples_of_patterns(pattern: str, subject: str, expected: bool) -> None:
    """Only `*` is special; head and tail may not overlap; many stars are fast."""
    assert matches_pattern(pattern, subject) == expected


class CountedText(str):
    """A subject that counts the searches in it, and where each began."""

    __slots__ = ("starts",)

    def __init__(self, _: str) -> None:
        self.starts: list[int] = []

    def find(self, part: str, start: int = 0, /) -> int:  # type: ignore[override]  # the matcher's use only
        self.starts.append(start)
        return str.find(self, part, start)


@pytest.mark.parametrize(
    ("pattern", "subject"),
    [
        ("*a" * 128, "a" * 512),
        ("*a" * 127 + "*b", "a" * 512),
        ("a*" * 127 + "a", "a" * 511 + "b"),
        ("*" + "a*" * 127, "a" * 127),
        ("*aab" * 64, "a" * 512),
        ("*" * 256, "a" * 512),
        ("*ab*ba" * 42, "ab" * 256),
    ],
    ids=["many matches", "no last part", "no tail", "few characters", "no part", "stars only", "overlaps"],
)
def test_a_pattern_takes_no_more_searches_than_it_has_parts(pattern: str, subject: str) -> None:
    """Each begins behind the end of the one before, so no subject makes the matcher try a choice again (ReDoS)."""
    counted = CountedText(subject)
    matches_pattern(pattern, counted)
    parts = pattern.split("*")[1:-1]
    assert len(counted.starts) <= len(parts)
    steps = zip(counted.starts, counted.starts[1:], parts, strict=False)
    assert all(later >= start + len(part) for start, later, part in steps)


@pytest.mark.promise(14)
@pytest.mark.parametrize(
    ("patterns", "allowed"),
    [(("*",), False), (("s*", "*6"), False), (("*", "sha256:*"), True), (("sha256:0*",), False)],
)
def test_a_subject_in_the_group_of_another_needs_a_pattern_of_its_own(patterns: tuple[str, ...], allowed: bool) -> None:
    """Otherwise a failing message of it would hold the other subject, whose producer another one is."""
    victim = "zwei Wörter"
    subject = group_id(victim)
    assert group_id(subject) == subject
    assert may_send(patterns, subject) is allowed
    assert may_send(("*",), subject.upper())
    assert may_send(("*",), victim)


HOPS = st.tuples(
    st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True),
    st.from_regex(r"[a-z][a-z0-9-]{0,44}", fullmatch=True),
    st.integers(0, 200),
    st.integers(1, 10**6),
)


def test_the_id_of_a_hop_has_identity_rung_retry_and_hop() -> None:
    """`<identity>:<rung>:<retry>:<hop>`, readable in the console of SQS."""
    assert hop_deduplication_id("m-1", "fast", 3, 4) == "m-1:fast:3:4"


def test_the_id_of_a_replay_has_the_dead_letter_and_its_number() -> None:
    """`<identity>:replay:<number>`: two runs that send the same one at once send one message."""
    assert replay_deduplication_id("m-1", 2) == "m-1:replay:2"
    assert replayed_message("m-1:replay:2") == "m-1"
    assert replayed_message(hop_deduplication_id("m-1", "replay", 0, 1)) is None  # a rung of that name
    assert replayed_message(first_deduplication_id("m-1")) is None


@given(HOPS, st.integers(1, 100))
def test_only_ids_of_accepted_messages_are_recognized_as_accepted(hop: tuple[str, str, int, int], number: int) -> None:
    """The ledger counts by them."""
    assert is_accepted(first_deduplication_id(hop[0]))
    assert not is_accepted(hop_deduplication_id(*hop))
    assert not is_accepted(replay_deduplication_id(hop[0], number))


@given(HOPS, HOPS)
def test_no_two_hops_share_an_id(some: tuple[str, str, int, int], other: tuple[str, str, int, int]) -> None:
    """SQS would suppress the second one. Every id is valid."""
    assume(some != other)
    assert SQS_TOKEN.fullmatch(hop_deduplication_id(*some))
    assert hop_deduplication_id(*some) != hop_deduplication_id(*other)


@pytest.mark.parametrize(
    ("message_id", "rung"),
    [("x" * 100, "r" * 63), ("an id of another queue", "fast"), ("😀", "fast"), ("x" * 900, "fast")],
    ids=["longest id and rung", "spaces", "emoji", "long"],
)
def test_a_hop_whose_id_sqs_does_not_accept_has_a_hash(message_id: str, rung: str) -> None:
    """Else SQS would refuse the message on every attempt."""
    made = [hop_deduplication_id(message_id, rung, retry, 1) for retry in (0, 0, 1)]
    assert all(SQS_TOKEN.fullmatch(each) for each in made)
    assert made[0] == made[1] != made[2]
