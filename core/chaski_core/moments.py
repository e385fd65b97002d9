"""Points in time as people write them."""

import re

from chaski_core.timestamps import milliseconds

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGO = re.compile(r"(\d{1,9})([smhdw])\Z")


def parse_time(text: str, now_ms: int) -> int:
    """Epoch milliseconds of a point in time: RFC 3339 (`2026-11-24T10:00:00Z`), a date (UTC), or so long ago (`2h`).

    Raises:
        ValueError: it is neither; the sentence says what would be.
    """
    ago = _AGO.match(text)
    if ago:
        return now_ms - int(ago.group(1)) * _SECONDS[ago.group(2)] * 1000
    moment = milliseconds(text)
    if moment is None:
        raise ValueError(
            f'"{text}" is no time: write RFC 3339, such as 2026-11-24T10:00:00Z, '
            "or how long ago, such as 90s, 15m, 2h, 7d, 1w"
        )
    return moment
