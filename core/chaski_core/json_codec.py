"""JSON that is written as it was read, in bytes that SQS accepts.

orjson is fast, but it reads every number with a fraction or an exponent as a double, and integers beyond 64 bits as well.
So every value that it has read is written again and compared with the input: where both are equal but for white space
between the tokens, nothing was lost. Other documents, one in many, are read by the standard library's parser, which keeps
long integers, and a `Number` keeps digits that a double would change: an amount of `1.10` arrives as `1.10`.

SQS accepts only #x9 #xA #xD #x20-#xD7FF #xE000-#xFFFD #x10000-#x10FFFF
(https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html), so U+FFFE and U+FFFF are
written as escapes; orjson escapes the control characters, and refuses lone surrogates.
"""

import json
from collections.abc import Callable
from functools import partial
from typing import Any, Self

import orjson

MAX_DEPTH = 200  # orjson writes 254 levels; the rest is for documents around a message: a dead letter, a list of them
_MAX_SHOWN_KEY = 80  # characters
_WHITE_SPACE = b" \t\r\n"
_INTEGERS = range(-(2**63), 2**64)  # that orjson writes
_NONCHARACTER_START = b"\xef"  # searching for one byte is faster than for three
_NONCHARACTERS = ((b"\xef\xbf\xbe", b"\\ufffe"), (b"\xef\xbf\xbf", b"\\uffff"))

Pairs = list[tuple[str, Any]]


class JsonError(ValueError):
    """The bytes are not JSON, or JSON that can't be transported."""


class DuplicateKeyError(JsonError):
    """An object has a key twice; `path` leads to the second one: `body.content.lines[3].amount`."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path}: duplicate key")
        self.path = path


class Number(float):
    """A number that is written with the digits that were read, where a double would be written with other digits."""

    __slots__ = ("text",)

    def __new__(cls, text: str) -> Self:
        """`text`: a number of JSON (RFC 8259 section 6)."""
        number = super().__new__(cls, text)
        number.text = text
        return number

    text: str

    def __getnewargs__(self) -> tuple[str]:  # type: ignore[override]
        """For copies."""
        return (self.text,)


def loads(data: bytes) -> Any:
    """The value of a JSON text in UTF-8. Of duplicate keys the last one counts.

    Raises:
        JsonError: with the reason and the position. Also for more than `MAX_DEPTH` nested levels, and for a number beyond
            the range of a double (about 1.8e308), which few readers accept (RFC 8259 section 6).
    """
    return _loads(data, json.loads)[0]


def loads_unique(data: bytes) -> Any:
    """As `loads`, but duplicate keys are an error: readers differ in which one counts (RFC 8259 section 4).

    Raises:
        DuplicateKeyError: an object has a duplicate key.
        JsonError: as `loads`.
    """
    return _loads(data, _loads_pairs)[0]


def loads_compact(data: bytes) -> tuple[Any, bytes]:
    """As `loads_unique`, and the value as `dumps` writes it, almost without extra cost.

    Raises:
        DuplicateKeyError: an object has a duplicate key.
        JsonError: as `loads`.
    """
    value, compact = _loads(data, _loads_pairs)
    return value, dumps(value) if compact is None else _escape_noncharacters(compact)


def _loads(data: bytes, parse_exactly: Callable[..., Any]) -> tuple[Any, bytes | None]:
    """The value, and its text by orjson; None in place of the text where `parse_exactly` read the value."""
    try:
        value = orjson.loads(data)  # the stricter parser: no NaN, no lone surrogates
    except orjson.JSONDecodeError as error:
        raise JsonError(str(error)) from error
    if _may_exceed(MAX_DEPTH, data) and _depth_exceeds(MAX_DEPTH, value):
        raise JsonError(f"nested more than {MAX_DEPTH} levels deep")  # every value that is read must be writable later
    compact = orjson.dumps(value)
    if _is_verbatim(data, compact):
        return value, compact
    try:
        return parse_exactly(data, parse_float=_number, parse_int=_integer if b"-0" in data else int), None
    except _DuplicateError:
        raise DuplicateKeyError(_path_of_duplicate(data)) from None


def _is_verbatim(data: bytes, written: bytes) -> bool:
    """Whether the value, written again, equals the text, white space aside.

    Then every token is the same: no digit was lost and no key was dropped. White space inside strings is ignored on both
    sides; strings are read exactly in any case.
    """
    if data == written:  # from a producer that writes compact JSON, and all that Chaski itself has written
        return True
    if b" " not in written and data.replace(b" ", b"") == written:
        return True
    return written.translate(None, _WHITE_SPACE) == data.translate(None, _WHITE_SPACE)


def _number(text: str) -> float:
    number = float(text)
    return number if orjson.dumps(number).decode() == text else Number(text)


def _integer(text: str) -> float:
    return Number(text) if text == "-0" else int(text)


class _DuplicateError(Exception):
    """An object has a duplicate key."""


def _unique(pairs: Pairs) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise _DuplicateError
    return value


_loads_pairs = partial(json.loads, object_pairs_hook=_unique)


class _Object(Pairs):
    """An object with all its keys, duplicates included."""


def _path_of_duplicate(data: bytes) -> str:
    """The path of the first duplicate key; "" if there is none."""
    waiting: list[tuple[str, Any]] = [("", json.loads(data, object_pairs_hook=_Object))]
    while waiting:
        path, value = waiting.pop()
        inner: Pairs = []
        if isinstance(value, _Object):
            seen: set[str] = set()
            for key, each in value:
                inner_path = f"{path}.{_shown_key(key)}" if path else _shown_key(key)
                if key in seen:
                    return inner_path
                seen.add(key)
                inner.append((inner_path, each))
        elif isinstance(value, list):
            inner = [(f"{path}[{position}]", each) for position, each in enumerate(value)]
        waiting += [pair for pair in reversed(inner) if isinstance(pair[1], list)]
    return ""


def _shown_key(key: str) -> str:
    return json.dumps(key[:_MAX_SHOWN_KEY])[1:-1]


def _may_exceed(levels: int, data: bytes) -> bool:
    """Whether a text has more brackets than that: an upper bound of its depth."""
    # Searching goes by 32 bytes, `bytes.count` by one: 6,600 instructions for a common message of 1.4 KB, this takes 2,200.
    for bracket in (b"{", b"["):
        position = data.find(bracket)
        while position >= 0:
            levels -= 1
            if levels < 0:
                return True
            position = data.find(bracket, position + 1)
    return False


def _depth_exceeds(limit: int, value: Any) -> bool:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(limit):
        inner = (each.values() if isinstance(each, dict) else each for each in level)
        level = [child for children in inner for child in children if isinstance(child, dict | list)]
    return bool(level)


def dumps(value: Any, *, indented: bool = False) -> bytes:
    """JSON in UTF-8, only with characters that SQS accepts; compact, or `indented` by two spaces for people.

    Raises:
        JsonError: JSON or UTF-8 can't represent the value.
    """
    return _escape_noncharacters(_written(value, orjson.OPT_INDENT_2 if indented else 0))


def _escape_noncharacters(data: bytes) -> bytes:
    """The same JSON, only with characters that SQS accepts."""
    if _NONCHARACTER_START in data:
        for raw, escaped in _NONCHARACTERS:
            data = data.replace(raw, escaped)
    return data


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and without white space: equal for two texts with the same value.

    Raises:
        JsonError: JSON or UTF-8 can't represent the value.
    """
    return _written(value, orjson.OPT_SORT_KEYS)


def _written(value: Any, option: int) -> bytes:
    try:
        return orjson.dumps(value, _as_written, option)
    except orjson.JSONEncodeError as error:
        return _dumps_with_long_integers(value, option, error)


def _as_written(value: Any) -> orjson.Fragment:
    if isinstance(value, Number):
        return orjson.Fragment(value.text)
    raise TypeError(f"JSON can't represent {type(value).__name__}")


def _dumps_with_long_integers(value: Any, option: int, error: orjson.JSONEncodeError) -> bytes:
    try:
        return orjson.dumps(_with_fragments(value), _as_written, option | orjson.OPT_NON_STR_KEYS)
    except (orjson.JSONEncodeError, RecursionError):
        raise JsonError(str(error)) from error


def _with_fragments(value: Any) -> Any:
    """A copy in which integers beyond 64 bits are fragments, which orjson writes unchanged."""
    whole: list[Any] = [value]
    waiting: list[Any] = [whole]
    while waiting:
        parent = waiting.pop()
        for key, each in list(parent.items() if isinstance(parent, dict) else enumerate(parent)):
            if isinstance(each, int) and each not in _INTEGERS:
                parent[key] = orjson.Fragment(str(each))
            elif isinstance(each, dict | list | tuple):
                parent[key] = dict(each) if isinstance(each, dict) else list(each)
                waiting.append(parent[key])
    return whole[0]
