"""Points in time on a command line."""

from datetime import UTC, datetime

from chaski_core.moments import parse_time

__all__ = ["parse_time", "short_time"]


def short_time(moment_ms: int) -> str:
    """`2026-11-24 10:00:00Z`, for tables."""
    return f"{datetime.fromtimestamp(moment_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}Z"
