"""How often somebody may try a password."""

import pytest

from chaski_console.auth.throttle import FROM_ALL, FROM_ONE, Attempts
from support.clocks import StillClock


def test_a_few_in_a_row_then_one_now_and_then() -> None:
    """And after a pause a few again."""
    clock = StillClock()
    attempts = Attempts(clock.monotonic)
    for _ in range(FROM_ONE.burst):
        assert attempts.wait("10.0.0.1") == 0
        attempts.failed("10.0.0.1")
    assert attempts.wait("10.0.0.1") == FROM_ONE.seconds
    assert attempts.wait("10.0.0.2") == 0
    clock.pass_time(FROM_ONE.seconds)
    assert attempts.wait("10.0.0.1") == 0
    attempts.failed("10.0.0.1")
    assert attempts.wait("10.0.0.1") > 0
    clock.pass_time(FROM_ONE.seconds * FROM_ONE.burst)
    for _ in range(FROM_ONE.burst):
        assert attempts.wait("10.0.0.1") == 0
        attempts.failed("10.0.0.1")


def test_many_addresses_have_no_more_than_all_may() -> None:
    """Who has many addresses still gets but one try a second."""
    clock = StillClock()
    attempts = Attempts(clock.monotonic)
    for number in range(FROM_ALL.burst):
        assert attempts.wait(f"10.0.{number}.1") == 0
        attempts.failed(f"10.0.{number}.1")
    assert attempts.wait("10.1.0.1") == 1


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("10.0.0.1", "10.0.0.2", False),
        ("", "", True),
    ],
)
def test_one_host_may_have_many_addresses(first: str, second: str, *, same: bool) -> None:
    """A whole /64 of IPv6, and one of IPv4."""
    attempts = Attempts(StillClock().monotonic)
    for _ in range(FROM_ONE.burst):
        attempts.failed(first)
    assert (attempts.wait(second) > 0) is same


def test_addresses_that_are_remembered_are_bounded() -> None:
    """The one that was not heard of for longest goes."""
    attempts = Attempts(StillClock().monotonic)
    for number in range(10_050):
        attempts.failed(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(attempts._by_address) == 10_000
