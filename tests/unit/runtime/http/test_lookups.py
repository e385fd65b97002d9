"""Addresses of names: shared lookups and their cache, in virtual time."""

import asyncio
import socket

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from chaski_runtime.http.lookups import ADDRESSES_PER_FAMILY, DNS_CACHE_SECONDS, Lookups

pytestmark = pytest.mark.looptime


class SlowResolver(AbstractResolver):
    """Takes a second; each lookup has the next of the given results."""

    def __init__(self, *results: list[str] | OSError) -> None:
        self.results = list(results)
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The next result."""
        self.asked.append(host)
        await asyncio.sleep(1)
        result = self.results.pop(0)
        if isinstance(result, OSError):
            raise result
        return [ResolveResult(hostname=host, host=each, port=port, family=family, proto=0, flags=0) for each in result]

    async def close(self) -> None:
        """Nothing to close."""


async def addresses(lookups: Lookups, host: str = "t.test") -> list[str]:
    """In their order."""
    return [info[4][0] for info in await lookups.addresses(host, 80)]


async def test_callers_share_a_lookup_and_its_result_for_some_seconds() -> None:
    """Then it is looked up again."""
    resolver = SlowResolver(["192.0.2.1"], ["192.0.2.2"])
    lookups = Lookups(resolver)
    assert await asyncio.gather(*(addresses(lookups) for _ in range(3))) == [["192.0.2.1"]] * 3
    await asyncio.sleep(DNS_CACHE_SECONDS - 0.5)
    assert await addresses(lookups) == ["192.0.2.1"]
    await asyncio.sleep(0.6)
    assert await addresses(lookups) == ["192.0.2.2"]
    assert resolver.asked == ["t.test"] * 2


async def test_each_call_starts_with_another_address() -> None:
    """So that the load is spread; both families have their form."""
    lookups = Lookups(SlowResolver(["192.0.2.1", "2001:db8::1"]))
    first, second, third = [await lookups.addresses("t.test", 80) for _ in range(3)]
    assert first == third == second[::-1]
    assert first[0][0] == socket.AF_INET
    assert first[0][4] == ("192.0.2.1", 80)
    assert first[1][0] == socket.AF_INET6
    assert first[1][4] == ("2001:db8::1", 80, 0, 0)


@pytest.mark.promise(12)
async def test_of_a_thousand_addresses_the_first_of_each_family_are_used() -> None:
    """A name's owner decides how many it has; none of the others is remembered."""
    many = [f"2001:db8::{number:x}" for number in range(1, 1_001)] + [f"192.0.2.{number}" for number in range(1, 101)]
    lookups = Lookups(SlowResolver(many))
    first = await addresses(lookups)
    assert first == many[:ADDRESSES_PER_FAMILY] + many[1_000 : 1_000 + ADDRESSES_PER_FAMILY]
    assert await addresses(lookups) == [*first[1:], first[0]]


async def test_a_caller_that_gives_up_does_not_end_the_lookup_of_another() -> None:
    """And the result is remembered even if nothing waits for it."""
    resolver = SlowResolver(["192.0.2.1"])
    lookups = Lookups(resolver)
    first, second = (asyncio.create_task(addresses(lookups)) for _ in range(2))
    await asyncio.sleep(0.5)
    first.cancel()
    assert await second == ["192.0.2.1"]
    assert first.cancelled()
    assert await addresses(lookups) == ["192.0.2.1"]


async def test_a_failure_reaches_every_caller_and_is_not_remembered() -> None:
    """The next call looks the name up again."""
    lookups = Lookups(SlowResolver(socket.gaierror(socket.EAI_AGAIN, "failed"), ["192.0.2.1"]))
    found = await asyncio.gather(*(addresses(lookups) for _ in range(2)), return_exceptions=True)
    assert [type(each) for each in found] == [socket.gaierror] * 2
    assert await addresses(lookups) == ["192.0.2.1"]


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"])
async def test_an_address_is_not_looked_up(address: str) -> None:
    """It is dialled as it is."""
    resolver = SlowResolver()
    found = await addresses(Lookups(resolver), address)
    assert len(found) == 1
    assert socket.getaddrinfo(found[0], 0)[0][4][0] == socket.getaddrinfo(address, 0)[0][4][0]
    assert resolver.asked == []


@pytest.mark.promise(6)
@pytest.mark.parametrize("host", ["2130706433", "127.1", "0177.0.0.1", "127.0.0.1.", "0", "1.2.3.4.5"])
async def test_an_unusual_form_of_an_address_is_refused(host: str) -> None:
    """Resolvers would make an address of it that no rule was compared with."""
    resolver = SlowResolver()
    with pytest.raises(ValueError, match="address"):
        await addresses(Lookups(resolver), host)
    assert resolver.asked == []


async def test_names_are_forgotten_on_request() -> None:
    """The next call looks them up."""
    resolver = SlowResolver(["192.0.2.1"], ["192.0.2.2"])
    lookups = Lookups(resolver)
    assert await addresses(lookups) == ["192.0.2.1"]
    lookups.forget()
    assert await addresses(lookups) == ["192.0.2.2"]
