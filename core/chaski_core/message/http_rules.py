"""The methods and headers that a message may use: checked at ingest, and again at the worker.

The content of a queue is not trusted, so both check by the same lists. Header syntax: RFC 9110 §5.1 and §5.5, in visible
ASCII only. Which headers are refused, and why: `refused_headers.py`.
"""

import functools
import re
from collections.abc import Iterable

from chaski_core.errors import FieldError
from chaski_core.message.refused_headers import refusal_reason

METHODS = frozenset({"DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"})
MAX_HEADERS = 64
_REMEMBERED_CHARACTERS = 64  # longer names are checked each time
MAX_HEADER_BYTES = 8_192  # sum of names and values

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")


def method_errors(method: str) -> list[FieldError]:
    """The errors of a method; case does not matter."""
    if method.upper() in METHODS and method.isascii():
        return []
    return [FieldError("body.method", f'"{_escaped(method)}" is not one of {", ".join(sorted(METHODS))}')]


def header_errors(headers: Iterable[tuple[str, str]]) -> list[FieldError]:
    """All errors of the headers of a producer. No error repeats a value."""
    given = list(headers)
    errors: list[FieldError] = []
    size = 0
    for name, value in given:
        size += len(name) + len(value)
        if not (len(name) <= _REMEMBERED_CHARACTERS and _may_be_set(name) and _is_value(value)):
            errors += _errors_of(name, value)
    if len(given) > MAX_HEADERS:
        errors.append(FieldError("body.headers", f"{len(given)} headers are more than {MAX_HEADERS}"))
    if size > MAX_HEADER_BYTES:
        errors.append(FieldError("body.headers", f"{size} characters are more than {MAX_HEADER_BYTES}"))
    return errors


def syntax_errors(headers: Iterable[tuple[str, str]]) -> list[FieldError]:
    """Faults of the syntax of any headers."""
    return [
        error
        for name, value in headers
        if not (len(name) <= _REMEMBERED_CHARACTERS and _is_token(name) and _is_value(value))
        for error in _syntax_errors_of(name, value)
    ]


def _is_value(value: str) -> bool:
    # Without a tab, as nearly all values are, it is a text of printable ASCII, which takes a third of the time to find out.
    return (value.isascii() and value.isprintable()) or _VALUE.fullmatch(value) is not None


@functools.lru_cache(1_024)  # nearly all requests have the same few names
def _is_token(name: str) -> bool:
    return _TOKEN.fullmatch(name) is not None


@functools.lru_cache(1_024)
def _may_be_set(name: str) -> bool:
    return _is_token(name) and refusal_reason(name) is None


def _errors_of(name: str, value: str) -> list[FieldError]:
    errors = _syntax_errors_of(name, value)
    why = refusal_reason(name)
    if why is not None:
        errors.append(FieldError(f"body.headers.{name}", f"can't be set: {why}"))
    return errors


def _syntax_errors_of(name: str, value: str) -> list[FieldError]:
    errors = []
    if not _TOKEN.fullmatch(name):
        errors.append(
            FieldError("body.headers", f'"{_escaped(name)}" is not a header name (RFC 9110: letters, digits, hyphens)')
        )
    if not _VALUE.fullmatch(value):
        message = "contains a character that a header can't carry (visible ASCII, space and tab are allowed)"
        errors.append(FieldError(f"body.headers.{_escaped(name)}", message))
    return errors


def _escaped(text: str) -> str:
    return text[:80].encode("ascii", "backslashreplace").decode().translate(_ESCAPES)


_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), 127)}
