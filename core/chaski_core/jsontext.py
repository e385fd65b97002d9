"""JSON that comes out as it went in, in bytes that SQS takes.

orjson is fast, but it turns integers beyond 64 bits into floats; for those the standard library's parser, which keeps
them exact, is used. SQS takes only #x9 #xA #xD #x20-#xD7FF #xE000-#xFFFD #x10000-#x10FFFF
(https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html), so U+FFFE and U+FFFF are
written as escapes; orjson escapes the control characters, and refuses lone surrogates.
"""

import json
from typing import Any

import orjson

MAX_DEPTH = 200  # orjson writes 254 levels; a few are left for what wraps a message: a dead letter, a list of them
_DIGITS_AS_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_LONG_INTEGER = b"0" * 19  # in a text whose digits are all zeros; ten times faster than a regular expression
_NONCHARACTER_START = b"\xef"  # one byte is looked for faster than three
_NONCHARACTERS = ((b"\xef\xbf\xbe", b"\\ufffe"), (b"\xef\xbf\xbf", b"\\uffff"))


class JsonError(ValueError):
    """The bytes are no JSON text that can be carried."""


def loads(data: bytes) -> Any:
    """The value of a JSON text in UTF-8.

    Raises:
        JsonError: with what is wrong and where. Also where it nests more than `MAX_DEPTH` levels, or holds a number
            beyond what a double can hold.
    """
    try:
        value = _loads_exactly(data) if _LONG_INTEGER in data.translate(_DIGITS_AS_ZEROS) else orjson.loads(data)
    except (ValueError, RecursionError) as error:
        raise JsonError(str(error)) from error
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH and _depth_exceeds(MAX_DEPTH, value):
        raise JsonError(f"nested more than {MAX_DEPTH} levels deep")  # what is read must be writable later, anywhere
    return value


def _loads_exactly(data: bytes) -> Any:
    orjson.loads(data)  # the stricter of the two judges the grammar: no NaN, no lone surrogates
    return json.loads(data)


def _depth_exceeds(limit: int, value: Any) -> bool:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(limit):
        inner = (each.values() if isinstance(each, dict) else each for each in level)
        level = [child for children in inner for child in children if isinstance(child, dict | list)]
    return bool(level)


def dumps(value: Any) -> bytes:
    """Compact JSON in UTF-8, only of characters that SQS carries.

    Raises:
        JsonError: the value holds something that JSON or UTF-8 can't say.
    """
    try:
        data = orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        try:  # integers beyond 64 bits
            data = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
        except (ValueError, TypeError, RecursionError):
            raise JsonError(str(error)) from error
    if _NONCHARACTER_START in data:
        for raw, escaped in _NONCHARACTERS:
            data = data.replace(raw, escaped)
    return data
