"""The methods and headers that a message may use: checked at ingest, and again at the worker.

The content of a queue is not trusted, so both check by the same lists. Header syntax: RFC 9110 §5.1 and §5.5, in visible
ASCII only. Refused are headers by which a producer could change the destination, the end or the apparent sender of a
request (RFC 9110 §7.6.1; the headers of cloud metadata services), and those that Chaski writes itself.
"""

import functools
import re
from collections.abc import Iterable, Mapping

from chaski_core.errors import FieldError

METHODS = frozenset({"DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"})
MAX_HEADERS = 64
_REMEMBERED_CHARACTERS = 64  # longer names are checked each time
MAX_HEADER_BYTES = 8_192  # sum of names and values

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")

_TARGET = "it sets the destination of the request, which the URL does"
_FRAMING = "it sets the end of the request, which the content does"
_HOP = "it is hop-by-hop, not for the target"
_ORIGIN = "it names the sender, which only a proxy may"
_METADATA = "it gives access to cloud metadata services"
_OWN = "Chaski writes it itself"
_FORBIDDEN: Mapping[str, str] = {
    "host": _TARGET,
    "content-length": _FRAMING,
    "transfer-encoding": _FRAMING,
    "trailer": _FRAMING,
    "expect": _FRAMING,
    "te": _HOP,
    "connection": _HOP,
    "keep-alive": _HOP,
    "upgrade": _HOP,
    "http2-settings": _HOP,
    "forwarded": _ORIGIN,
    "via": _ORIGIN,
    "x-real-ip": _ORIGIN,
    "metadata": _METADATA,
    "metadata-flavor": _METADATA,
    "accept-encoding": _OWN,
    "cookie": "requests have no session",
}
_FORBIDDEN_PREFIXES: Mapping[str, str] = {
    "proxy-": _HOP,
    "x-forwarded-": _ORIGIN,
    "x-aws-ec2-metadata-token": _METADATA,
    "webhook-": _OWN,
    "chaski-": _OWN,
}
_SUSPECTS = re.compile("|".join(re.escape(start) for start in _FORBIDDEN_PREFIXES))


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
    return _is_token(name) and _forbidden(name) is None


def _forbidden(name: str) -> str | None:
    """Why a producer may not set a header; None if it may."""
    lowered = name.lower()
    why = _FORBIDDEN.get(lowered)
    if why is None and (start := _SUSPECTS.match(lowered)):
        why = _FORBIDDEN_PREFIXES[start.group()]
    return why


def _errors_of(name: str, value: str) -> list[FieldError]:
    errors = _syntax_errors_of(name, value)
    why = _forbidden(name)
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
