"""How often somebody may try a password: few times in a row from one address, and not without end from all together.

Only tries that fail are counted. Addresses, not names: whoever knows a name could otherwise lock it out.
"""

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_MAX_ADDRESSES = 10_000


@dataclass(frozen=True, slots=True)
class Allowance:
    """So many in a row, then one every so many seconds."""

    burst: int
    seconds: float


FROM_ONE = Allowance(5, 10.0)
FROM_ALL = Allowance(100, 1.0)


class Attempts:
    """Counts tries that failed."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._all = _Bucket(FROM_ALL, monotonic())
        self._by_address: OrderedDict[str, _Bucket] = OrderedDict()

    def wait(self, address: str) -> int:
        """In how many whole seconds the address may try again; 0: now."""
        now = self._monotonic()
        bucket = self._by_address.get(_network(address))
        return max(self._all.wait(now), bucket.wait(now) if bucket else 0)

    def failed(self, address: str) -> None:
        """Counts one."""
        now, network = self._monotonic(), _network(address)
        bucket = self._by_address.setdefault(network, _Bucket(FROM_ONE, now))
        self._by_address.move_to_end(network)
        if len(self._by_address) > _MAX_ADDRESSES:
            self._by_address.popitem(last=False)
        bucket.take(now)
        self._all.take(now)


class _Bucket:
    def __init__(self, allowance: Allowance, now: float) -> None:
        self._allowance = allowance
        self._level = float(allowance.burst)
        self._at = now

    def wait(self, now: float) -> int:
        self._fill(now)
        return 0 if self._level >= 1 else max(1, math.ceil((1 - self._level) * self._allowance.seconds))

    def take(self, now: float) -> None:
        self._fill(now)
        self._level = max(0.0, self._level - 1)

    def _fill(self, now: float) -> None:
        risen = (now - self._at) / self._allowance.seconds
        self._level = min(float(self._allowance.burst), self._level + risen)
        self._at = now


def _network(address: str) -> str:
    """One host may have a whole /64 of IPv6."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address) or parsed.ipv4_mapped is not None:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False))
