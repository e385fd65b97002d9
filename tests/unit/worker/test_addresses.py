"""The address policy, and the factory that asks it before a socket is made."""

import asyncio
import socket

import pytest

from chaski_core.route.model import AllowRule
from chaski_worker import addresses
from chaski_worker.addresses import AddressRefusedError, Dialling, LoopbackPolicy, plain_address, socket_factory

RULE = AllowRule("rule", "http://target.test/")
LOOPBACK = ["127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1", "::1%lo"]
NEVER = ["0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0", "localhost", ""]
OTHERS = ["192.0.2.1", "10.0.0.1", "2606:4700::1111"]


@pytest.mark.promise(6)
@pytest.mark.parametrize("address", LOOPBACK + NEVER)
def test_loopback_is_refused_in_every_spelling(address: str) -> None:
    """And with it what Linux connects to loopback, and what is no address at all."""
    assert LoopbackPolicy().refusal(address, RULE)


@pytest.mark.parametrize("address", LOOPBACK + OTHERS)
def test_loopback_may_be_permitted_by_the_process(address: str) -> None:
    """For people who try it on their own machine."""
    assert LoopbackPolicy(permit_loopback=True).refusal(address, RULE) is None


@pytest.mark.parametrize("address", NEVER)
def test_permission_for_loopback_is_for_nothing_else(address: str) -> None:
    """The unspecified addresses stay refused."""
    assert LoopbackPolicy(permit_loopback=True).refusal(address, RULE)


@pytest.mark.parametrize("address", OTHERS)
def test_other_addresses_are_no_matter_of_loopback(address: str) -> None:
    """The policy has one job."""
    assert LoopbackPolicy().refusal(address, RULE) is None


def test_an_address_in_other_clothes_is_the_same_address() -> None:
    """Mapped IPv4 and zones are taken off."""
    assert str(plain_address("::ffff:192.0.2.1")) == "192.0.2.1"
    assert str(plain_address("fe80::1%eth0")) == "fe80::1"
    assert plain_address("target.test") is None


def _info(address: str) -> tuple[int, int, int, str, tuple[str, int]]:
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, 80))


def test_the_factory_makes_no_socket_for_a_refused_address() -> None:
    """It notes down why, and raises what aiohttp takes as a reason to try the next address."""
    dialling = Dialling()
    token = addresses.current.set(dialling)
    try:
        with pytest.raises(AddressRefusedError, match=r"127\.0\.0\.1 is not dialled: loopback"):
            socket_factory(RULE, LoopbackPolicy())(_info("127.0.0.1"))
        assert dialling == Dialling({"127.0.0.1": "loopback addresses are not dialled"}, dialled=False)
        socket_factory(RULE, LoopbackPolicy())(_info("192.0.2.1")).close()
        assert dialling.dialled
    finally:
        addresses.current.reset(token)


def test_outside_an_attempt_nothing_is_dialled() -> None:
    """Whatever calls the factory without an attempt has no business to."""
    with pytest.raises(LookupError):
        socket_factory(RULE, LoopbackPolicy(permit_loopback=True))(_info("127.0.0.1"))


async def test_attempts_side_by_side_keep_their_notes_apart() -> None:
    """Each attempt is a context of its own, and tasks made in it inherit it."""
    factory = socket_factory(RULE, LoopbackPolicy())

    async def dial(address: str) -> None:
        with pytest.raises(AddressRefusedError):
            factory(_info(address))

    async def attempt(address: str) -> dict[str, str]:
        dialling = Dialling()
        addresses.current.set(dialling)
        await asyncio.create_task(dial(address))
        return dialling.refused

    first, second = await asyncio.gather(attempt("127.0.0.1"), attempt("127.0.0.2"))
    assert (list(first), list(second)) == (["127.0.0.1"], ["127.0.0.2"])
