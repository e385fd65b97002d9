"""Throttling of failed logins."""

import pytest

from chaski_console.auth.throttle import OVERALL, PER_ADDRESS, LoginThrottle
from support.clocks import StillClock


def test_an_address_may_fail_a_few_times_in_a_row() -> None:
    """Then once per interval, and after a pause a few times again."""
    clock = StillClock()
    throttle = LoginThrottle(clock.monotonic)
    for _ in range(PER_ADDRESS.burst):
        assert throttle.wait_seconds("10.0.0.1") == 0
        throttle.record_failure("10.0.0.1")
    assert throttle.wait_seconds("10.0.0.1") == PER_ADDRESS.seconds
    assert throttle.wait_seconds("10.0.0.2") == 0
    clock.pass_time(PER_ADDRESS.seconds)
    assert throttle.wait_seconds("10.0.0.1") == 0
    throttle.record_failure("10.0.0.1")
    assert throttle.wait_seconds("10.0.0.1") > 0
    clock.pass_time(PER_ADDRESS.seconds * PER_ADDRESS.burst)
    for _ in range(PER_ADDRESS.burst):
        assert throttle.wait_seconds("10.0.0.1") == 0
        throttle.record_failure("10.0.0.1")


def test_all_addresses_share_a_limit() -> None:
    """So an attacker with many addresses gets one try a second."""
    clock = StillClock()
    throttle = LoginThrottle(clock.monotonic)
    for number in range(OVERALL.burst):
        assert throttle.wait_seconds(f"10.0.{number}.1") == 0
        throttle.record_failure(f"10.0.{number}.1")
    assert throttle.wait_seconds("10.1.0.1") == 1


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
def test_addresses_of_one_network_share_a_limit(first: str, second: str, *, same: bool) -> None:
    """A /64 of IPv6, and a single address of IPv4."""
    throttle = LoginThrottle(StillClock().monotonic)
    for _ in range(PER_ADDRESS.burst):
        throttle.record_failure(first)
    assert (throttle.wait_seconds(second) > 0) is same


def test_memory_of_addresses_is_bounded() -> None:
    """The address with the oldest failure is forgotten."""
    throttle = LoginThrottle(StillClock().monotonic)
    for number in range(10_050):
        throttle.record_failure(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(throttle._by_address) == 10_000
