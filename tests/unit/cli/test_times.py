"""Times on the command line."""

import pytest

from chaski_cli.times import parse_time, short_time

NOW = 1_764_000_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("90s", NOW - 90_000, id="seconds ago"),
        pytest.param("15m", NOW - 900_000, id="minutes ago"),
        pytest.param("2h", NOW - 7_200_000, id="hours ago"),
        pytest.param("7d", NOW - 604_800_000, id="days ago"),
        pytest.param("1w", NOW - 604_800_000, id="weeks ago"),
        pytest.param("2025-11-24T16:00:00Z", NOW, id="RFC 3339"),
        pytest.param("2025-11-24T17:00:00+01:00", NOW, id="RFC 3339 with an offset"),
        pytest.param("2025-11-24", NOW - 57_600_000, id="a date is its first moment in UTC"),
    ],
)
def test_a_time_is_a_moment_or_so_long_ago(text: str, expected: int) -> None:
    """Both ways to write a time give epoch milliseconds."""
    assert parse_time(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2x", "-2h", "2h ago"])
def test_what_is_no_time_is_refused_with_an_example(text: str) -> None:
    """The error shows what could be written instead."""
    with pytest.raises(ValueError, match="2026-11-24T10:00:00Z"):
        parse_time(text, NOW)


def test_tables_show_times_to_the_second_in_utc() -> None:
    """The short form names its zone."""
    assert short_time(NOW + 999) == "2025-11-24 16:00:00Z"
