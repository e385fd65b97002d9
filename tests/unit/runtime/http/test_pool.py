"""Connections are closed at a maximal age: in virtual time, with a name that moves."""

import asyncio
import itertools
import random
from collections.abc import Callable
from typing import cast

import pytest

from chaski_runtime.http.connection import HttpConnection
from chaski_runtime.http.connector import Connector
from chaski_runtime.http.lookups import DNS_CACHE_SECONDS
from chaski_runtime.http.pool import MAX_AGE_SECONDS, MOVED_WITHIN_SECONDS, Pool, PooledConnection
from chaski_runtime.http.request import origin_of

pytestmark = pytest.mark.looptime

ORIGIN = origin_of("http", "t.test", 80)


def now() -> float:
    """Loop seconds."""
    return asyncio.get_running_loop().time()


class Connected(HttpConnection):
    """A connection to one address that never fails; `closed` gets the times at which one is closed."""

    reusable = True

    def __init__(self, address: str, closed: list[float]) -> None:
        super().__init__(asyncio.get_running_loop(), 1_000)
        self.address = address
        self._closed = closed

    def close(self, *, abort: bool = False) -> None:
        """Notes the time."""
        del abort
        self._closed.append(now())

    def is_connected(self) -> bool:
        """Always."""
        return True


class MovingName:
    """A connector to a name that moves from `old` to `new`, with a cache of lookups as the real one has."""

    def __init__(self, moves_at: float) -> None:
        self.moves_at = moves_at
        self.made = 0
        self.closed: list[float] = []
        self._found: tuple[float, str] | None = None

    async def connect(self, *_: object) -> HttpConnection:
        """A connection to the address of the name, by the cache."""
        if self._found is None or now() - self._found[0] > DNS_CACHE_SECONDS:
            self._found = (now(), "old" if now() < self.moves_at else "new")
        await asyncio.sleep(0.02)
        self.made += 1
        return Connected(self._found[1], self.closed)

    async def close(self) -> None:
        """Nothing to close."""


def pool_of(connector: MovingName, chance: Callable[[], float] = lambda: 0.0) -> Pool:
    """A pool with the settings of workers."""
    return Pool(cast("Connector", connector), 4.0, MAX_AGE_SECONDS, None, chance)


async def take(pool: Pool) -> PooledConnection:
    """A connection for one request."""
    return pool.take_idle(ORIGIN) or await pool.connect(ORIGIN)


def address(connection: PooledConnection) -> str:
    """The address that it is connected to."""
    return cast("Connected", connection.http).address


@pytest.mark.promise(6)
@pytest.mark.parametrize("seed", range(5))
async def test_a_name_that_moves_under_steady_traffic_is_followed(seed: int) -> None:
    """A request every 0.1 s from two subjects: the new address within 60 s, and from then on no other."""
    chance = random.Random(seed)
    connector = MovingName(moves_at=5 + chance.random() * 60)
    pool = pool_of(connector, chance.random)
    requests: list[tuple[float, str]] = []

    async def subject() -> None:
        while now() < 135:
            connection = await take(pool)
            requests.append((now(), address(connection)))
            await asyncio.sleep(chance.random() * 0.2)
            connection.release()
            await asyncio.sleep(0.1)

    await asyncio.gather(*(subject() for _ in range(2)))
    await pool.close()

    since = {where: [at - connector.moves_at for at, found in requests if found == where] for where in ("old", "new")}
    assert min(since["new"]) <= MOVED_WITHIN_SECONDS
    assert max(since["old"]) <= MOVED_WITHIN_SECONDS + 0.02
    assert connector.made <= 2 * 5, "connections are reused until then"


async def test_a_request_under_way_finishes_on_a_connection_past_its_age() -> None:
    """It is closed when it is released, and the next request gets another one."""
    connector = MovingName(moves_at=1.0)
    pool = pool_of(connector)
    connection = await take(pool)
    await asyncio.sleep(MAX_AGE_SECONDS + 100)
    assert connector.closed == []
    connection.release()
    assert connector.closed == [now()]
    assert address(await take(pool)) == "new"
    await pool.close()


async def test_connections_opened_together_are_not_closed_together() -> None:
    """Their ages spread over ten seconds, so that a target is not dialled by all at once."""
    chance = random.Random(1)
    connector = MovingName(moves_at=1.0)
    pool = pool_of(connector, chance.random)
    connections = await asyncio.gather(*(take(pool) for _ in range(100)))
    ends = sorted(each.retires_at for each in connections)
    assert ends[-1] - ends[0] > 8
    assert max(after - before for before, after in itertools.pairwise(ends)) < 1
    assert MAX_AGE_SECONDS * 0.8 <= ends[0] < ends[-1] <= MAX_AGE_SECONDS
    await pool.close()
