"""Numbers keep their digits and duplicate keys are found, in any document."""

import copy
import json
import pickle
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chaski_core.json_codec import DuplicateKeyError, JsonError, Number, dumps, loads, loads_compact, loads_unique

NUMBERS = ["12345678901234567.89", "0.12345678901234567890123", "1.10", "1e2", "1E+2", "1e-400", "-0", "-0.0", "5e-324"]
NUMBERS += [
    "100000000000000000000000",
    "19.99",
    "1e16",
    "-1.0e0",
    "0.10",
    "9007199254740993.0",
    "1.7976931348623157e308",
]


@pytest.mark.promise(5)
@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(
    "around",
    ["%s", "[%s]", '{"a":%s}', '{"a" : [1, %s , {"b":\t%s}]}', '["\\u00e9", %s, 123456789012345678901234567890]'],
)
def test_a_number_is_written_with_the_digits_that_were_read(number: str, around: str) -> None:
    """In any position, and beside integers that only the slower parser reads."""
    text = around.replace("%s", number)
    assert numbers_of(dumps(loads(text.encode()))) == numbers_of(text.encode())
    assert number.encode() in dumps(loads(text.encode()), indented=True)


def numbers_of(data: bytes) -> object:
    """The document with each number as its text, by the standard library."""
    return json.loads(data, parse_float=lambda text: ("number", text), parse_int=lambda text: ("number", text))


def test_a_number_is_a_float_that_copies_keep() -> None:
    """Code can compute with it, compare it and copy it."""
    (number,) = loads(b"[1.10]")
    assert isinstance(number, Number)
    assert (number, number * 2, hash(number)) == (1.1, 2.2, hash(1.1))
    for same in (copy.deepcopy(number), pickle.loads(pickle.dumps(number))):  # noqa: S301 - made here
        assert dumps(same) == b"1.10"


@pytest.mark.parametrize("number", [b"1e400", b"-1e309", b"[1e400, 1.10]", b"1" * 310])
def test_a_number_beyond_a_double_is_refused(number: bytes) -> None:
    """Few readers accept it."""
    with pytest.raises(JsonError, match="number"):
        loads(number)


TOKENS = st.one_of(
    st.sampled_from(NUMBERS),
    st.from_regex(r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,24})?([eE][+-]?[0-9]{1,2})?", fullmatch=True),
)
TEXTS = st.one_of(
    st.sampled_from(
        ['"a"', '"b c"', '"bc"', '"\\u0061"', '"\\":"', '"x\\\\"', '" : "', '"\\u0022\\u003a"', '"é"', '"1.10"', '""']
    ),
    st.text(st.sampled_from('ab: ,[{"\\é\t\ufffe'), max_size=6).map(json.dumps),
)
SPACE = st.sampled_from(["", "", "", " ", "\n", "\t ", "\r\n"])


@st.composite
def documents(draw: st.DrawFn, depth: int = 0) -> str:
    """JSON text with any spelling of white space, escapes and numbers; few keys, so that duplicates are frequent."""
    before, after = draw(SPACE), draw(SPACE)
    kind = draw(st.integers(0, 5 if depth < 3 else 3))
    if kind < 2:
        made = draw(TOKENS)
    elif kind < 4:
        made = draw(TEXTS | st.sampled_from(["null", "true", "false"]))
    elif kind == 4:
        made = "[" + ",".join(draw(st.lists(documents(depth + 1), max_size=3))) + "]"
    else:
        pairs = draw(st.lists(st.tuples(SPACE, TEXTS, SPACE, documents(depth + 1)), max_size=4))
        made = "{" + ",".join(f"{space}{key}{gap}:{value}" for space, key, gap, value in pairs) + "}"
    return before + made + after


def _has_duplicates(text: str) -> bool:
    found = False

    def pairs(given: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal found
        found = found or len(dict(given)) < len(given)
        return dict(given)

    json.loads(text, object_pairs_hook=pairs)
    return found


@given(documents())
@example('{"a b":1,"ab":1.10,"a b":1}')
@example('{"a" :1,"a":1}')
@example('{"a":"\\u0022:","a":1}')
@example('{"a":{"b":1},"c":{"b":1,"b":2}}')
def test_every_document_keeps_its_numbers_and_is_refused_for_duplicates_only(text: str) -> None:
    """Compared with the standard library's parser, with hooks for numbers and pairs."""
    data = text.encode()
    assert numbers_of(dumps(loads(data))) == numbers_of(data)
    if not _has_duplicates(text):
        assert dumps(loads_unique(data)) == dumps(loads(data))
        return
    with pytest.raises(DuplicateKeyError, match="duplicate key"):
        loads_unique(data)


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (b'{"a":1,"a":1}', "a"),
        (b'{"subject":"first","body":{},"subject":"second"}', "subject"),
        (b'{"body":{"content":{"lines":[0,[],[{"x":1},{"amount":1,"amount":2}]]}}}', "body.content.lines[2][1].amount"),
        (b'[{"a":{"b":1}},{"a":1,"\\u0061":2}]', "[1].a"),
        (b'{"a\\n":1,"a\\n":2}', r"a\n"),
        (b'{"%b":1,"%b":2}' % (b"k" * 200, b"k" * 200), "k" * 80),
    ],
)
def test_the_path_leads_to_the_duplicate_key(data: bytes, path: str) -> None:
    """In one line of bounded length."""
    with pytest.raises(DuplicateKeyError) as caught:
        loads_unique(data)
    assert caught.value.path == path


@pytest.mark.promise(5)
def test_a_message_with_a_duplicate_key_on_a_queue_stays_readable() -> None:
    """The last one counts."""
    assert loads(b'{"a":1,"a":1.10}') == {"a": 1.1}
    assert dumps(loads(b'{"a":1,"a":1.10}')) == b'{"a":1.10}'


@pytest.mark.parametrize(
    "text",
    [
        '{"a":"x","b":[1,2]}',
        '{"a": "x", "b": [1, 2]}',
        '{"a": "x y", "b": [1, 2]}',
        '{\n\t"a": "x",\r\n\t"b": 1.10\n}',
        '{"a":1e2, "b": "\\u00e9\\/"}',
        '{"a":"\uffff\ufffe"}',
        '{"a": "\uffff \ufffe", "b": 123456789012345678901234567890}',
    ],
)
def test_the_compact_text_equals_that_of_dumps(text: str) -> None:
    """With any white space, numbers, characters and escapes."""
    value, compact = loads_compact(text.encode())
    assert compact == dumps(value)
    assert compact == dumps(loads_unique(text.encode()))
