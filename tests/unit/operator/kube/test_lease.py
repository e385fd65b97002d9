"""Leader election on a fake API server, in virtual time: two operators never write at the same time."""

import asyncio
import contextlib
import random
from typing import Any

import pytest

from chaski_operator.kube.lease import Lease, LeaseLostError
from chaski_operator.settings import LeaseSettings
from chaski_runtime.kube.client import KubeRefusedError, KubeUnavailableError
from support.worker.memory_backend import LoopClock

pytestmark = pytest.mark.looptime


class FakeApi:
    """One Lease; a write must carry the current version, as on the API server."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.unavailable = False
        self.hanging = False  # until the client gives up
        self.silent = False  # for ever

    async def find(self, _path: str) -> dict[str, Any] | None:
        await self._check()
        if self.lease is None:
            return None
        return {**self.lease, "spec": dict(self.lease["spec"]), "metadata": {"resourceVersion": str(self.version)}}

    async def create(self, _path: str, body: dict[str, Any]) -> dict[str, Any]:
        await self._check()
        if self.lease is not None:
            raise KubeRefusedError(409, "AlreadyExists", "exists")
        return self._put(body)

    async def replace(self, _path: str, body: dict[str, Any]) -> dict[str, Any]:
        await self._check()
        if self.lease is None:
            raise KubeRefusedError(404, "NotFound", "deleted")
        if body["metadata"]["resourceVersion"] != str(self.version):
            raise KubeRefusedError(409, "Conflict", "changed")
        return self._put(body)

    def _put(self, body: dict[str, Any]) -> dict[str, Any]:
        self.lease, self.version = body, self.version + 1
        return body

    async def _check(self) -> None:
        if self.silent:
            await asyncio.Event().wait()
        if self.hanging:
            await asyncio.sleep(LeaseSettings("ns").call_seconds)
            raise KubeUnavailableError("timed out")
        if self.unavailable:
            raise KubeUnavailableError("unavailable")


class Link(FakeApi):
    """The way of one process to an API server: it may be slow, broken or silent while another's works."""

    def __init__(self, server: FakeApi, chance: random.Random) -> None:
        super().__init__()
        self._server = server
        self._chance = chance

    async def find(self, path: str) -> dict[str, Any] | None:
        await self._pass()
        return await self._server.find(path)

    async def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        await self._pass()
        return await self._server.create(path, body)

    async def replace(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        await self._pass()
        return await self._server.replace(path, body)

    async def _pass(self) -> None:
        await asyncio.sleep(self._chance.expovariate(10))
        await self._check()


class SkewedClock(LoopClock):
    """A machine whose wall clock differs."""

    def __init__(self, skew_seconds: float) -> None:
        self._skew_ms = int(skew_seconds * 1000)

    def now_ms(self) -> int:
        return super().now_ms() + self._skew_ms


def lease_of(api: FakeApi, identity: str, skew_seconds: float = 0.0) -> Lease:
    """The Lease as one process sees it."""
    return Lease(api, LeaseSettings("ns", identity=identity), SkewedClock(skew_seconds))  # type: ignore[arg-type]  # the calls used


async def test_second_process_takes_the_lease_when_it_has_expired() -> None:
    """After 15 s without a renewal."""
    api = FakeApi()
    assert await lease_of(api, "a").acquire(lambda: False)
    started = asyncio.get_running_loop().time()
    assert await lease_of(api, "b").acquire(lambda: False)
    assert 15 < asyncio.get_running_loop().time() - started < 18
    assert api.lease is not None
    assert (api.lease["spec"]["holderIdentity"], api.lease["spec"]["leaseTransitions"]) == ("b", 1)


async def test_restarted_process_continues_at_once() -> None:
    """A container restarted in its Pod has the same identity."""
    api = FakeApi()
    assert await lease_of(api, "a").acquire(lambda: False)
    started = asyncio.get_running_loop().time()
    assert await lease_of(api, "a").acquire(lambda: False)
    assert asyncio.get_running_loop().time() == started


@pytest.mark.parametrize("skew_seconds", [0.0, 20.0, -20.0, 86_400.0])
async def test_renewed_lease_is_not_taken(skew_seconds: float) -> None:
    """Renewed every five seconds; the clocks of two machines may differ by more than its duration."""
    api = FakeApi()
    first, second = lease_of(api, "a"), lease_of(api, "b", skew_seconds)
    await first.acquire(lambda: False)
    renewing = asyncio.create_task(first.keep())
    loop = asyncio.get_running_loop()
    end = loop.time() + 120
    assert not await second.acquire(lambda: loop.time() > end)
    renewing.cancel()


@pytest.mark.parametrize("skew_seconds", [20.0, -86_400.0])
async def test_lease_that_is_not_renewed_is_taken_whatever_the_clocks_show(skew_seconds: float) -> None:
    """Fifteen seconds after its last change was seen."""
    api = FakeApi()
    assert await lease_of(api, "a").acquire(lambda: False)
    started = asyncio.get_running_loop().time()
    assert await lease_of(api, "b", skew_seconds).acquire(lambda: False)
    assert 15 < asyncio.get_running_loop().time() - started < 18


async def test_holder_that_finds_another_one_stops_at_once() -> None:
    """At its next renewal, not when its own time is over."""
    api = FakeApi()
    lease = lease_of(api, "a")
    await lease.acquire(lambda: False)
    assert api.lease is not None
    api.lease["spec"] |= {"holderIdentity": "b"}
    started = asyncio.get_running_loop().time()
    with pytest.raises(LeaseLostError, match="held by b"):
        await lease.keep()
    assert asyncio.get_running_loop().time() - started < 4
    with pytest.raises(LeaseLostError):
        lease.check()


@pytest.mark.parametrize("cause", ["unavailable", "hanging", "silent", "taken"])
async def test_holder_that_can_not_renew_stops_before_another_may_take_it(cause: str) -> None:
    """Ten seconds after its last renewal, five before the 15; also if the API server never answers."""
    api = FakeApi()
    lease = lease_of(api, "a")
    await lease.acquire(lambda: False)
    started = asyncio.get_running_loop().time()
    if cause == "taken":
        assert api.lease is not None
        api.lease["spec"] |= {"holderIdentity": "b", "renewTime": "2999-01-01T00:00:00.000000Z"}
    else:
        setattr(api, cause, True)
    with pytest.raises(LeaseLostError):
        await lease.keep()
    assert asyncio.get_running_loop().time() - started <= 10.01
    with pytest.raises(LeaseLostError, match="does not hold"):
        lease.check()


async def test_short_failures_do_not_cost_the_lease() -> None:
    """A renewal is tried again within its deadline."""
    api = FakeApi()
    lease = lease_of(api, "a")
    await lease.acquire(lambda: False)
    renewing = asyncio.create_task(lease.keep())
    for cause in ("unavailable", "hanging"):
        await asyncio.sleep(2.9)
        setattr(api, cause, True)
        await asyncio.sleep(5)
        setattr(api, cause, False)
        await asyncio.sleep(60)
        lease.check()
    renewing.cancel()


async def test_nothing_is_written_without_the_lease() -> None:
    """Before it is acquired, and after its deadline even if no code of this process ran meanwhile, as in a paused process."""
    api = FakeApi()
    lease = lease_of(api, "a")
    with pytest.raises(LeaseLostError):
        lease.check()
    await lease.acquire(lambda: False)
    lease.check()
    await asyncio.sleep(9.9)
    lease.check()
    await asyncio.sleep(0.2)
    with pytest.raises(LeaseLostError):
        lease.check()


async def test_process_that_stops_writes_no_more() -> None:
    """From the end of the renewals on, before it releases the Lease."""
    api = FakeApi()
    lease = lease_of(api, "a")
    await lease.acquire(lambda: False)
    renewing = asyncio.create_task(lease.keep())
    await asyncio.sleep(1)
    renewing.cancel()
    await asyncio.gather(renewing, return_exceptions=True)
    with pytest.raises(LeaseLostError):
        lease.check()


async def test_deleted_lease_is_not_taken_while_its_holder_may_write() -> None:
    """The holder does not notice the deletion before its next renewal."""
    api = FakeApi()
    first, second = lease_of(api, "a"), lease_of(api, "b")
    await first.acquire(lambda: False)
    loop = asyncio.get_running_loop()
    assert not await second.acquire(lambda: loop.time() > 5)
    api.lease = None
    deleted_at = loop.time()
    assert await second.acquire(lambda: False)
    with pytest.raises(LeaseLostError):
        first.check()
    assert loop.time() - deleted_at < 17


async def test_lease_without_a_spec_is_taken() -> None:
    """A user created it."""
    api = FakeApi()
    api.lease = {"spec": {}}
    assert await lease_of(api, "a").acquire(lambda: False)
    assert api.lease["spec"]["holderIdentity"] == "a"


@pytest.mark.promise(7)
@pytest.mark.parametrize("seed", range(4))
async def test_two_processes_never_write_at_the_same_time(seed: int) -> None:
    """Ten minutes of slow, broken and silent connections, with clocks that differ by up to a day; most of the time one works."""
    server, chance = FakeApi(), random.Random(seed)
    links = [Link(server, chance), Link(server, chance)]
    leases = [lease_of(link, name, chance.uniform(-86_400, 86_400)) for link, name in zip(links, "ab", strict=True)]
    loop = asyncio.get_running_loop()
    end = loop.time() + 600

    async def work(lease: Lease) -> None:
        while await lease.acquire(lambda: loop.time() > end):
            with contextlib.suppress(LeaseLostError, TimeoutError):
                async with asyncio.timeout(chance.expovariate(1 / 120)):
                    await lease.keep()
            if chance.random() < 0.3:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(5):
                        await lease.release()

    async def disturb(link: Link) -> None:
        while True:
            await asyncio.sleep(chance.expovariate(1 / 60))
            cause = chance.choice(["hanging", "silent", "unavailable"])
            setattr(link, cause, True)
            await asyncio.sleep(chance.expovariate(1 / 15))
            setattr(link, cause, False)

    running = [asyncio.create_task(each) for each in (*map(work, leases), *map(disturb, links))]
    writers = [0, 0, 0]
    while loop.time() < end:
        await asyncio.sleep(0.25)
        writers[sum(map(may_write, leases))] += 1
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    assert writers[2] == 0
    assert writers[1] > writers[0]


def may_write(lease: Lease) -> bool:
    """Whether a write would be admitted now."""
    try:
        lease.check()
    except LeaseLostError:
        return False
    return True


async def test_released_lease_is_taken_at_once() -> None:
    """So an update of the operator does not wait."""
    api = FakeApi()
    first = lease_of(api, "a")
    await first.acquire(lambda: False)
    await first.release()
    started = asyncio.get_running_loop().time()
    assert await lease_of(api, "b").acquire(lambda: False)
    assert asyncio.get_running_loop().time() == started
