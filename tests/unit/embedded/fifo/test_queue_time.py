"""Queue time over restarts, and when stored data may expire: pure rules."""

from dataclasses import replace

import pytest

from chaski_embedded.fifo.queue_time import JUMP_PAUSE_MS, START_PAUSE_MS, ClockState, ExpiryPause, QueueTime
from support.clocks import SteppedClock

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
WALL = 1_800_000_000_000


class SetClock:
    """Two clocks that a test sets."""

    def __init__(self, wall: int, monotonic: int) -> None:
        self.wall, self.ticks = wall, monotonic

    def now_ms(self) -> int:
        """Epoch milliseconds."""
        return self.wall

    def monotonic(self) -> float:
        """Seconds."""
        return self.ticks / 1000


LAST = ClockState(queue_time=7 * DAY, wall=WALL, monotonic=5 * HOUR, boot="one", pause_ms=0)


@pytest.mark.parametrize(
    ("boot", "wall", "monotonic", "passed", "pause"),
    [
        pytest.param("one", WALL + MINUTE, 5 * HOUR + MINUTE, MINUTE, START_PAUSE_MS, id="same boot"),
        pytest.param("one", WALL + 400 * DAY, 5 * HOUR + MINUTE, MINUTE, JUMP_PAUSE_MS, id="same boot, wall set forth"),
        pytest.param("one", WALL - 2 * HOUR, 5 * HOUR + MINUTE, MINUTE, JUMP_PAUSE_MS, id="same boot, wall set back"),
        pytest.param("two", WALL + 9 * DAY, 10_000, 9 * DAY, START_PAUSE_MS, id="another boot"),
        pytest.param("two", WALL - 9 * DAY, 10_000, 0, JUMP_PAUSE_MS, id="another boot, wall set back"),
        pytest.param("", WALL + HOUR, 6 * HOUR, HOUR, START_PAUSE_MS, id="unknown boot"),
        pytest.param("one", WALL + HOUR, 10_000, HOUR, START_PAUSE_MS, id="monotonic clock that restarted"),
    ],
)
@pytest.mark.promise(2)
def test_queue_time_advances_over_a_restart(boot: str, wall: int, monotonic: int, passed: int, pause: int) -> None:
    """By the monotonic clock within one boot, else by the wall clock, and never back."""
    time = QueueTime(SetClock(wall, monotonic), LAST, boot)
    assert time.now() == LAST.queue_time + passed
    assert time.expiry.remaining(time.now()) == pause


def test_a_file_of_an_earlier_release_continues_at_the_wall_clock() -> None:
    """It stores queue time only, which was the wall clock's or later."""
    before = ClockState(queue_time=WALL)
    assert QueueTime(SetClock(WALL + HOUR, 5), before, "one").now() == WALL + HOUR
    assert QueueTime(SetClock(WALL - HOUR, 5), before, "one").now() == WALL


@pytest.mark.promise(2)
def test_restarts_do_not_shorten_a_pause() -> None:
    """A day after a jump is counted in time in which a process runs, over any restarts and wall clock changes."""
    clock = SetClock(WALL, 0)
    state = ClockState(queue_time=WALL)
    time = QueueTime(clock, state, "boot")
    clock.wall += 400 * DAY
    assert time.expiry.detect_jump(time.now(), clock.wall)
    for run in range(20):
        clock.ticks += HOUR
        clock.wall += HOUR
        state = time.clock_state(time.now(), clock.wall)
        assert state.pause_ms == JUMP_PAUSE_MS - (run + 1) * HOUR
        clock.wall += 3 * DAY  # the machine is off
        clock.ticks = 0
        time = QueueTime(clock, state, f"boot {run}")
    assert time.expiry.remaining(time.now()) == JUMP_PAUSE_MS - 20 * HOUR


@pytest.mark.parametrize("by", [-400 * DAY, -2 * HOUR, -61_000, 61_000, 45 * DAY, 3_650 * DAY])
def test_a_jump_pauses_expiry_for_a_day(by: int) -> None:
    """In either direction, and back; then data expires as before."""
    now = 10 * DAY
    pause = ExpiryPause(0, now, WALL)
    now += 2 * HOUR
    assert not pause.detect_jump(now, WALL + 2 * HOUR)
    assert pause.remaining(now) == 0
    assert pause.detect_jump(now, WALL + 2 * HOUR + by)
    assert pause.remaining(now) == JUMP_PAUSE_MS
    now += 25_000
    assert pause.detect_jump(now, WALL + 2 * HOUR + 25_000)
    assert pause.remaining(now + JUMP_PAUSE_MS) == 0


def test_a_slewed_clock_does_not_jump() -> None:
    """NTP at its full rate for weeks: 500 millionths."""
    pause = ExpiryPause(0, 0, WALL)
    for minute in range(30 * 24 * 60):
        now = minute * MINUTE
        assert not pause.detect_jump(now, WALL + now + now // 2_000)


def test_many_small_steps_are_a_jump() -> None:
    """Repeated steps of half a minute are detected before they sum up to two minutes."""
    pause, now = ExpiryPause(0, 0, WALL), 2 * HOUR
    assert [pause.detect_jump(now + step, WALL + now + step * 30_002) for step in range(4)] == [
        False,
        False,
        True,
        False,
    ]


def test_the_clock_state_is_read_by_the_next_start() -> None:
    """Written and read at once, nothing changes."""
    clock = SteppedClock()
    time = QueueTime(clock, ClockState(queue_time=clock.now_ms()), "boot")
    now, wall = time.now(), clock.now_ms()
    state = time.clock_state(now, wall)
    assert abs(QueueTime(clock, state, "boot").now() - now) < 5_000
    assert replace(state, pause_ms=0) == ClockState(now, wall, state.monotonic, "boot", 0)
