"""JSON is written as it was read, in characters that SQS accepts, or refused with a reason."""

import json
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaski_core.json_codec import MAX_DEPTH, JsonError, dumps, loads
from unit.core.json_values import VALUES

SQS_ACCEPTS = re.compile("[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")


def exactly(value: object) -> str:
    """A text that differs for 1, 1.0 and true, and for 0.0 and -0.0."""
    return repr(value)


@given(VALUES)
def test_every_value_survives_being_written_and_read(value: object) -> None:
    """With its types, also for the standard library's parser."""
    data = dumps(value)
    assert exactly(loads(data)) == exactly(value)
    assert exactly(json.loads(data)) == exactly(value)
    assert dumps(loads(data)) == data


@pytest.mark.promise(5)
@given(VALUES)
def test_only_characters_that_sqs_accepts_are_written(value: object) -> None:
    """Else SQS would refuse the message with InvalidMessageContents."""
    assert SQS_ACCEPTS.fullmatch(dumps(value).decode())


@pytest.mark.parametrize(
    "number",
    [2**53 + 1, 2**63 - 1, -(2**63), 2**63, 2**64 - 1, 2**64, -(2**63) - 1, 10**40, 10**18, 10**308],
    ids=str,
)
def test_integers_are_exact_however_long(number: int) -> None:
    """Payment and snowflake ids must not become floats."""
    value = loads(b'{"n": [%d], "s": "%d"}' % (number, number))
    assert exactly(value) == exactly({"n": [number], "s": str(number)})
    assert dumps(value) == b'{"n":[%d],"s":"%d"}' % (number, number)


@pytest.mark.parametrize("text", ["0.1", "1.0", "-0.0", "5e-324", "1.7976931348623157e308", "123456789.123456789"])
def test_floats_are_the_nearest_double(text: str) -> None:
    """As in every other JSON reader, also beside a long integer."""
    assert exactly(loads(text.encode())) == exactly(float(text))
    assert exactly(loads(f"[{text}, {2**80}]".encode())) == exactly([float(text), 2**80])


@pytest.mark.parametrize("character", ["\ufffe", "\uffff"], ids=["U+FFFE", "U+FFFF"])
def test_noncharacters_are_escaped_in_keys_and_values(character: str) -> None:
    """SQS accepts every character above U+FFFF, but not these two."""
    value = {character: f"a{character}{character}b"}
    assert dumps(value).isascii()
    assert loads(dumps(value)) == value
    assert loads(dumps([value, 2**70])) == [value, 2**70]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b"nul",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"[NaN, 12345678901234567890]",
        b"1e400",
        b"9" * 400,
        b"9" * 5_000,
        b"01",
        b"[1,]",
        b"{'a': 1}",
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\\ud800"',
        b'"\\udfff\\ud800"',
        b'["\\ud800", 12345678901234567890]',
        b'"\x01"',
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b"\0",
        b"{} {}",
    ],
)
def test_invalid_json_is_refused_with_a_reason(data: bytes) -> None:
    """One type of error, also for JSON that can't be written again."""
    with pytest.raises(JsonError, match=r"\w"):
        loads(data)


@given(st.binary(max_size=60) | st.text('[]{}":,.0123456789eE+-\\u dftnrslaQ', max_size=60).map(str.encode))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    """A value that can be written again, or a JsonError; never anything else."""
    try:
        value = loads(data)
    except JsonError:
        return
    assert exactly(loads(dumps(value))) == exactly(value)


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")])
@pytest.mark.parametrize("inner", [b"0", b"12345678901234567890"], ids=["short number", "long number"])
def test_json_up_to_the_depth_limit_can_be_written_and_deeper_json_is_refused(
    opening: bytes, closing: bytes, inner: bytes
) -> None:
    """A message that can be read but not written again could not be moved to a rung."""
    levels = opening.count(b"[") + opening.count(b"{")
    times = MAX_DEPTH // levels
    data = opening * times + inner + closing * times
    assert dumps(loads(data)) == data
    for deeper in (times + 1, times * 3, times * 5, times * 6, 100_000):
        with pytest.raises(JsonError):
            loads(opening * deeper + inner + closing * deeper)


def test_json_at_the_depth_limit_can_be_written_at_any_stack_depth() -> None:
    """Reader and writer of a message have different stack depths."""
    value = loads(b"[" * MAX_DEPTH + b"123456789012345678901" + b"]" * MAX_DEPTH)

    def deep(levels: int) -> bytes:
        return deep(levels - 1) if levels else dumps({"wrapped": [value]})

    assert deep(sys.getrecursionlimit() // 2).count(b"[") == MAX_DEPTH + 1


@pytest.mark.parametrize(
    "data",
    [b"[" * 200 * 1024, b'{"a":' * 40_000, b"[" * 200 * 1024 + b"12345678901234567890"],
    ids=["arrays", "objects", "arrays around a long number"],
)
def test_two_hundred_kilobytes_of_brackets_are_an_error(data: bytes) -> None:
    """Hostile nesting does not overflow the stack."""
    with pytest.raises(JsonError):
        loads(data)


def test_wide_is_not_deep() -> None:
    """Neither many values side by side nor brackets in a text count as depth."""
    wide = b"[" + b",".join([b'{"a":[]}'] * 5_000) + b"]"
    assert dumps(loads(wide)) == wide
    assert loads(b'"' + b"[{" * 5_000 + b'"') == "[{" * 5_000


@pytest.mark.parametrize(
    "value",
    [object(), {"a": {1, 2}}, "\ud800", {"\udfff": 1}, ["\ud800", 2**70], b"bytes"],
    ids=["object", "set", "lone surrogate", "lone surrogate in a key", "beside a long integer", "bytes"],
)
def test_a_value_that_json_can_not_represent_is_refused(value: object) -> None:
    """With a JsonError."""
    with pytest.raises(JsonError, match=r"\w"):
        dumps(value)
