"""Times are written and read without a change, and times that can't be written again are not read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaski_core.timestamps import milliseconds, parse_duration, parse_time, short_time, timestamp

OLDEST, NEWEST = -62_135_596_800_000, 253_402_300_799_999


@given(st.integers(OLDEST, NEWEST))
def test_a_time_survives_being_written_and_read(moment: int) -> None:
    """To the millisecond, in the years 1 to 9999."""
    assert milliseconds(timestamp(moment)) == moment


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (1_795_492_800_123, "2026-11-24T04:00:00.123Z"),
        (OLDEST, "0001-01-01T00:00:00.000Z"),
        (NEWEST, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_times_are_written_in_utc_with_milliseconds(moment: int, text: str) -> None:
    """RFC 3339, with four digits for the year."""
    assert timestamp(moment) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-24T04:00:00Z", 1_795_492_800_000),
        ("2026-11-24t04:00:00z", 1_795_492_800_000),
        ("2026-11-24T05:00:00+01:00", 1_795_492_800_000),
        ("2026-11-24 04:00:00Z", 1_795_492_800_000),
        ("2026-11-24T04:00:00", 1_795_492_800_000),
        ("2026-11-24T04:00:00.1234567Z", 1_795_492_800_123),
        ("2026-11-24T04:00:00.9999Z", 1_795_492_800_999),
        ("2016-12-31T23:59:60Z", None),
        ("yesterday", None),
        ("", None),
        ("1795492800000", None),
        (1_795_492_800_000, None),
        (None, None),
        ({"seconds": 1}, None),
        ("9999-12-31T23:59:59-23:59", None),
        ("0001-01-01T00:00:00+23:59", None),
    ],
)
def test_times_of_other_writers_are_read_leniently(text: object, expected: int | None) -> None:
    """Any offset and precision; None for other texts and for years that can't be written."""
    assert milliseconds(text) == expected


@given(st.text(max_size=40) | st.text("0123456789-:TZW+. ", max_size=30))
def test_no_text_breaks_the_reading_of_times(text: str) -> None:
    """The result is None or a time that can be written, never an exception."""
    value = milliseconds(text)
    assert value is None or milliseconds(timestamp(value)) == value


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
def test_a_time_of_a_person_is_rfc_3339_a_date_or_a_time_ago(text: str, expected: int) -> None:
    """All give epoch milliseconds."""
    assert parse_time(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2x", "-2h", "2h ago"])
def test_another_text_is_not_a_time(text: str) -> None:
    """The error has an example."""
    with pytest.raises(ValueError, match="2026-11-24T10:00:00Z"):
        parse_time(text, NOW)


def test_durations_have_a_unit() -> None:
    """Each unit of `chaski listen --delay`."""
    found = [parse_duration(text) for text in ("300ms", "0s", "1.5s", "2m", "1h")]
    assert found == [0.3, 0.0, 1.5, 120.0, 3600.0]


@pytest.mark.parametrize("text", ["", "2", "s", "-1s", "2 s", "1e3s", "2d", "2s\n"])
def test_a_duration_without_one_is_refused(text: str) -> None:
    """The error lists the forms."""
    with pytest.raises(ValueError, match="300ms, 2s, 1m or 1h"):
        parse_duration(text)


def test_people_see_times_to_the_second_in_utc() -> None:
    """The short form names its zone."""
    assert short_time(NOW + 999) == "2025-11-24 16:00:00Z"
