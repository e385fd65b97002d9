"""The time by AWS's responses: the decision as a function, and the clock of a process."""

import logging
import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaski_runtime.process.corrected_clock import Anchor, CorrectedClock, Sample, date_ms, learn, time_at
from support.clocks import SteppedClock

NOW = 1_800_000_000_000
DAY = 86_400
OFF = [-7_200, 305, -305, 20 * DAY, 400 * DAY, -400 * DAY]


def sample(off_ms: float = 0, at: float = 0.0, round_trip_ms: float = 20, *, decisive: bool = False) -> Sample:
    """A response at `at` monotonic seconds, with a wall clock that is wrong by `off_ms`."""
    true_ms = NOW + at * 1000
    dated = int((true_ms - round_trip_ms / 2) // 1000 * 1000)
    return Sample(dated, round_trip_ms, round(true_ms + off_ms), at, decisive)


@pytest.mark.promise(10)
@given(
    off_ms=st.one_of(st.integers(-5_000_000_000, -12_000), st.integers(12_000, 50_000_000_000)),
    round_trip_ms=st.floats(0, 2_000),
    later=st.floats(0, 86_400),
)
def test_wrong_clock_is_corrected_from_the_first_response(off_ms: int, round_trip_ms: float, later: float) -> None:
    """To a second and half a round trip; it stays corrected without another response."""
    anchor = learn(None, sample(off_ms, 7.3, round_trip_ms))
    shown = time_at(anchor, round(NOW + (7.3 + later) * 1000 + off_ms), 7.3 + later)
    assert abs(shown - (NOW + (7.3 + later) * 1000)) <= 1_002 + round_trip_ms


@given(off_ms=st.integers(-4_000, 3_000), round_trip_ms=st.floats(0, 2_000))
def test_right_clock_is_used_as_it_is(off_ms: int, round_trip_ms: float) -> None:
    """It is finer than a `Date` of whole seconds."""
    anchor = learn(None, sample(off_ms, 1.0, round_trip_ms))
    assert time_at(anchor, NOW + 9_000 + off_ms, 9.0) == NOW + 9_000 + off_ms


@pytest.mark.promise(10)
@pytest.mark.parametrize("off", OFF)
def test_jump_of_the_wall_clock_is_noticed_without_a_response(off: int) -> None:
    """By the monotonic clock, until AWS responds."""
    anchor = learn(None, sample())
    assert time_at(anchor, NOW + 60_000 + off * 1000, 60.0) == NOW + 60_000
    assert time_at(anchor, NOW + 61_000, 61.0) == NOW + 61_000  # and back


def test_corrected_wall_clock_is_trusted_after_two_responses() -> None:
    """NTP has set it, and the monotonic clock has lost time while the machine was suspended."""
    behind = Anchor(NOW - 600_000, 0.0, corrected=True)
    once = learn(behind, sample(0, 1.0))
    assert time_at(once, NOW + 1_000, 1.0) == NOW - 599_000
    twice = learn(once, sample(0, 2.0))
    assert time_at(twice, NOW + 2_000, 2.0) == NOW + 2_000


def test_one_contradicting_date_changes_nothing() -> None:
    """A cache or a proxy may respond with an old one."""
    anchor = learn(None, sample())
    odd = Sample(NOW - 3_600_000, 20, NOW + 1_000, 1.0)
    assert time_at(learn(anchor, odd), NOW + 1_500, 1.5) == NOW + 1_500
    assert time_at(learn(learn(learn(anchor, odd), sample(0, 2.0)), odd), NOW + 3_000, 3.0) == NOW + 3_000


def test_refusal_corrects_the_clock_at_once() -> None:
    """AWS refused a request for its time."""
    anchor = learn(learn(None, sample()), Sample(NOW - 3_600_000, 20, NOW + 1_000, 1.0, decisive=True))
    assert abs(time_at(anchor, NOW + 1_500, 1.5) - (NOW - 3_600_000 + 1_000)) <= 1_010


def test_long_poll_only_bounds_the_time() -> None:
    """Its date is of a moment within 20 seconds."""
    corrected = learn(None, sample(8_000))
    kept = learn(corrected, sample(8_000, 20.0, 20_000))
    assert abs(time_at(kept, NOW + 28_000, 20.0) - (NOW + 20_000)) <= 1_020
    anchor = learn(None, sample())
    polled = learn(learn(anchor, sample(0, 20.0, 20_000)), sample(0, 40.0, 20_000))
    assert polled == anchor


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777_000),
        ("Sun, 06 Nov 1994 08:49:37", 784_111_777_000),
        ("", None),
        ("yesterday", None),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
    ],
)
def test_date_header(header: str, expected: int | None) -> None:
    """An invalid date is None."""
    assert date_ms(header) == expected


@pytest.mark.promise(10)
@pytest.mark.parametrize("off", OFF)
def test_clock_follows_aws_and_logs_each_episode_once(off: int, caplog: pytest.LogCaptureFixture) -> None:
    """A start with a wrong clock, NTP that corrects it, and another jump."""
    caplog.set_level(logging.INFO, "chaski_runtime.process.corrected_clock")
    machine = SteppedClock()
    machine.set_wall(off)
    clock = CorrectedClock(machine)
    assert clock.offset_seconds() is None

    def answer() -> None:
        machine.pass_time(1.1)
        true_ms = machine.now_ms() - wrong_by * 1000
        clock.observe(formatdate(true_ms // 1000, usegmt=True), clock.monotonic())

    def is_right() -> bool:
        return abs(clock.now_ms() - (machine.now_ms() - wrong_by * 1000)) <= 1_500

    wrong_by = off
    answer()
    assert is_right()
    offset = clock.offset_seconds()
    assert offset is not None
    assert abs(offset + off) <= 1.5
    machine.set_wall(-off)  # NTP
    wrong_by = 0
    assert clock.offset_seconds() == 0
    answer()
    machine.set_wall(off)
    wrong_by = off
    assert is_right()
    answer()
    assert is_right()
    texts = [record.getMessage() for record in caplog.records]
    side = "behind" if off < 0 else "ahead of"
    assert [f"s {side} AWS's" in texts[0], "agrees" in texts[1], f"s {side} AWS's" in texts[2]] == [True] * 3
    assert len(texts) == 3


def test_reading_the_time_is_cheap() -> None:
    """Every message reads it."""
    clock = CorrectedClock(SteppedClock())
    clock.observe(formatdate(time.time(), usegmt=True), clock.monotonic())
    started = time.perf_counter()
    for _ in range(10_000):
        clock.now_ms()
    assert time.perf_counter() - started < 0.5
