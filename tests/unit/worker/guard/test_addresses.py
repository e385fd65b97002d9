"""The address tables, and the socket factory that enforces them."""

import asyncio
import ipaddress
import socket

import pytest

from chaski_core.route.model import AllowRule
from chaski_worker.guard import addresses
from chaski_worker.guard.addresses import (
    GLOBAL_IPV6,
    LOOPBACK,
    NEEDS_CIDRS,
    NEVER_DIALLED,
    AddressRefusedError,
    AddressTables,
    DialRecord,
    own_addresses,
    parse_address,
    socket_factory,
)
from chaski_worker.guard.guard import Refusal, RefusalReason

R = RefusalReason
RULE = AllowRule("rule", "http://target.test/")
EVERYTHING = AllowRule("everything", "http://target.test/", cidrs=("0.0.0.0/0", "::/0"))

LOOPBACK_ADDRESSES = ["127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1", "::1%lo"]
NEVER = [
    *(("0.0.0.0", R.RESERVED), ("0.1.2.3", R.RESERVED), ("::", R.RESERVED), ("::ffff:0.0.0.0", R.RESERVED)),
    *(("localhost", R.RESERVED), ("", R.RESERVED)),
    *(("169.254.169.254", R.METADATA), ("169.254.170.2", R.METADATA), ("169.254.170.23", R.METADATA)),
    *(("fd00:ec2::23", R.METADATA), ("fd00:ec2::254", R.METADATA), ("fd20:ce::254", R.METADATA)),
    *(("fd00:c1::a9fe:a9fe", R.METADATA), ("::ffff:169.254.169.254", R.METADATA), ("fe80::1%eth0", R.METADATA)),
    *(("100.100.100.200", R.METADATA), ("192.0.0.192", R.METADATA), ("168.63.129.16", R.METADATA)),
    *(("64:ff9b::a9fe:a9fe", R.EMBEDDED), ("64:ff9b:1::a9fe:a9fe", R.EMBEDDED), ("64:ff9b::808:808", R.EMBEDDED)),
    *(("2002:a9fe:a9fe::1", R.EMBEDDED), ("2001:0:a9fe:a9fe::1", R.EMBEDDED)),
    *(("::169.254.169.254", R.EMBEDDED), ("::ffff:0:a9fe:a9fe", R.EMBEDDED), ("::2", R.EMBEDDED)),
    *(("192.0.0.1", R.RESERVED), ("192.0.2.1", R.RESERVED), ("192.88.99.1", R.RESERVED), ("198.18.0.1", R.RESERVED)),
    *(("198.51.100.1", R.RESERVED), ("203.0.113.1", R.RESERVED), ("224.0.0.1", R.RESERVED)),
    *(("240.0.0.1", R.RESERVED), ("255.255.255.255", R.RESERVED), ("::ffff:224.0.0.1", R.RESERVED)),
    *(("100::1", R.RESERVED), ("2001:10::1", R.RESERVED), ("2001:db8::1", R.RESERVED), ("3fff::1", R.RESERVED)),
    *(("5f00::1", R.RESERVED), ("fec0::1", R.RESERVED), ("ff02::1", R.RESERVED), ("4000::1", R.RESERVED)),
]
PRIVATE = ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "fd7a:115c:a1e0::1", "fc00::1"]
PUBLIC = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "169.253.0.1", "2606:4700::1111", "::ffff:8.8.8.8"]


def _reason(refusal: Refusal | None) -> RefusalReason | None:
    return refusal.reason if refusal else None


@pytest.mark.promise(6)
@pytest.mark.parametrize("address", LOOPBACK_ADDRESSES)
def test_loopback_is_refused_in_every_spelling_unless_the_process_permits_it(address: str) -> None:
    """No rule opens it."""
    assert _reason(AddressTables().refusal(address, EVERYTHING)) is R.LOOPBACK
    assert AddressTables(permit_loopback=True).refusal(address, RULE) is None


@pytest.mark.promise(6)
@pytest.mark.parametrize(("address", "reason"), NEVER)
@pytest.mark.parametrize("rule", [RULE, EVERYTHING], ids=["no cidrs", "cidrs of everything"])
def test_no_rule_permits_addresses_that_are_never_dialled(address: str, reason: RefusalReason, rule: AllowRule) -> None:
    """Each address for its own reason; permission for loopback changes nothing."""
    for tables in (AddressTables(), AddressTables(permit_loopback=True)):
        assert _reason(tables.refusal(address, rule)) is reason


@pytest.mark.promise(6)
@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_need_a_rule_that_covers_them(address: str) -> None:
    """A rule's ranges permit the addresses in them, and no others."""
    tables = AddressTables()
    elsewhere = AllowRule("elsewhere", RULE.url, cidrs=("10.1.0.0/16", "fd00:1::/32"))
    exact = AllowRule("exact", RULE.url, cidrs=(f"{address}/{128 if ':' in address else 32}",))
    assert _reason(tables.refusal(address, RULE)) is R.PRIVATE
    assert _reason(tables.refusal(address, elsewhere)) is R.PRIVATE
    assert tables.refusal(address, exact) is None
    assert tables.refusal(address, EVERYTHING) is None


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_dialled(address: str) -> None:
    """A guard that denies everything would be useless."""
    assert AddressTables().refusal(address, RULE) is None


@pytest.mark.promise(6)
@pytest.mark.parametrize("address", ["10.96.0.1", "::ffff:10.96.0.1", "10.1.2.3", "fd00:1::5"])
def test_no_rule_permits_the_api_server_or_the_pod_itself(address: str) -> None:
    """They are known from the process's environment."""
    own = own_addresses({"KUBERNETES_SERVICE_HOST": "10.96.0.1", "POD_IP": "10.1.2.3", "POD_IPS": "10.1.2.3,fd00:1::5"})
    assert _reason(AddressTables(own=own).refusal(address, EVERYTHING)) is R.OWN
    assert _reason(AddressTables(own=own, permit_loopback=True).refusal(address, EVERYTHING)) is R.OWN


def test_an_environment_without_addresses_adds_nothing() -> None:
    """Outside a cluster there are no such variables; in some clouds the API server has a name."""
    assert own_addresses({}) == ()
    named = own_addresses({"KUBERNETES_SERVICE_HOST": "api.cloud.example", "POD_IP": " "})
    assert AddressTables(own=named).refusal("8.8.8.8", RULE) is None
    bracketed = own_addresses({"KUBERNETES_SERVICE_HOST": "[fd00:1::1]"})
    assert _reason(AddressTables(own=bracketed).refusal("fd00:1::1", EVERYTHING)) is R.OWN


def test_no_entry_of_the_tables_is_shadowed_by_an_earlier_one() -> None:
    """A shadowed entry would never give its reason."""
    for table in (LOOPBACK, NEVER_DIALLED, NEEDS_CIDRS):
        for number, entry in enumerate(table):
            for earlier in table[:number]:
                if earlier.network.version == entry.network.version:
                    assert not entry.network.subnet_of(earlier.network), entry  # type: ignore[arg-type]  # one version


def test_the_tables_cover_what_the_standard_library_calls_not_global() -> None:
    """The tables are spelled out, but must not be weaker than Python's own."""
    tables = AddressTables()
    networks = [network for base in (ipaddress.IPv4Address, ipaddress.IPv6Address) for network in _private(base)]
    assert len(networks) > 15
    for network in networks:
        for ip in (network[0], network[-1]):
            assert ip.is_global or tables.refusal(str(ip), RULE) is not None, ip
    assert GLOBAL_IPV6.prefixlen == 3


def _private(
    base: type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address],
) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    return list(base._constants._private_networks)  # type: ignore[union-attr]  # the standard library's own list


def test_mapped_addresses_and_zones_are_normalised() -> None:
    """IPv4-mapped addresses become IPv4, and zones are removed."""
    assert str(parse_address("::ffff:192.0.2.1")) == "192.0.2.1"
    assert str(parse_address("fe80::1%eth0")) == "fe80::1"
    assert parse_address("target.test") is None


def _info(address: str) -> tuple[int, int, int, str, tuple[str, int]]:
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, 80))


def test_the_factory_makes_no_socket_for_a_refused_address() -> None:
    """It records why, and raises an error after which aiohttp tries the next address."""
    dial = DialRecord()
    token = addresses.current_dial.set(dial)
    try:
        with pytest.raises(AddressRefusedError, match=r"127\.0\.0\.1 is not dialled: loopback"):
            socket_factory(RULE, AddressTables())(_info("127.0.0.1"))
        noted = {"127.0.0.1": Refusal(R.LOOPBACK, "loopback addresses are not dialled")}
        assert dial == DialRecord(noted, dialled=False)
        socket_factory(RULE, AddressTables())(_info("8.8.8.8")).close()  # made, never connected
        assert dial.dialled
    finally:
        addresses.current_dial.reset(token)


def test_outside_an_attempt_nothing_is_dialled() -> None:
    """The factory must not be called without an attempt."""
    with pytest.raises(LookupError):
        socket_factory(RULE, AddressTables(permit_loopback=True))(_info("127.0.0.1"))


async def test_concurrent_attempts_have_separate_dial_records() -> None:
    """Each attempt is a context of its own, and tasks made in it inherit it."""
    factory = socket_factory(RULE, AddressTables())

    async def dial(address: str) -> None:
        with pytest.raises(AddressRefusedError):
            factory(_info(address))

    async def attempt(address: str) -> list[str]:
        record = DialRecord()
        addresses.current_dial.set(record)
        await asyncio.create_task(dial(address))
        return list(record.refused)

    first, second = await asyncio.gather(attempt("127.0.0.1"), attempt("127.0.0.2"))
    assert (first, second) == (["127.0.0.1"], ["127.0.0.2"])
