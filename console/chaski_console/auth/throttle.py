"""Limits failed logins by token buckets: one for each client address, and one for all addresses together.

Buckets are for addresses, not for names: otherwise anyone who knows a name could lock its user out.
"""

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from chaski_core.retry.token_bucket import TokenBucket

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
        self._overall = _bucket(OVERALL, monotonic)
        self._by_address: OrderedDict[str, TokenBucket] = OrderedDict()

    def wait_seconds(self, address: str) -> int:
        """Whole seconds until the address may try again; 0: now."""
        bucket = self._by_address.get(_network(address))
        return math.ceil(max(self._overall.wait_seconds(1), bucket.wait_seconds(1) if bucket else 0.0))

    def record_failure(self, address: str) -> None:
        """Counts a failed login from the address."""
        network = _network(address)
        bucket = self._by_address.setdefault(network, _bucket(PER_ADDRESS, self._monotonic))
        self._by_address.move_to_end(network)
        if len(self._by_address) > _MAX_ADDRESSES:
            self._by_address.popitem(last=False)
        bucket.drain(1)
        self._overall.drain(1)


def _bucket(allowance: Allowance, monotonic: Callable[[], float]) -> TokenBucket:
    return TokenBucket(allowance.burst, 1 / allowance.seconds, monotonic)


def _network(address: str) -> str:
    """The key of an address: for IPv6 its /64, which one host may own as a whole."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address) or parsed.ipv4_mapped is not None:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False))
