"""The address ranges that are never dialled, or only where a rule's `cidrs` cover them.

The tables are spelled out, because `ipaddress.is_global` and `is_private` differ between Python versions, and treat
addresses of clouds' metadata services and addresses with an embedded IPv4 address as global.

Sources: the IANA special-purpose registries (RFC 6890 and its updates), the transition mechanisms (RFC 4291 §2.5.5,
RFC 6052, RFC 8215, RFC 3056, RFC 4380), and the clouds' own documents for their metadata services.
"""

import ipaddress
from dataclasses import dataclass

from chaski_worker.guard.guard import RefusalReason

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
