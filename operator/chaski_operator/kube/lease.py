"""Leader election by a Lease: kopf has none, and two operators must never write at the same time.

As in client-go, another process's Lease counts as expired when it was not renewed for its whole duration, by this process's
monotonic clock since it last saw it change: clocks of different machines are never compared. The holder gives up at its
renew deadline, before that: time for what it has sent to arrive. Until then `check` admits each write; it reads the clock,
so that a process that was paused writes nothing when it goes on.

Not the official client's leader election (`kubernetes.aio.leaderelection` 37): it can't create a Lease (`LeaseLock.create`
passes `pretty=True`, which its own model refuses); when the API server is unreachable it ends with a bare aiohttp error and
leaves the work running; while the API server hangs it takes an expired Lease for its own; it writes local time as UTC, and
never releases the Lease.
"""

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from chaski_core.errors import ChaskiError
from chaski_core.ports import Clock
from chaski_operator.settings import LeaseSettings
from chaski_runtime.kube.client import KubeApi, KubeApiError, KubeRefusedError, Object, object_path

_log = logging.getLogger(__name__)
_API = "coordination.k8s.io/v1"
_RETRY_SECONDS = 1.0  # between two attempts, at most
_CONFLICT = "another process wrote it first"
_NO_ANSWER = "the API server did not answer in time"


class LeaseLostError(ChaskiError):
    """This process does not hold the Lease, so it must not write; another process may hold it."""


@dataclass(frozen=True, slots=True)
class _Observed:
    """The Lease of another process, as it last changed."""

    spec: Object
    expires: float  # monotonic, by the time at which the change was seen


class Lease:
    """A Lease as one process acquires, renews and releases it."""

    def __init__(self, api: KubeApi, settings: LeaseSettings, clock: Clock) -> None:
        """Makes no call yet.

        Args:
            api: its calls must time out several times within the renew deadline: each attempt is a new connection then.
            settings: of the Lease.
            clock: time.
        """
        self._api = api
        self._settings = settings
        self._clock = clock
        self._collection = object_path(_API, "leases", settings.namespace)
        self._path = object_path(_API, "leases", settings.namespace, settings.name)
        self._renewed_at = -math.inf  # monotonic
        self._deadline = -math.inf  # monotonic: no write from then on
        self._observed: _Observed | None = None

    def check(self) -> None:
        """Admits a write, from any thread.

        Raises:
            LeaseLostError: the Lease is not held, or its renew deadline has passed.
        """
        if self._clock.monotonic() >= self._deadline:
            raise LeaseLostError(f"this process does not hold the Lease {self._settings.name}; it writes nothing")

    async def acquire(self, stopped: Callable[[], bool]) -> bool:
        """Waits until this process holds the Lease; False if it was stopped before."""
        logged = ""
        while not stopped():
            try:
                async with asyncio.timeout(self._settings.deadline_seconds):
                    reason = await self._acquire_or_renew()
            except (KubeApiError, LeaseLostError, TimeoutError) as error:
                reason = str(error) or _NO_ANSWER
            if reason is None:
                return True
            if reason != logged:
                _log.info("waiting for the Lease %s: %s", self._settings.name, reason)
                logged = reason
            await asyncio.sleep(min(_RETRY_SECONDS, self._settings.renew_seconds))
        return False

    async def keep(self) -> None:
        """Renews the Lease until cancelled; `check` admits no write once this has ended.

        Raises:
            LeaseLostError: another process took it, or it could not be renewed in time.
        """
        try:
            while True:
                await asyncio.sleep(self._settings.renew_seconds)
                await self._renew()
        finally:
            self._deadline = -math.inf

    async def release(self) -> None:
        """Releases the Lease so that the next process can take it at once. Call it after the last write has ended."""
        try:
            lease = await self._api.find(self._path)
            if lease is not None and _spec_of(lease).get("holderIdentity") == self._settings.identity:
                lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                await self._api.replace(self._path, lease)
        except KubeApiError as error:
            _log.info("could not release the Lease: %s", error)

    async def _renew(self) -> None:
        """Renews the Lease, with several attempts if need be.

        Raises:
            LeaseLostError: another process holds it, or the deadline has passed.
        """
        name, reason = self._settings.name, _NO_ANSWER
        try:
            async with asyncio.timeout(self._deadline - self._clock.monotonic()):
                while True:
                    try:
                        failure = await self._acquire_or_renew()
                    except KubeApiError as error:
                        failure = str(error)
                    if failure is None:
                        return
                    reason = failure
                    _log.warning("could not renew the Lease %s: %s", name, reason)
                    pause = min(_RETRY_SECONDS, self._settings.renew_seconds / 2)
                    await asyncio.sleep(0.0 if failure == _CONFLICT else pause)  # whose it is now is in the next answer
        except TimeoutError:
            age = self._clock.monotonic() - self._renewed_at
            raise LeaseLostError(f"lost the Lease {name}, which was not renewed for {age:.0f} s: {reason}") from None
        except LeaseLostError as error:
            raise LeaseLostError(f"lost the Lease {name}: {error}") from error

    async def _acquire_or_renew(self) -> str | None:
        """Takes or renews the Lease; returns the reason if that failed.

        Raises:
            LeaseLostError: another process holds it.
        """
        started = self._clock.monotonic()
        now = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC)
        try:
            lease = await self._api.find(self._path)
            self._check_other(lease)
            if lease is None:
                metadata = {"name": self._settings.name, "namespace": self._settings.namespace}
                spec = self._spec(now, 0) | {"acquireTime": _micro(now)}
                await self._api.create(
                    self._collection, {"apiVersion": _API, "kind": "Lease", "metadata": metadata, "spec": spec}
                )
            else:
                lease["spec"] = self._renewed_spec(_spec_of(lease), now)
                await self._api.replace(self._path, lease)
        except KubeRefusedError as error:
            if error.status == 409:
                return _CONFLICT
            raise
        self._renewed_at, self._deadline = started, started + self._settings.deadline_seconds
        self._observed = None
        return None

    def _check_other(self, lease: Object | None) -> None:
        """Raises LeaseLostError while another process may hold the Lease, even if it was deleted meanwhile."""
        now, known = self._clock.monotonic(), self._observed
        if lease is not None:
            spec = _spec_of(lease)
            if (spec.get("holderIdentity") or "") in ("", self._settings.identity):
                self._observed = None
                return
            if known is None or known.spec != spec:
                duration = float(spec.get("leaseDurationSeconds") or self._settings.duration_seconds)
                known = self._observed = _Observed(spec, now + duration)
        if known is not None and now <= known.expires:
            holder = known.spec["holderIdentity"]
            raise LeaseLostError(f"held by {holder}" if lease is not None else f"deleted, but {holder} may still write")

    def _renewed_spec(self, spec: Object, now: datetime) -> Object:
        transitions = int(spec.get("leaseTransitions") or 0)
        if spec.get("holderIdentity") == self._settings.identity:
            return spec | self._spec(now, transitions)
        return spec | self._spec(now, transitions + 1) | {"acquireTime": _micro(now)}

    def _spec(self, now: datetime, transitions: int) -> Object:
        return {
            "holderIdentity": self._settings.identity,
            "leaseDurationSeconds": self._settings.duration_seconds,
            "renewTime": _micro(now),
            "leaseTransitions": transitions,
        }


def _spec_of(lease: Object) -> Object:
    spec: Object = lease.get("spec") or {}  # a user may have created it empty
    return spec


def _micro(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
