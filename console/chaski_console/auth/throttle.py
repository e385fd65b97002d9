"""Limits failed logins by token buckets: one for each client address, and one for all addresses together.

Buckets are for addresses, not for names: otherwise anyone who knows a name could lock its user out.
"""

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_MAX_ADDRESSES = 10_000


@dataclass(frozen=True, slots=True)
class Allowance:
    """`burst` failures in a row, then one every `seconds`."""

    burst: int
    seconds: float


PER_ADDRESS = Allowance(5, 10.0)
OVERALL = Allowance(100, 1.0)


class LoginThrottle:
    """Counts failed logins."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._overall = _Bucket(OVERALL, monotonic())
        self._by_address: OrderedDict[str, _Bucket] = OrderedDict()

    def wait_seconds(self, address: str) -> int:
        """Whole seconds until the address may try again; 0: now."""
        now = self._monotonic()
        bucket = self._by_address.get(_network(address))
        return max(self._overall.wait_seconds(now), bucket.wait_seconds(now) if bucket else 0)

    def record_failure(self, address: str) -> None:
        """Counts a failed login from the address."""
        now, network = self._monotonic(), _network(address)
        bucket = self._by_address.setdefault(network, _Bucket(PER_ADDRESS, now))
        self._by_address.move_to_end(network)
        if len(self._by_address) > _MAX_ADDRESSES:
            self._by_address.popitem(last=False)
        bucket.take(now)
        self._overall.take(now)


class _Bucket:
    def __init__(self, allowance: Allowance, now: float) -> None:
        self._allowance = allowance
        self._level = float(allowance.burst)
        self._updated_at = now

    def wait_seconds(self, now: float) -> int:
        self._refill(now)
        return 0 if self._level >= 1 else max(1, math.ceil((1 - self._level) * self._allowance.seconds))

    def take(self, now: float) -> None:
        self._refill(now)
        self._level = max(0.0, self._level - 1)

    def _refill(self, now: float) -> None:
        gained = (now - self._updated_at) / self._allowance.seconds
        self._level = min(float(self._allowance.burst), self._level + gained)
        self._updated_at = now


def _network(address: str) -> str:
    """The key of an address: for IPv6 its /64, which one host may own as a whole."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address) or parsed.ipv4_mapped is not None:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False))
