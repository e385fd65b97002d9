"""Points in time: epoch milliseconds inside, RFC 3339 in UTC with milliseconds on the wire, and forms that people write."""

import re
from datetime import UTC, datetime
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OLDEST = -62_135_596_800_000  # 0001-01-01T00:00:00.000Z; times outside these two can't be written again
_NEWEST = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h)\Z")
_AGO = re.compile(r"(\d{1,9})([smhdw])\Z")


def timestamp(milliseconds: int) -> str:
    """RFC 3339 in UTC with milliseconds. Raises ValueError outside the years 1 to 9999."""
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


@lru_cache(256)  # under load many messages share a second, and this takes 2 µs
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()


def short_time(milliseconds: int) -> str:
    """Epoch milliseconds as `2026-11-24 10:00:00Z`, for people."""
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M:%S}Z"


def milliseconds(text: object) -> int | None:
    """Epoch milliseconds of an RFC 3339 text; None for anything that `timestamp` could not write again."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text.upper())  # RFC 3339 §5.6 allows `t` and `z`
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - _EPOCH
    value = since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000
    return value if _OLDEST <= value <= _NEWEST else None


def parse_duration(text: str) -> float:
    """Seconds of a duration such as `300ms`, `1.5s`, `2m` or `1h`.

    Raises:
        ValueError: the text has another form.
    """
    match = _DURATION.match(text)
    if match is None:
        raise ValueError(f'"{text}" is not a duration: write a number with its unit, such as 300ms, 2s, 1m or 1h')
    number, unit = match.groups()
    return float(number) / 1000 if unit == "ms" else float(number) * _SECONDS[unit]


def parse_time(text: str, now_ms: int) -> int:
    """Epoch milliseconds of RFC 3339 (`2026-11-24T10:00:00Z`), a date (UTC), or a time ago (`2h`).

    Raises:
        ValueError: the text has none of these forms; the message lists them.
    """
    ago = _AGO.match(text)
    if ago:
        return now_ms - int(ago.group(1)) * _SECONDS[ago.group(2)] * 1000
    moment = milliseconds(text)
    if moment is None:
        raise ValueError(
            f'"{text}" is not a time: write RFC 3339, such as 2026-11-24T10:00:00Z, '
            "or how long ago, such as 90s, 15m, 2h, 7d, 1w"
        )
    return moment
