"""The Lease that is held while the operator writes: kopf has no leader election, and two operators must never write."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from chaski_core.errors import ChaskiError
from chaski_core.ports import Clock
from chaski_operator.settings import LeaseSettings
from chaski_runtime.kube.client import KubeApi, KubeApiError, KubeRefusedError, object_path

_log = logging.getLogger(__name__)
_API = "coordination.k8s.io/v1"


class LeaseLostError(ChaskiError):
    """The Lease could not be renewed in time: another process may be writing by now."""


class Lease:
    """One Lease of one process."""

    def __init__(self, api: KubeApi, settings: LeaseSettings, clock: Clock) -> None:
        self._api = api
        self._settings = settings
        self._clock = clock
        self._collection = object_path(_API, "leases", settings.namespace)
        self._path = object_path(_API, "leases", settings.namespace, settings.name)
        self._renewed = 0.0  # monotonic

    async def acquire(self, stopped: Callable[[], bool]) -> bool:
        """Waits until the Lease is ours; False if it was stopped before."""
        told = ""
        while not stopped():
            try:
                reason = await self._try()
            except KubeApiError as error:
                reason = str(error)
            if reason is None:
                return True
            if reason != told:
                _log.info("waiting for the Lease %s: %s", self._settings.name, reason)
                told = reason
            await asyncio.sleep(min(1.0, self._settings.renew_seconds))
        return False

    async def keep(self) -> None:
        """Renews it until cancelled.

        Raises:
            LeaseLostError: it was taken, or could not be renewed in time.
        """
        while True:
            await asyncio.sleep(self._settings.renew_seconds)
            try:
                async with asyncio.timeout(self._settings.renew_seconds):
                    reason = await self._try()
            except (KubeApiError, TimeoutError) as error:
                reason = str(error) or "no answer"
            age = self._clock.monotonic() - self._renewed
            if reason is not None:
                _log.warning("the Lease %s was not renewed: %s", self._settings.name, reason)
            # A second before others may take it: nothing that is under way then may still write.
            if age > self._settings.duration_seconds - 1.0:
                raise LeaseLostError(f"the Lease {self._settings.name} was not renewed for {age:.0f} s: {reason}")

    async def release(self) -> None:
        """Lets the next one take it at once."""
        try:
            lease = await self._api.find(self._path)
            if lease is not None and lease["spec"].get("holderIdentity") == self._settings.identity:
                lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                await self._api.replace(self._path, lease)
        except KubeApiError as error:
            _log.info("the Lease was not released: %s", error)

    async def _try(self) -> str | None:
        """Takes or renews it; else why not."""
        begun = self._clock.monotonic()
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
                if holder not in ("", self._settings.identity) and not _expired(lease["spec"], now):
                    return f"{holder} holds it"
                lease["spec"] = self._renewed_spec(lease["spec"], holder, now)
                await self._api.replace(self._path, lease)
        except KubeRefusedError as error:
            if error.status == 409:
                return "another process was faster"
            raise
        self._renewed = begun
        return None

    def _renewed_spec(self, spec: dict[str, Any], holder: str, now: datetime) -> dict[str, Any]:
        if holder == self._settings.identity:
            return spec | self._spec(now, int(spec.get("leaseTransitions", 0)))
        return spec | self._spec(now, int(spec.get("leaseTransitions", 0)) + 1) | {"acquireTime": _micro(now)}

    def _spec(self, now: datetime, transitions: int) -> dict[str, Any]:
        return {
            "holderIdentity": self._settings.identity,
            "leaseDurationSeconds": self._settings.duration_seconds,
            "renewTime": _micro(now),
            "leaseTransitions": transitions,
        }


def _expired(spec: dict[str, Any], now: datetime) -> bool:
    try:
        renewed = datetime.fromisoformat(spec["renewTime"])
        return now > renewed + timedelta(seconds=int(spec["leaseDurationSeconds"]))
    except (KeyError, TypeError, ValueError):
        return True


def _micro(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
