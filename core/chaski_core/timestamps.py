"""Points in time on the wire: RFC 3339 in UTC with milliseconds; epoch milliseconds inside."""

from datetime import UTC, datetime
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OLDEST = -62_135_596_800_000  # 0001-01-01T00:00:00.000Z; what lies outside these two can't be written again
_NEWEST = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z


@lru_cache(256)  # under load many messages share a millisecond, and this takes 2 µs
def timestamp(milliseconds: int) -> str:
    """RFC 3339 in UTC with milliseconds. Raises ValueError outside the years 1 to 9999."""
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC).replace(tzinfo=None)
    return f"{moment.isoformat()}.{milliseconds % 1000:03d}Z"


def milliseconds(text: object) -> int | None:
    """Epoch milliseconds of an RFC 3339 text, or None where it is none that `timestamp` could write again."""
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
