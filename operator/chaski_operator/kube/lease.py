"""Leader election by a Lease: kopf has none, and two operators must never write at the same time.

As in client-go, another process's Lease counts as expired when it was not renewed for its whole duration, by this process's
monotonic clock since it last saw it change: clocks of different machines are never compared.

Not the official client's leader election (`kubernetes.aio.leaderelection` 37): it can't create a Lease (`LeaseLock.create`
passes `pretty=True`, which its own model refuses); when the API server is unreachable it ends with a bare aiohttp error and
leaves the work running; while the API server hangs it takes an expired Lease for its own; it writes local time as UTC, and
never releases the Lease.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime

from chaski_core.errors import ChaskiError
from chaski_core.ports import Clock
from chaski_operator.settings import LeaseSettings
from chaski_runtime.kube.client import KubeApi, KubeApiError, KubeRefusedError, Object, object_path

_log = logging.getLogger(__name__)
_API = "coordination.k8s.io/v1"


class LeaseLostError(ChaskiError):
    """The Lease could not be renewed in time; another process may hold it now."""


class Lease:
    """A Lease as one process acquires, renews and releases it."""

    def __init__(self, api: KubeApi, settings: LeaseSettings, clock: Clock) -> None:
        self._api = api
        self._settings = settings
        self._clock = clock
        self._collection = object_path(_API, "leases", settings.namespace)
        self._path = object_path(_API, "leases", settings.namespace, settings.name)
        self._renewed_at = 0.0  # monotonic
        self._observed = "", 0.0  # the version of another process's Lease, and since when it is known (monotonic)

    async def acquire(self, stopped: Callable[[], bool]) -> bool:
        """Waits until this process holds the Lease; False if it was stopped before."""
        logged = ""
        while not stopped():
            try:
                reason = await self._acquire_or_renew()
            except (KubeApiError, LeaseLostError) as error:
                reason = str(error)
            if reason is None:
                return True
            if reason != logged:
                _log.info("waiting for the Lease %s: %s", self._settings.name, reason)
                logged = reason
            await asyncio.sleep(min(1.0, self._settings.renew_seconds))
        return False

    async def keep(self) -> None:
        """Renews the Lease until cancelled.

        Raises:
            LeaseLostError: another process took it, or it could not be renewed in time.
        """
        while True:
            await asyncio.sleep(self._settings.renew_seconds)
            try:
                async with asyncio.timeout(self._settings.renew_seconds):
                    reason = await self._acquire_or_renew()
            except (KubeApiError, TimeoutError) as error:
                reason = str(error) or "timed out"
            except LeaseLostError as error:
                raise LeaseLostError(f"lost the Lease {self._settings.name}: {error}") from error
            age = self._clock.monotonic() - self._renewed_at
            if reason is not None:
                _log.warning("could not renew the Lease %s: %s", self._settings.name, reason)
            # A second before others may take it, so that no write in progress overlaps with theirs.
            if age > self._settings.duration_seconds - 1.0:
                raise LeaseLostError(
                    f"lost the Lease {self._settings.name}, which was not renewed for {age:.0f} s: {reason}"
                )

    async def release(self) -> None:
        """Releases the Lease so that the next process can take it at once."""
        try:
            lease = await self._api.find(self._path)
            if lease is not None and lease["spec"].get("holderIdentity") == self._settings.identity:
                lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                await self._api.replace(self._path, lease)
        except KubeApiError as error:
            _log.info("could not release the Lease: %s", error)

    async def _acquire_or_renew(self) -> str | None:
        """Takes or renews the Lease; returns the reason if that failed.

        Raises:
            LeaseLostError: another process holds it.
        """
        started = self._clock.monotonic()
        now = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC)
        try:
            lease = await self._api.find(self._path)
            if lease is None:
                metadata = {"name": self._settings.name, "namespace": self._settings.namespace}
                spec = self._spec(now, 0) | {"acquireTime": _micro(now)}
                await self._api.create(
                    self._collection, {"apiVersion": _API, "kind": "Lease", "metadata": metadata, "spec": spec}
                )
            else:
                holder = lease["spec"].get("holderIdentity") or ""
                if holder not in ("", self._settings.identity) and not self._expired(lease):
                    raise LeaseLostError(f"held by {holder}")
                lease["spec"] = self._renewed_spec(lease["spec"], holder, now)
                await self._api.replace(self._path, lease)
        except KubeRefusedError as error:
            if error.status == 409:
                return "another process acquired it first"
            raise
        self._renewed_at = started
        return None

    def _expired(self, lease: Object) -> bool:
        """Whether another process's Lease was not written for its duration."""
        now, version = self._clock.monotonic(), lease["metadata"]["resourceVersion"]
        if self._observed[0] != version:
            self._observed = version, now
        return now - self._observed[1] > float(lease["spec"].get("leaseDurationSeconds") or 0.0)

    def _renewed_spec(self, spec: Object, holder: str, now: datetime) -> Object:
        if holder == self._settings.identity:
            return spec | self._spec(now, int(spec.get("leaseTransitions", 0)))
        return spec | self._spec(now, int(spec.get("leaseTransitions", 0)) + 1) | {"acquireTime": _micro(now)}

    def _spec(self, now: datetime, transitions: int) -> Object:
        return {
            "holderIdentity": self._settings.identity,
            "leaseDurationSeconds": self._settings.duration_seconds,
            "renewTime": _micro(now),
            "leaseTransitions": transitions,
        }


def _micro(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
