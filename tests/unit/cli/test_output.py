"""Times on the command line and in tables, and escaped text."""

import pytest

from chaski_cli.output import printable, short_time
from chaski_core.timestamps import parse_time

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
def test_a_time_is_a_moment_or_an_age(text: str, expected: int) -> None:
    """Both forms give epoch milliseconds."""
    assert parse_time(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2x", "-2h", "2h ago"])
def test_an_invalid_time_is_refused_with_an_example(text: str) -> None:
    """The error shows a valid form."""
    with pytest.raises(ValueError, match="2026-11-24T10:00:00Z"):
        parse_time(text, NOW)


def test_tables_show_times_to_the_second_in_utc() -> None:
    """The short form names its zone."""
    assert short_time(NOW + 999) == "2025-11-24 16:00:00Z"


def test_control_characters_are_escaped_and_others_kept() -> None:
    """Only characters that a terminal would act on are changed."""
    assert printable("é 🦙 \x1b[1m\n\u202e") == "é 🦙 \\x1b[1m\\n\\u202e"
