"""Which addresses may be dialled: the last word, spoken where the very address is seen.

aiohttp asks the socket factory for every single connect: for names and literals, for each address of a name, for each
attempt of a race between IPv4 and IPv6. What the policy judges there is what is dialled, so a name that resolves
differently the second time (rebinding) gains nothing.

A connection in a pool is not dialled again. Therefore every allow rule has a session and a pool of its own, whose
factory knows the rule for good: a connection made under one rule's addresses and TLS never serves another rule.
"""

import errno
import ipaddress
import socket
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

from aiohttp.connector import AddrInfoType

from chaski_core.route.model import AllowRule

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class AddressPolicy(Protocol):
    """Judges the addresses behind the hosts that the allow-list let through."""

    def refusal(self, address: str, rule: AllowRule) -> str | None:
        """Why an IP address must not be dialled under a rule; None if it may."""
        ...


class LoopbackPolicy:
    """Keeps requests off the machine's own loopback, unless the process permits it.

    Args:
        permit_loopback: 127.0.0.0/8 and ::1 may be dialled, for hosts that a rule allows. The unspecified addresses
            (0.0.0.0/8, ::), which Linux connects to loopback as well, are never dialled.
    """

    def __init__(self, *, permit_loopback: bool = False) -> None:
        self._permit_loopback = permit_loopback

    def refusal(self, address: str, rule: AllowRule) -> str | None:  # noqa: ARG002 - loopback is no matter of the rule
        """Why an IP address must not be dialled; None if it may."""
        ip = plain_address(address)
        if ip is None:
            return "it is no IP address"
        if ip.is_loopback:
            return None if self._permit_loopback else "loopback addresses are not dialled"
        if ip.is_unspecified or (ip.version == 4 and ip in _THIS_NETWORK):
            return "unspecified addresses are not dialled"
        return None


_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")


def plain_address(address: str) -> IPAddress | None:
    """The address itself: without a zone, and as IPv4 where it is IPv4 in IPv6's clothes (::ffff:127.0.0.1)."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return (ip.ipv4_mapped if ip.version == 6 else None) or ip


class AddressRefusedError(OSError):
    """Raised in the socket factory: aiohttp goes on to the host's next address, if there is one."""


@dataclass(slots=True)
class Dialling:
    """What one attempt did with the addresses it met."""

    refused: dict[str, str] = field(default_factory=dict)  # address -> why
    dialled: bool = False  # at least one address was let through


#: The attempt under way. aiohttp may dial in tasks of its own, which inherit it.
current: ContextVar[Dialling] = ContextVar("dialling")


def socket_factory(rule: AllowRule, policy: AddressPolicy) -> Callable[[AddrInfoType], socket.socket]:
    """The one place where a delivery's sockets are made.

    The factory raises AddressRefusedError for an address that the policy refuses under the rule.
    """

    def make(info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        dialling = current.get()
        host = str(address[0])
        why = policy.refusal(host, rule)
        if why is not None:
            dialling.refused[host] = why
            raise AddressRefusedError(errno.EACCES, f"{host} is not dialled: {why}")
        dialling.dialled = True
        return socket.socket(family, kind, protocol)

    return make
