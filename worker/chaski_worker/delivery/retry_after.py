"""How long a target that is overloaded asks to wait before the next attempt. Pure.

Read from the responses 429 and 503 only, where RFC 9110 §10.2.3 and RFC 6585 §4 define `Retry-After`. Many targets send a rate
limit's reset instead: `RateLimit` (draft-ietf-httpapi-ratelimit-headers, parameter `t`), `RateLimit-Reset` of its earlier
versions, or `X-RateLimit-Reset`, in seconds or as a Unix time.
"""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

_STATUSES = frozenset({429, 503})
_SECONDS = re.compile(r"[0-9]{1,10}(\.[0-9]{1,9})?\Z")
_RESET = re.compile(r";\s*t=([0-9]{1,9})(?![0-9])")
_UNIX_TIME_FROM = 1_000_000_000  # seconds; a wait of 30 years is a time


def retry_after_seconds(status: int, headers: Mapping[str, str], now: float) -> float:
    """The wait in seconds; 0 where the target asks for none, or not readably.

    Args:
        status: of the response.
        headers: of the response, by case-insensitive names.
        now: epoch seconds, for times in headers. The response's own `Date` takes precedence, since both are by one clock.
    """
    if status not in _STATUSES:
        return 0.0
    now = _time(headers.get("Date", "")) or now
    if (value := headers.get("Retry-After", "").strip()) != "":
        return _wait(value, now)
    if found := _RESET.search(headers.get("RateLimit", "")):
        return float(found[1])
    reset = headers.get("RateLimit-Reset") or headers.get("X-RateLimit-Reset") or ""
    return _wait(reset.strip(), now)


def _wait(value: str, now: float) -> float:
    if not _SECONDS.match(value):
        at = _time(value)
        return max(0.0, at - now) if at is not None else 0.0
    seconds = float(value)
    return max(0.0, seconds - now) if seconds >= _UNIX_TIME_FROM else seconds


def _time(value: str) -> float | None:
    """Epoch seconds of an HTTP date (RFC 9110 §5.6.7); None where it is none."""
    try:
        return parsedate_to_datetime(value).timestamp()
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
