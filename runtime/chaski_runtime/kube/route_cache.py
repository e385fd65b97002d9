"""The routes of a cluster: every ChaskiRoute whose queues the operator has made, followed by a watch.

A route is served from `status.resolved`. While the API server is away, what is known goes on being served.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from chaski_core.errors import InvalidRouteError
from chaski_core.ports import Clock
from chaski_core.route.loading import load_route
from chaski_core.route.model import Route
from chaski_core.route.resolved import ResolvedRoute
from chaski_core.route.resolved_document import read_resolved_values
from chaski_core.route.validation.crd import GROUP_VERSION, KIND, known_part
from chaski_runtime.kube.client import KubeApi, Object, object_path
from chaski_runtime.kube.informer import Informer, Key

_log = logging.getLogger(__name__)
_PLURAL = "chaskiroutes"


@dataclass(frozen=True, slots=True)
class Unserved:
    """A route that is known, but can't be used now."""

    status: int  # as HTTP says it. 404: not accepted, or going; 503: soon
    detail: str  # why


@dataclass(frozen=True, slots=True)
class _Seen:
    """What of a ChaskiRoute decides whether and how it is served."""

    generation: int
    deleted: bool
    refused: str | None  # why the operator does not accept this generation
    resolved: Mapping[str, Any] | None
    document: Mapping[str, Any]  # for its spec; the same for the same generation

    def like(self, other: "_Seen") -> bool:
        """Whether nothing that matters has changed: the counts in the status do every minute."""
        mine = (self.generation, self.deleted, self.refused, self.resolved)
        return mine == (other.generation, other.deleted, other.refused, other.resolved)


class KubeRoutes:
    """What the API server has, for processes that serve or show it."""

    def __init__(self, api: KubeApi, namespaces: Sequence[str], clock: Clock, random: Callable[[], float]) -> None:
        """Asks nothing yet.

        Args:
            api: the API server; closed by `follow`.
            namespaces: whose routes are served; none means all.
            clock: time.
            random: a number from 0 to below 1.
        """
        self._api = api
        self._served: dict[Key, ResolvedRoute] = {}
        self._unserved: dict[Key, Unserved] = {}
        self._seen: dict[Key, _Seen] = {}
        self._mirrors = [
            Informer(api, object_path(GROUP_VERSION, _PLURAL, each), _seen_of, clock, random, on_change=self._changed)
            for each in namespaces or (None,)
        ]

    def find(self, namespace: str, name: str) -> ResolvedRoute | Unserved | None:
        """The route as it is served, why it is not, or None where there is none."""
        key = (namespace, name)
        known = self._served.get(key) or self._unserved.get(key)
        if known is None and self.trouble() is not None:
            return Unserved(503, "the routes are not known yet; ask again")
        return known

    @property
    def served(self) -> Mapping[Key, ResolvedRoute]:
        """The routes that are served, of the moment."""
        return self._served

    @property
    def unserved(self) -> Mapping[Key, Unserved]:
        """Those that are known but not served, and why."""
        return self._unserved

    def deaf(self) -> str | None:
        """Why changes are not heard of now; None while they are."""
        return next((mirror.trouble for mirror in self._mirrors if mirror.trouble is not None), None)

    def trouble(self) -> str | None:
        """Why requests should not come here: no list was read yet."""
        return None if all(mirror.synced for mirror in self._mirrors) else "the routes were not listed yet"

    async def follow(self) -> None:
        """Follows until cancelled."""
        async with self._api, asyncio.TaskGroup() as tasks:
            for mirror in self._mirrors:
                tasks.create_task(mirror.run())

    def _changed(self, key: Key, seen: _Seen | None) -> None:
        before = self._seen.pop(key, None)
        if seen is None:
            self._served.pop(key, None)
            self._unserved.pop(key, None)
            _log.info("%s/%s is gone", *key)
            return
        self._seen[key] = seen
        if before is not None and before.like(seen):
            return
        result = _judge(seen, self._served.get(key))
        self._served.pop(key, None)
        self._unserved.pop(key, None)
        if isinstance(result, ResolvedRoute):
            self._served[key] = result
            _log.info("%s/%s is served: generation %d of its queues", *key, result.current.number)
        else:
            self._unserved[key] = result
            _log.warning("%s/%s is not served: %s", *key, result.detail)


def _seen_of(document: Object) -> _Seen:
    metadata, status = document["metadata"], document.get("status") or {}
    generation = int(metadata.get("generation", 0))
    refusals = [
        str(each.get("message", ""))
        for each in status.get("conditions") or ()
        if (each.get("type"), each.get("status"), each.get("observedGeneration")) == ("Accepted", "False", generation)
    ]
    named = {"name": metadata["name"], "namespace": metadata["namespace"]}
    return _Seen(
        generation,
        deleted="deletionTimestamp" in metadata,
        refused=refusals[0] if refusals else None,
        resolved=status.get("resolved"),
        document={"apiVersion": GROUP_VERSION, "kind": KIND, "metadata": named, "spec": document.get("spec")},
    )


def _judge(seen: _Seen, served: ResolvedRoute | None) -> ResolvedRoute | Unserved:
    """What becomes of a route.

    Spec and `status.resolved` belong together only where the latter was made for the former: a subject that went to
    another queue, before the operator has fenced the old ones, would overtake itself. Until then the old map holds,
    and of the new spec all that is no map: who may send, whether ingest is suspended.
    """
    if seen.deleted:
        return Unserved(404, "the route is being deleted")
    if seen.refused is not None:
        return served or Unserved(404, f"the operator does not accept the route: {seen.refused}")
    if seen.resolved is None:
        return Unserved(404, "the operator has not made the route's queues yet")
    try:
        return _resolve(load_route(known_part(seen.document)), seen, seen.resolved, served)
    except InvalidRouteError as error:
        return served or Unserved(404, f"the route can't be used: {error}")


def _resolve(
    route: Route, seen: _Seen, resolved: Mapping[str, Any], served: ResolvedRoute | None
) -> ResolvedRoute | Unserved:
    if resolved.get("observedGeneration", seen.generation) == seen.generation:
        return read_resolved_values(route, resolved)
    if served is None:
        return Unserved(503, "the route was changed, and the operator has not followed yet; ask again")
    return replace(served, route=replace(route, queues=served.route.queues))
