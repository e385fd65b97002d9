"""The routes of a cluster: every ChaskiRoute whose queues the operator has created, followed by a watch.

A route is served from `status.resolved`. While the API server is unreachable, the last known routes are served.
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
    """A route that exists, but can't be used now."""

    status: int  # of HTTP. 404: not accepted, or being deleted; 503: ask again
    detail: str  # why


@dataclass(frozen=True, slots=True)
class _RouteState:
    """The parts of a ChaskiRoute that decide whether and how it is served."""

    generation: int
    deleted: bool
    refused: str | None  # why the operator does not accept this generation
    resolved: Mapping[str, Any] | None
    document: Mapping[str, Any]  # for its spec

    def same_as(self, other: "_RouteState") -> bool:
        """Whether these parts are the same; the counts in the status, which change every minute, are not among them.

        After a restore of etcd, another spec may have a generation that was in use before.
        """
        own = (self.generation, self.deleted, self.refused, self.resolved, self.document)
        return own == (other.generation, other.deleted, other.refused, other.resolved, other.document)


class KubeRoutes:
    """The routes of a cluster, for processes that serve or show them."""

    def __init__(self, api: KubeApi, namespaces: Sequence[str], clock: Clock, random: Callable[[], float]) -> None:
        """Makes no call yet.

        Args:
            api: the API server; closed by `follow`.
            namespaces: where the routes are; empty means all namespaces.
            clock: time.
            random: a number from 0 to below 1.
        """
        self._api = api
        self._served: dict[Key, ResolvedRoute] = {}
        self._unserved: dict[Key, Unserved] = {}
        self._states: dict[Key, _RouteState] = {}
        self._informers = {
            each: Informer(
                api, object_path(GROUP_VERSION, _PLURAL, each), _state_of, clock, random, on_change=self._changed
            )
            for each in namespaces or (None,)
        }

    def find(self, namespace: str, name: str) -> ResolvedRoute | Unserved | None:
        """The route as it is served, or why it is not; None where it does not exist."""
        key = (namespace, name)
        known = self._served.get(key) or self._unserved.get(key)
        if known is None and not self._is_listed(namespace):
            return Unserved(503, "the routes are not loaded yet; try again")
        return known

    @property
    def served(self) -> Mapping[Key, ResolvedRoute]:
        """The routes that are served now."""
        return self._served

    @property
    def unserved(self) -> Mapping[Key, Unserved]:
        """The routes that exist but are not served, and why."""
        return self._unserved

    def stale_reason(self) -> str | None:
        """Why the watch is stale; None while changes are received."""
        return next((each.error for each in self._informers.values() if each.error is not None), None)

    def unready_reason(self) -> str | None:
        """Why the routes can't be served yet; None once they can.

        A namespace that can't be listed holds up the start only until its first failure, unless it is the only one.
        """
        states = [(informer.synced, informer.error) for informer in self._informers.values()]
        is_settled = all(synced or error is not None for synced, error in states)
        return None if is_settled and any(synced for synced, _ in states) else "the routes were not listed yet"

    def unreachable_seconds(self) -> float | None:
        """How long the API server has been unreachable; 0 while it answers."""
        return self._api.reachability.unreachable_seconds()

    async def follow(self) -> None:
        """Follows until cancelled."""
        async with self._api, asyncio.TaskGroup() as tasks:
            for informer in self._informers.values():
                tasks.create_task(informer.run())

    def _is_listed(self, namespace: str) -> bool:
        informer = self._informers.get(None) or self._informers.get(namespace)
        return informer is None or informer.synced  # in a namespace that is not served no route exists

    def _changed(self, key: Key, state: _RouteState | None) -> None:
        before = self._states.pop(key, None)
        if state is None:
            self._served.pop(key, None)
            self._unserved.pop(key, None)
            _log.info("%s/%s was deleted", *key)
            return
        self._states[key] = state
        if before is not None and before.same_as(state):
            return
        result = _decide(state, self._served.get(key))
        self._served.pop(key, None)
        self._unserved.pop(key, None)
        if isinstance(result, ResolvedRoute):
            self._served[key] = result
            _log.info("%s/%s is served: generation %d of its queues", *key, result.current.number)
        else:
            self._unserved[key] = result
            _log.warning("%s/%s is not served: %s", *key, result.detail)


def _state_of(document: Object) -> _RouteState:
    metadata, status = document["metadata"], document.get("status") or {}
    generation = int(metadata.get("generation", 0))
    refusals = [
        str(each.get("message", ""))
        for each in status.get("conditions") or ()
        if (each.get("type"), each.get("status"), each.get("observedGeneration")) == ("Accepted", "False", generation)
    ]
    named = {"name": metadata["name"], "namespace": metadata["namespace"]}
    return _RouteState(
        generation,
        deleted="deletionTimestamp" in metadata,
        refused=refusals[0] if refusals else None,
        resolved=status.get("resolved"),
        document={"apiVersion": GROUP_VERSION, "kind": KIND, "metadata": named, "spec": document.get("spec")},
    )


def _decide(state: _RouteState, served: ResolvedRoute | None) -> ResolvedRoute | Unserved:
    """How a route is served, or why it is not.

    A spec is served with the `status.resolved` that the operator wrote for it. Until the operator has followed a change
    of the spec, the old queues stay in use, because a subject that moved to another queue before the operator blocked
    the old ones would overtake itself; everything else of the new spec applies at once: who may send, whether ingest is
    suspended.
    """
    if state.deleted:
        return Unserved(404, "the route is being deleted")
    if state.refused is not None:
        return served or Unserved(404, f"the operator does not accept the route: {state.refused}")
    if state.resolved is None:
        return Unserved(404, "the operator has not created the queues of the route yet")
    try:
        return _resolve(load_route(known_part(state.document)), state, state.resolved, served)
    except InvalidRouteError as error:
        return served or Unserved(404, f"the route is invalid: {error}")


def _resolve(
    route: Route, state: _RouteState, resolved: Mapping[str, Any], served: ResolvedRoute | None
) -> ResolvedRoute | Unserved:
    if resolved.get("observedGeneration", state.generation) == state.generation:
        return read_resolved_values(route, resolved)
    if served is None:
        return Unserved(503, "the route has changed and the operator has not reconciled it yet; try again")
    return replace(served, route=replace(route, queues=served.route.queues))
