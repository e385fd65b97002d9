"""This installation: its name, and the routes that it serves.

A route is served by the one installation that `status.installation` names, so that two operators of the same namespaces never
answer each other's writes. The name is written once, under the condition that the route has not changed since it was read:
of two operators that see a new route at once, one is refused. No server-side apply of the status contains it.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from chaski_aws.provision.errors import ProvisionError
from chaski_core.errors import ChaskiError
from chaski_core.ports import Clock
from chaski_operator.kube.cache import ObjectCache, key_of
from chaski_operator.kube.events import NORMAL, Event, post_events
from chaski_operator.kube.status import rfc3339
from chaski_operator.kube.workqueue import Key
from chaski_operator.manifests.kinds import ROUTE, Object
from chaski_runtime.kube.client import KubeApi, KubeApiError, KubeRefusedError, object_path

_log = logging.getLogger(__name__)

_NAMESPACE = "kube-system"
_ATTEMPTS = 3
#: For which a route whose queues carry another installation's tags is left to that one.
GRACE_SECONDS = 30.0


class InstallationUnknownError(ChaskiError):
    """The installation is unknown, so nothing may be created on AWS: its owner could not be tagged."""


async def installation_of(api: KubeApi) -> str:
    """The UID of the Namespace kube-system, which identifies a cluster for its whole life.

    Raises:
        InstallationUnknownError: the Namespace can't be read. No other name is substituted.
    """
    try:
        namespace = await api.get(object_path("v1", "namespaces", None, _NAMESPACE))
    except KubeApiError as error:
        reason = f"can't read the Namespace {_NAMESPACE}, whose UID is the installation's default name: {error}"
        raise InstallationUnknownError(f"{reason}; allow get on it, or set --installation") from error
    return str(namespace["metadata"]["uid"])


# ---- which installation serves a route


def serving_installation(route: Mapping[str, Any]) -> str | None:
    """The installation that serves a route; None: none has claimed it yet."""
    named: str | None = (route.get("status") or {}).get("installation")
    return named


class Claim(Enum):
    """What an operator may do with a route."""

    OURS = auto()  # everything
    ANOTHERS = auto()  # nothing
    TAKE = auto()  # write its name into the status, then everything
    WAIT = auto()  # nothing yet: another installation, whose tags the queues carry, is expected to claim it
    REPORT = auto()  # report the fault, but not claim it: its queues are another installation's, or are unknown


def claim_of(route: Mapping[str, Any], own: str, tagged: frozenset[str] | None, seconds: float) -> Claim:
    """What the installation `own` may do with a route. Pure.

    Args:
        route: the ChaskiRoute.
        own: name of this installation.
        tagged: the installations whose tags its queues and its table carry; None: they could not be read.
        seconds: since this process knows that the route is unclaimed.
    """
    named = serving_installation(route)
    if named is not None:
        return Claim.OURS if named == own else Claim.ANOTHERS
    if tagged is None:  # of a route that was never provisioned there is nothing to know
        is_known = "resolved" in (route.get("status") or {}) or "deletionTimestamp" in route["metadata"]
        return Claim.REPORT if is_known else Claim.TAKE
    if not tagged or own in tagged:
        return Claim.TAKE
    return Claim.WAIT if seconds < GRACE_SECONDS else Claim.REPORT


@dataclass(slots=True)
class _Left:
    """A route that another installation serves."""

    uid: str
    installation: str


class Installation:
    """The name of this installation, once it is known, and its claims to routes."""

    def __init__(self, api: KubeApi, cache: ObjectCache, clock: Clock, identity: str) -> None:
        """Makes no call yet.

        Args:
            api: the API server.
            cache: in which claimed routes are stored.
            clock: time.
            identity: of this process, for events.
        """
        self._api = api
        self._cache = cache
        self._clock = clock
        self._identity = identity
        #: Empty until it is known; to be set before the first claim.
        self.name = ""
        self._unclaimed: dict[Key, float] = {}  # since when, monotonic
        self._left: dict[Key, _Left] = {}

    def leaves(self, route: Mapping[str, Any]) -> bool:
        """Whether another installation serves the route."""
        return serving_installation(route) not in (None, self.name)

    def left(self) -> dict[tuple[str, ...], int]:
        """Values of the gauge: 1 for each route that is left alone, by namespace, route and installation."""
        return {(*key, each.installation): 1 for key, each in self._left.items()}

    def forget(self, key: Key) -> None:
        """Drops a deleted route."""
        self._unclaimed.pop(key, None)
        self._left.pop(key, None)

    async def claim(self, route: Object, owners: Callable[[Object], Awaitable[frozenset[str]]]) -> tuple[Claim, Object]:
        """What may be done with a route, never `TAKE`; claims it if it is unclaimed; returns its current state too.

        Args:
            route: the ChaskiRoute.
            owners: reads the installations whose tags its queues and its table carry; raises ProvisionError.

        Raises:
            KubeApiError: the claim could not be written.
        """
        key = key_of(route)
        since = self._unclaimed.setdefault(key, self._clock.monotonic())
        tagged: frozenset[str] | None = frozenset()
        if serving_installation(route) is None:
            try:
                tagged = await owners(route)
            except ProvisionError:
                tagged = None
        claim = claim_of(route, self.name, tagged, self._clock.monotonic() - since)
        if claim is Claim.TAKE:
            route = await self._take(key, route)
            claim = Claim.ANOTHERS if self.leaves(route) else Claim.OURS
        if claim is Claim.OURS:
            self.forget(key)
        elif claim is Claim.ANOTHERS:
            self._unclaimed.pop(key, None)
            await self._report(key, route)
        return claim, route

    async def _take(self, key: Key, route: Object) -> Object:
        """Writes the name into the status, unless another installation was faster; returns the route's current state."""
        path = object_path(ROUTE.api_version, ROUTE.plural, *key)
        for attempt in range(1, _ATTEMPTS + 1):
            metadata = {name: route["metadata"][name] for name in ("uid", "resourceVersion")}
            body = {"metadata": metadata, "status": {"installation": self.name}}
            try:
                route = await self._api.merge_patch(f"{path}/status", body)
                break
            except KubeRefusedError as error:
                if error.status != 409 or attempt == _ATTEMPTS:
                    raise
            route = await self._api.get(path)  # it has changed
            if serving_installation(route) is not None:
                break
        self._cache.put(ROUTE, route)
        return route

    async def _report(self, key: Key, route: Object) -> None:
        """Logs that a route is left alone, and posts an event, once for each route and installation."""
        left = _Left(route["metadata"]["uid"], str(serving_installation(route)))
        if self._left.get(key) == left:
            return
        self._left[key] = left
        message = (
            f'served by the installation "{left.installation}", so the installation "{self.name}" leaves it alone; to hand '
            "it over see docs/operator.md#two-installations"
        )
        _log.info("%s/%s: %s", *key, message)
        now, event = rfc3339(self._clock.now_ms() / 1000), Event(NORMAL, "ServedByAnother", message)
        await post_events(self._api, route["metadata"], [event], now=now, identity=self._identity)
