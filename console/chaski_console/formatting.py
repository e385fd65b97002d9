"""Numbers and times for people."""

UNKNOWN = "\u2013"
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def ago(epoch_ms: int, now_ms: int) -> str:
    """`3 min ago`."""
    return f"{duration(max(0, now_ms - epoch_ms) / 1000)} ago"


def duration(seconds: float | None) -> str:
    """`45 s`, `3 min`, `2 d`: a single unit, rounded."""
    if seconds is None:
        return UNKNOWN
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return "0 s" if seconds == 0 else "<1 s"


def count(number: float | None) -> str:
    """`12,345`."""
    return UNKNOWN if number is None else f"{number:,.0f}"


def rate(per_second: float | None) -> str:
    """`12.3`, `0.4`, `1,234`."""
    if per_second is None:
        return UNKNOWN
    return f"{per_second:,.0f}" if per_second >= 100 or per_second == 0 else f"{per_second:.1f}"


def percentage(share: float | None) -> str:
    """`12 %` of a share from 0 to 1."""
    if share is None:
        return UNKNOWN
    return f"{share * 100:.1f} %" if 0 < share < 0.1 else f"{share * 100:.0f} %"
