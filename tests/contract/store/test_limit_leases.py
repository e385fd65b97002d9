"""The contract of every store of leases, through the port."""

from chaski_core.retry.leases import Demand, Lease, LeaseHolder, LeaseTable, LimitKey
from chaski_core.retry.limit import LimitRule
from contract.conftest import StoreWorld

HOST = LimitKey("ns/r", "api", "api.example.com:443")
RULE = LimitKey("ns/r", "api", "")
LEASES = (Lease("a", 3, 4, 4, 17, 45), Lease("b", 0, 4, 1, 1, 45))


async def test_a_table_is_read_back_as_it_was_written(stores: StoreWorld) -> None:
    """Consistently, in order; each limit has its own, and none at first."""
    assert await stores.limit_leases.read(HOST) == LeaseTable(0, ())
    assert await stores.limit_leases.write(HOST, 0, LEASES)
    table = await stores.limit_leases.read(HOST)
    assert (table.version, tuple(table.leases)) == (1, LEASES)
    assert (await stores.limit_leases.read(RULE)).version == 0
    assert await stores.limit_leases.write(RULE, 0, LEASES[:1])
    assert tuple((await stores.limit_leases.read(HOST)).leases) == LEASES


async def test_only_the_table_that_was_read_is_replaced(stores: StoreWorld) -> None:
    """Of two writers that have read the same one the second writes nothing."""
    assert await stores.limit_leases.write(HOST, 0, LEASES[:1])
    assert not await stores.limit_leases.write(HOST, 0, LEASES)
    assert await stores.limit_leases.write(HOST, 1, LEASES[1:])
    assert not await stores.limit_leases.write(HOST, 1, LEASES)
    assert tuple((await stores.limit_leases.read(HOST)).leases) == LEASES[1:]


async def test_workers_take_and_give_back_shares(stores: StoreWorld) -> None:
    """The first one takes all, and gives half to the second."""
    rule = LimitRule(rate_per_second=50, concurrency=4)
    first, second = (LeaseHolder(name, rule, 30.0) for name in "ab")

    async def renew(holder: LeaseHolder, now: float) -> None:
        found = await stores.limit_leases.read(HOST)
        planned = holder.plan(found.leases, Demand(4, 0), now)
        assert planned is not None
        assert await stores.limit_leases.write(HOST, found.version, planned)
        holder.confirm(planned, now)

    await renew(first, 0.0)
    assert first.usable(0.0) == 4
    await renew(second, 100.0)
    await renew(first, 2.0)
    await renew(second, 102.0)
    assert (first.usable(2.0), second.usable(102.0)) == (2, 2)
