"""Queue time over restarts, and when stored data may expire: pure rules."""

from dataclasses import replace

import pytest

from chaski_embedded.broker.queue_time import JUMP_HOLD_MS, START_HOLD_MS, ExpiryHold, QueueTime, Reached
from support.clocks import SteppedClock

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
WALL = 1_800_000_000_000


class SetClock:
    """Two clocks that stand where they are set."""

    def __init__(self, wall: int, monotonic: int) -> None:
        self.wall, self.ticks = wall, monotonic

    def now_ms(self) -> int:
        """Epoch milliseconds."""
        return self.wall

    def monotonic(self) -> float:
        """Seconds."""
        return self.ticks / 1000


REACHED = Reached(queue_time=7 * DAY, wall=WALL, monotonic=5 * HOUR, boot="one", hold_ms=0)


@pytest.mark.parametrize(
    ("boot", "wall", "monotonic", "passed", "hold"),
    [
        pytest.param("one", WALL + MINUTE, 5 * HOUR + MINUTE, MINUTE, START_HOLD_MS, id="same boot"),
        pytest.param("one", WALL + 400 * DAY, 5 * HOUR + MINUTE, MINUTE, JUMP_HOLD_MS, id="same boot, wall set forth"),
        pytest.param("one", WALL - 2 * HOUR, 5 * HOUR + MINUTE, MINUTE, JUMP_HOLD_MS, id="same boot, wall set back"),
        pytest.param("two", WALL + 9 * DAY, 10_000, 9 * DAY, START_HOLD_MS, id="another boot"),
        pytest.param("two", WALL - 9 * DAY, 10_000, 0, JUMP_HOLD_MS, id="another boot, wall set back"),
        pytest.param("", WALL + HOUR, 6 * HOUR, HOUR, START_HOLD_MS, id="no name of the boot"),
        pytest.param("one", WALL + HOUR, 10_000, HOUR, START_HOLD_MS, id="monotonic clock that began anew"),
    ],
)
@pytest.mark.promise(2)
def test_time_goes_on_over_a_restart(boot: str, wall: int, monotonic: int, passed: int, hold: int) -> None:
    """By the monotonic clock where it is the same one, else by the wall clock, and never back."""
    time = QueueTime(SetClock(wall, monotonic), REACHED, boot)
    assert time.now() == REACHED.queue_time + passed
    assert time.expiry.left(time.now()) == hold


def test_a_file_of_an_earlier_release_goes_on_at_the_wall_clock() -> None:
    """It knows queue time only, which was the wall clock's or later."""
    before = Reached(queue_time=WALL)
    assert QueueTime(SetClock(WALL + HOUR, 5), before, "one").now() == WALL + HOUR
    assert QueueTime(SetClock(WALL - HOUR, 5), before, "one").now() == WALL


@pytest.mark.promise(2)
def test_restarts_do_not_shorten_a_hold() -> None:
    """After a jump a day must pass in which a process runs, however often it is started anew, and whatever the wall says."""
    clock = SetClock(WALL, 0)
    reached = Reached(queue_time=WALL)
    time = QueueTime(clock, reached, "boot")
    clock.wall += 400 * DAY
    assert time.expiry.notice(time.now(), clock.wall)
    for run in range(20):
        clock.ticks += HOUR
        clock.wall += HOUR
        reached = time.reached(time.now(), clock.wall)
        assert reached.hold_ms == JUMP_HOLD_MS - (run + 1) * HOUR
        clock.wall += 3 * DAY  # the machine is off
        clock.ticks = 0
        time = QueueTime(clock, reached, f"boot {run}")
    assert time.expiry.left(time.now()) == JUMP_HOLD_MS - 20 * HOUR


@pytest.mark.parametrize("by", [-400 * DAY, -2 * HOUR, -61_000, 61_000, 45 * DAY, 3_650 * DAY])
def test_a_jump_holds_for_a_day(by: int) -> None:
    """Either way, and back again; then data expires as before."""
    now = 10 * DAY
    hold = ExpiryHold(0, now, WALL)
    now += 2 * HOUR
    assert not hold.notice(now, WALL + 2 * HOUR)
    assert hold.left(now) == 0
    assert hold.notice(now, WALL + 2 * HOUR + by)
    assert hold.left(now) == JUMP_HOLD_MS
    now += 25_000
    assert hold.notice(now, WALL + 2 * HOUR + 25_000)
    assert hold.left(now + JUMP_HOLD_MS) == 0


def test_a_clock_that_is_slewed_does_not_jump() -> None:
    """NTP at its full rate for weeks: 500 millionths."""
    hold = ExpiryHold(0, 0, WALL)
    for minute in range(30 * 24 * 60):
        now = minute * MINUTE
        assert not hold.notice(now, WALL + now + now // 2_000)


def test_many_small_steps_are_a_jump() -> None:
    """Half a minute again and again is noticed before it is two."""
    hold, now = ExpiryHold(0, 0, WALL), 2 * HOUR
    assert [hold.notice(now + step, WALL + now + step * 30_002) for step in range(4)] == [False, False, True, False]


def test_reached_is_what_the_next_start_takes() -> None:
    """Written and read again at once, nothing changes."""
    clock = SteppedClock()
    time = QueueTime(clock, Reached(queue_time=clock.now_ms()), "boot")
    now, wall = time.now(), clock.now_ms()
    reached = time.reached(now, wall)
    assert abs(QueueTime(clock, reached, "boot").now() - now) < 5_000
    assert replace(reached, hold_ms=0) == Reached(now, wall, reached.monotonic, "boot", 0)
