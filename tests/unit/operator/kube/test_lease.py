"""Leader election on a fake API server, in virtual time: two operators never write at the same time."""

import asyncio
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

    async def find(self, _path: str) -> dict[str, Any] | None:
        self._check()
        if self.lease is None:
            return None
        return {**self.lease, "spec": dict(self.lease["spec"]), "metadata": {"resourceVersion": str(self.version)}}

    async def create(self, _path: str, body: dict[str, Any]) -> dict[str, Any]:
        self._check()
        if self.lease is not None:
            raise KubeRefusedError(409, "AlreadyExists", "exists")
        return self._put(body)

    async def replace(self, _path: str, body: dict[str, Any]) -> dict[str, Any]:
        self._check()
        if body["metadata"]["resourceVersion"] != str(self.version):
            raise KubeRefusedError(409, "Conflict", "changed")
        return self._put(body)

    def _put(self, body: dict[str, Any]) -> dict[str, Any]:
        self.lease, self.version = body, self.version + 1
        return body

    def _check(self) -> None:
        if self.unavailable:
            raise KubeUnavailableError("unavailable")


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
    """At its next renewal, not a second before its own duration is over."""
    api = FakeApi()
    lease = lease_of(api, "a")
    await lease.acquire(lambda: False)
    assert api.lease is not None
    api.lease["spec"] |= {"holderIdentity": "b"}
    started = asyncio.get_running_loop().time()
    with pytest.raises(LeaseLostError, match="held by b"):
        await lease.keep()
    assert asyncio.get_running_loop().time() - started < 6


@pytest.mark.parametrize("cause", ["unavailable", "taken"])
async def test_holder_that_can_not_renew_stops_before_another_may_take_it(cause: str) -> None:
    """One second before the 15."""
    api = FakeApi()
    lease = lease_of(api, "a")
    await lease.acquire(lambda: False)
    started = asyncio.get_running_loop().time()
    if cause == "unavailable":
        api.unavailable = True
    else:
        assert api.lease is not None
        api.lease["spec"] |= {"holderIdentity": "b", "renewTime": "2999-01-01T00:00:00.000000Z"}
    with pytest.raises(LeaseLostError):
        await lease.keep()
    assert asyncio.get_running_loop().time() - started <= 15


async def test_released_lease_is_taken_at_once() -> None:
    """So an update of the operator does not wait."""
    api = FakeApi()
    first = lease_of(api, "a")
    await first.acquire(lambda: False)
    await first.release()
    started = asyncio.get_running_loop().time()
    assert await lease_of(api, "b").acquire(lambda: False)
    assert asyncio.get_running_loop().time() == started
