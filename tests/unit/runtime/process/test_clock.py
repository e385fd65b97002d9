"""The clock of the machine, and random bytes from a reserve."""

import itertools
import time

from chaski_runtime.process.clock import RandomBytes, SystemClock


def test_the_wall_clock_is_in_epoch_milliseconds() -> None:
    """As `time.time` in seconds."""
    assert abs(SystemClock().now_ms() - time.time() * 1_000) < 1_000


def test_the_monotonic_clock_advances() -> None:
    """In seconds."""
    clock = SystemClock()
    before = clock.monotonic()
    time.sleep(0.01)
    assert 0.01 <= clock.monotonic() - before < 10


def test_no_random_byte_is_returned_twice() -> None:
    """Also where the reserve ends between two calls; every result has its full length."""
    reads: list[int] = []
    numbers = itertools.count()

    def read(number: int) -> bytes:
        reads.append(number)
        return b"".join(next(numbers).to_bytes(2) for _ in range(number // 2))

    random_bytes = RandomBytes(read)
    results = [random_bytes(10) for _ in range(1_000)]
    assert {len(each) for each in results} == {10}
    pairs = [each[at : at + 2] for each in results for at in range(0, 10, 2)]
    assert len(set(pairs)) == len(pairs) == 5_000
    assert set(reads) == {4_096}
    assert len(reads) == 3


def test_random_bytes_come_from_the_systems_generator() -> None:
    """Two reserves differ."""
    assert RandomBytes()(64) != RandomBytes()(64)
