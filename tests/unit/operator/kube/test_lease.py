"""Two operators never write at the same time: the Lease, on a fake API server and virtual time."""

import asyncio
from typing import Any

import pytest

from chaski_operator.kube.lease import Lease, LeaseLostError
from chaski_operator.settings import LeaseSettings
from chaski_runtime.kube.client import KubeRefusedError, KubeUnavailableError
from support.worker.memory_backend import LoopClock

pytestmark = pytest.mark.looptime


class FakeApi:
    """One Lease, with the API server's rule that a write needs the version of now."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.away = False

    async def find(self, _path: str) -> dict[str, Any] | None:
        """The Lease."""
        self._check()
        if self.lease is None:
            return None
        return {**self.lease, "spec": dict(self.lease["spec"]), "metadata": {"resourceVersion": str(self.version)}}

    async def create(self, _path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Makes it."""
        self._check()
        if self.lease is not None:
            raise KubeRefusedError(409, "AlreadyExists", "there")
        return self._put(body)

    async def replace(self, _path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Writes it."""
        self._check()
        if body["metadata"]["resourceVersion"] != str(self.version):
            raise KubeRefusedError(409, "Conflict", "changed")
        return self._put(body)

    def _put(self, body: dict[str, Any]) -> dict[str, Any]:
        self.lease, self.version = body, self.version + 1
        return body

    def _check(self) -> None:
        if self.away:
            raise KubeUnavailableError("away")


def lease_of(api: FakeApi, identity: str) -> Lease:
    """A Lease of one process."""
    return Lease(api, LeaseSettings("ns", identity=identity), LoopClock())  # type: ignore[arg-type]  # the calls used


async def test_the_second_one_waits_until_the_first_is_dead_for_a_while() -> None:
    """15 s without a renewal."""
    api = FakeApi()
    assert await lease_of(api, "a").acquire(lambda: False)
    begun = asyncio.get_running_loop().time()
    assert await lease_of(api, "b").acquire(lambda: False)
    assert 15 < asyncio.get_running_loop().time() - begun < 18
    assert api.lease is not None
    assert (api.lease["spec"]["holderIdentity"], api.lease["spec"]["leaseTransitions"]) == ("b", 1)


async def test_one_that_comes_back_under_the_same_name_goes_on_at_once() -> None:
    """A container that was started again in its Pod."""
    api = FakeApi()
    assert await lease_of(api, "a").acquire(lambda: False)
    begun = asyncio.get_running_loop().time()
    assert await lease_of(api, "a").acquire(lambda: False)
    assert asyncio.get_running_loop().time() == begun


async def test_a_lease_that_is_kept_is_not_taken() -> None:
    """Renewed every five seconds."""
    api = FakeApi()
    first, second = lease_of(api, "a"), lease_of(api, "b")
    await first.acquire(lambda: False)
    keeping = asyncio.create_task(first.keep())
    loop = asyncio.get_running_loop()
    end = loop.time() + 120
    assert not await second.acquire(lambda: loop.time() > end)
    keeping.cancel()


@pytest.mark.parametrize("cause", ["away", "taken"])
async def test_one_that_can_not_renew_stops_before_another_may_take_it(cause: str) -> None:
    """A second before the 15."""
    api = FakeApi()
    lease = lease_of(api, "a")
    await lease.acquire(lambda: False)
    begun = asyncio.get_running_loop().time()
    if cause == "away":
        api.away = True
    else:
        assert api.lease is not None
        api.lease["spec"] |= {"holderIdentity": "b", "renewTime": "2999-01-01T00:00:00.000000Z"}
    with pytest.raises(LeaseLostError):
        await lease.keep()
    assert asyncio.get_running_loop().time() - begun <= 15


async def test_a_lease_that_is_given_back_is_taken_at_once() -> None:
    """An update of the operator costs no waiting."""
    api = FakeApi()
    first = lease_of(api, "a")
    await first.acquire(lambda: False)
    await first.release()
    begun = asyncio.get_running_loop().time()
    assert await lease_of(api, "b").acquire(lambda: False)
    assert asyncio.get_running_loop().time() == begun
