"""The token bucket."""

import math

import pytest

from chaski_core.retry.token_bucket import TokenBucket


class Bucket:
    """A bucket of 5 that gains 5 a second, and a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.bucket = TokenBucket(5, 5, lambda: self.now)


def test_its_size_can_be_taken_at_once_and_then_its_rate() -> None:
    """A refused take costs nothing, and says when to try again."""
    parts = Bucket()
    assert [parts.bucket.take(1) for _ in range(6)] == [0, 0, 0, 0, 0, pytest.approx(0.2)]
    parts.now += 0.2
    assert [parts.bucket.take(1), parts.bucket.take(1)] == [0, pytest.approx(0.2)]
    parts.now += 100
    assert [parts.bucket.take(1) for _ in range(6)] == [0, 0, 0, 0, 0, pytest.approx(0.2)]


def test_a_debit_may_go_into_debt() -> None:
    """Nothing can be taken until it is paid."""
    parts = Bucket()
    parts.bucket.debit(10)
    assert parts.bucket.wait_seconds(1) == pytest.approx(1.2)
    parts.now += 1.1
    assert parts.bucket.take(1) == pytest.approx(0.1)
    parts.now += 0.15
    assert parts.bucket.take(1) == 0


def test_a_change_of_size_and_rate_keeps_what_fits_and_a_debt() -> None:
    """What was gained until then counts at the old rate."""
    parts = Bucket()
    parts.bucket.debit(10)
    parts.now += 0.4
    parts.bucket.change(2, 1)
    assert parts.bucket.wait_seconds(0) == pytest.approx(3.0)
    parts.now += 100
    assert [parts.bucket.take(1) for _ in range(3)] == [0, 0, pytest.approx(1.0)]
    parts.bucket.change(5, 5)
    assert parts.bucket.take(1) == pytest.approx(0.2)


def test_drain_takes_what_is_left() -> None:
    """But neither makes a debt nor forgives one."""
    parts = Bucket()
    parts.bucket.drain(4.5)
    parts.bucket.drain(1)
    assert parts.bucket.wait_seconds(1) == pytest.approx(0.2)
    parts.bucket.debit(2)
    parts.bucket.drain(1)
    assert parts.bucket.wait_seconds(1) == pytest.approx(0.6)


def test_without_a_rate_only_gifts_refill_it() -> None:
    """Up to its size."""
    bucket = TokenBucket(2)
    assert [bucket.take(1) for _ in range(3)] == [0, 0, math.inf]
    bucket.give(0.5)
    assert bucket.take(1) == math.inf
    bucket.give(100)
    assert [bucket.take(1) for _ in range(3)] == [0, 0, math.inf]
