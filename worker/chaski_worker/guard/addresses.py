"""Address policy, enforced at connect time on the resolved IP address.

The client calls the socket factory for every single connect: for names and literals, for each address of a name, for each
attempt of a race between IPv4 and IPv6. The address judged there is the one dialled, so a name that resolves differently
the second time (rebinding) gains nothing.

A pooled connection is not dialled again. Therefore every allow rule has a client and a pool of its own, whose factory is
bound to the rule: a connection made under one rule's addresses and TLS never serves another rule.

The tables of ranges that are never dialled, or only where a rule's `cidrs` cover them, are spelled out, because
`ipaddress.is_global` and `is_private` differ between Python versions, and treat addresses of clouds' metadata services and
addresses with an embedded IPv4 address as global. Sources: the IANA special-purpose registries (RFC 6890 and its updates), the
transition mechanisms (RFC 4291 §2.5.5, RFC 6052, RFC 8215, RFC 3056, RFC 4380), and the clouds' own documents for their
metadata services.
"""

import errno
import functools
import ipaddress
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from aiohttp import AddrInfoType

from chaski_core.route.model import AllowRule
from chaski_worker.guard.guard import Refusal, RefusalReason
from chaski_worker.shortage.detection import BY_ERRNO, Shortage, ShortageReason, shortage_of

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Range:
    """Addresses refused for one reason."""

    network: IPNetwork
    reason: RefusalReason
    why: str


def _ranges(reason: RefusalReason, *entries: tuple[str, str]) -> tuple[Range, ...]:
    return tuple(Range(ipaddress.ip_network(network), reason, why) for network, why in entries)


#: 127.0.0.0/8 and ::1: refused unless the process permits them.
LOOPBACK = _ranges(
    RefusalReason.LOOPBACK,
    ("127.0.0.0/8", "loopback addresses are not dialled"),
    ("::1/128", "loopback addresses are not dialled"),
)

#: Never dialled, whatever a route allows. The first range that contains an address gives the reason.
NEVER_DIALLED: tuple[Range, ...] = (
    *_ranges(
        RefusalReason.METADATA,
        ("169.254.0.0/16", "link-local addresses, with cloud metadata services among them, are not dialled"),
        ("fe80::/10", "link-local addresses are not dialled"),
        ("100.100.100.200/32", "it is a cloud metadata service (Alibaba Cloud)"),
        ("192.0.0.192/32", "it is a cloud metadata service (Oracle Cloud)"),
        ("168.63.129.16/32", "it is a cloud platform service (Azure WireServer)"),
        ("fd00:ec2::/32", "it is a cloud metadata or credentials service (AWS)"),
        ("fd20:ce::/32", "it is a cloud metadata service (Google Cloud)"),
        ("fd00:c1::/32", "it is a cloud metadata service (Oracle Cloud)"),
    ),
    *_ranges(
        RefusalReason.EMBEDDED,
        ("::ffff:0:0:0/96", "it embeds an IPv4 address (IPv4-translated)"),
        ("64:ff9b::/96", "it embeds an IPv4 address (NAT64)"),
        ("64:ff9b:1::/48", "it embeds an IPv4 address (local NAT64)"),
        ("2002::/16", "it embeds an IPv4 address (6to4)"),
        ("2001::/32", "it embeds an IPv4 address (Teredo)"),
    ),
    *_ranges(
        RefusalReason.RESERVED,
        ("0.0.0.0/8", "unspecified addresses are not dialled"),
        ("::/128", "unspecified addresses are not dialled"),
    ),
    # After ::1 and ::, which are in it.
    *_ranges(RefusalReason.EMBEDDED, ("::/96", "it embeds an IPv4 address (IPv4-compatible)")),
    *_ranges(
        RefusalReason.RESERVED,
        ("192.0.0.0/24", "addresses for protocols are not dialled"),
        ("192.0.2.0/24", "addresses for documentation are not dialled"),
        ("192.88.99.0/24", "6to4 relays are not dialled"),
        ("198.18.0.0/15", "addresses for benchmarks are not dialled"),
        ("198.51.100.0/24", "addresses for documentation are not dialled"),
        ("203.0.113.0/24", "addresses for documentation are not dialled"),
        ("224.0.0.0/4", "multicast addresses are not dialled"),
        ("255.255.255.255/32", "broadcast is not dialled"),
        ("240.0.0.0/4", "reserved addresses are not dialled"),
        ("100::/64", "the discard prefix is not dialled"),
        ("2001::/23", "addresses for protocols are not dialled"),
        ("2001:db8::/32", "addresses for documentation are not dialled"),
        ("3fff::/20", "addresses for documentation are not dialled"),
        ("5f00::/16", "segment routing identifiers are not dialled"),
        ("fec0::/10", "site-local addresses are not dialled"),
        ("ff00::/8", "multicast addresses are not dialled"),
    ),
)

#: Dialled only where the rule's `cidrs` cover the address.
NEEDS_CIDRS = _ranges(
    RefusalReason.PRIVATE,
    ("10.0.0.0/8", "it is a private address, and the rule's cidrs don't cover it"),
    ("172.16.0.0/12", "it is a private address, and the rule's cidrs don't cover it"),
    ("192.168.0.0/16", "it is a private address, and the rule's cidrs don't cover it"),
    ("100.64.0.0/10", "it is an address of shared space, and the rule's cidrs don't cover it"),
    ("fc00::/7", "it is a private address, and the rule's cidrs don't cover it"),
)

#: The global unicast addresses of IPv6. Addresses neither here nor in NEEDS_CIDRS are reserved (RFC 4291 §2.4).
GLOBAL_IPV6 = ipaddress.IPv6Network("2000::/3")


def parse_address(address: str) -> IPAddress | None:
    """The address without its zone; IPv4-mapped IPv6 addresses (::ffff:127.0.0.1) are returned as IPv4."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return (ip.ipv4_mapped if ip.version == 6 else None) or ip


def first_range(ranges: tuple[Range, ...], ip: IPAddress) -> Range | None:
    """The first range that contains an address."""
    return next((each for each in ranges if ip.version == each.network.version and ip in each.network), None)


class AddressTables:
    """Judges the addresses of the hosts that the allow-list permits: some ranges are never dialled, some only where the rule's `cidrs` cover the address.

    Args:
        permit_loopback: 127.0.0.0/8 and ::1 may be dialled, for hosts that a rule allows. The unspecified addresses
            (0.0.0.0/8, ::), which Linux connects to loopback as well, are never dialled.
        own: addresses of this Pod and of the API server, which no rule opens. Texts that are not addresses are ignored.
    """

    def __init__(self, *, permit_loopback: bool = False, own: Iterable[str] = ()) -> None:
        self._permit_loopback = permit_loopback
        self._own = frozenset(ip for ip in map(parse_address, own) if ip is not None)

    def refusal(self, address: str, rule: AllowRule) -> Refusal | None:
        """Why an IP address must not be dialled under a rule; None if it may."""
        ip = parse_address(address)
        if ip is None:
            return Refusal(RefusalReason.RESERVED, "it is not an IP address")
        if ip in self._own:
            return Refusal(RefusalReason.OWN, "it is the API server's address or this Pod's own")
        if found := first_range(LOOPBACK, ip):
            return None if self._permit_loopback else Refusal(found.reason, found.why)
        if found := first_range(NEVER_DIALLED, ip):
            return Refusal(found.reason, found.why)
        return _private_or_unassigned(ip, rule)


def _private_or_unassigned(ip: IPAddress, rule: AllowRule) -> Refusal | None:
    if found := first_range(NEEDS_CIDRS, ip):
        opened = any(ip.version == network.version and ip in network for network in _networks(rule.cidrs))
        return None if opened else Refusal(found.reason, found.why)
    if ip.version == 6 and ip not in GLOBAL_IPV6:
        return Refusal(RefusalReason.RESERVED, "it is not in a range of global unicast addresses")
    return None


@functools.lru_cache(64)  # a route has at most 64 rules
def _networks(cidrs: tuple[str, ...]) -> tuple[IPNetwork, ...]:
    return tuple(ipaddress.ip_network(cidr) for cidr in cidrs)


def own_addresses(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The API server's address and this Pod's, from the environment variables of the Pod.

    `KUBERNETES_SERVICE_HOST` is set in every Pod; `POD_IP` and `POD_IPS` (separated by commas) by the downward API.
    """
    texts = [environment.get(name, "") for name in ("KUBERNETES_SERVICE_HOST", "POD_IP", "POD_IPS")]
    return tuple(part.strip().strip("[]") for text in texts for part in text.split(",") if part.strip())


class AddressRefusedError(OSError):
    """Raised in the socket factory: the client continues with the host's next address, if there is one."""


@dataclass(slots=True)
class DialRecord:
    """The addresses that one attempt dialled or was refused."""

    refused: dict[str, Refusal] = field(default_factory=dict)  # by address
    dialled: bool = False  # at least one address was permitted
    shortage: Shortage | None = None  # prevented a connect; reset once another address is connected

    def record_error(self, error: OSError) -> None:
        """A socket could not be made or connected. Errors that are not shortages are the target's."""
        reason = ShortageReason.PORTS if error.errno == errno.EADDRNOTAVAIL else BY_ERRNO.get(error.errno or 0)
        if reason is not None:
            self.shortage = shortage_of(reason, error)


#: The attempt under way. The client may dial in tasks of its own, which inherit it.
current_dial: ContextVar[DialRecord] = ContextVar("dialling")


MakeSocket = Callable[[AddrInfoType], socket.socket]


def plain_socket(info: AddrInfoType) -> socket.socket:
    """A socket for an address, not yet connected."""
    family, kind, protocol, _, _ = info
    return _Socket(family, kind, protocol)


class _Socket(socket.socket):
    """Records why it can't connect: the error that is raised for several addresses has none of their errors."""

    def connect(self, address: Any) -> None:
        """An error raised at once is about this machine, a later one about the target."""
        try:
            super().connect(address)
        except OSError as error:
            if error.errno == errno.EINPROGRESS:
                raise
            if error.errno != errno.EADDRNOTAVAIL or _has_source_for(self.family, address):
                current_dial.get().record_error(error)
            if error.errno == errno.EAGAIN:  # the event loop would mistake a BlockingIOError for "in progress"
                raise ConnectionError(error.errno, error.strerror) from error
            raise


def _has_source_for(family: int, address: Any) -> bool:
    """Whether this machine has a source address for a destination: then EADDRNOTAVAIL means that no port is left.

    Connecting a datagram socket chooses the source in the same way and sends nothing (connect(2)).
    """
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(address)
    except OSError as error:
        return error.errno in BY_ERRNO
    return True


def socket_factory(
    rule: AllowRule, policy: AddressTables, make_socket: MakeSocket = plain_socket, ceiling: int | None = None
) -> MakeSocket:
    """Makes the factory of all sockets for a rule's deliveries.

    The factory raises AddressRefusedError for an address that the policy refuses under the rule, and OSError where no
    socket can be made, or its number reaches the ceiling (`descriptors.ceiling`).
    """

    def make(info: AddrInfoType) -> socket.socket:
        dial = current_dial.get()
        host = str(info[4][0])
        refusal = policy.refusal(host, rule)
        if refusal is not None:
            dial.refused[host] = refusal
            raise AddressRefusedError(errno.EACCES, f"{host} is not dialled: {refusal.detail}")
        dial.dialled = True
        try:
            return _below(ceiling, make_socket(info))
        except OSError as error:
            dial.record_error(error)
            raise

    return make


def _below(ceiling: int | None, made: socket.socket) -> socket.socket:
    if ceiling is not None and made.fileno() >= ceiling:
        made.close()
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    return made
