import time

from chaski_runtime.process.clock import SystemClock


def test_the_wall_clock_is_in_milliseconds() -> None:
    """Of the epoch."""
    assert abs(SystemClock().now_ms() - time.time() * 1_000) < 1_000


def test_the_monotonic_clock_goes_on() -> None:
    """In seconds."""
    clock = SystemClock()
    before = clock.monotonic()
    time.sleep(0.01)
    assert 0.01 <= clock.monotonic() - before < 10
