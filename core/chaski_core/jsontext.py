"""JSON that comes out as it went in, in bytes that SQS takes.

orjson is fast, but it turns integers beyond 64 bits into floats; for those the standard library's parser, which keeps
them exact, is used. SQS takes only #x9 #xA #xD #x20-#xD7FF #xE000-#xFFFD #x10000-#x10FFFF
(https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html), so U+FFFE and U+FFFF are
written as escapes; orjson escapes the control characters, and refuses lone surrogates.
"""

import json
import re
from typing import Any

import orjson

_LONG_INTEGER = re.compile(rb"\d{19}")
_NONCHARACTERS = ((b"\xef\xbf\xbe", b"\\ufffe"), (b"\xef\xbf\xbf", b"\\uffff"))


class JsonError(ValueError):
    """The bytes are no JSON text that can be carried."""


def loads(data: bytes) -> Any:
    """The value of a JSON text in UTF-8.

    Raises:
        JsonError: with what is wrong and where.
    """
    try:
        if _LONG_INTEGER.search(data):
            return _loads_exactly(data)
        return orjson.loads(data)
    except (ValueError, RecursionError) as error:
        raise JsonError(str(error)) from error


def _loads_exactly(data: bytes) -> Any:
    orjson.loads(data)  # the stricter of the two judges the grammar: no NaN, no lone surrogates
    return json.loads(data)


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
    for raw, escaped in _NONCHARACTERS:
        if raw in data:
            data = data.replace(raw, escaped)
    return data
