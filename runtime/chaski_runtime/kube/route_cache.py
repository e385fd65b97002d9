"""The routes of a cluster: every ChaskiRoute whose queues the operator has created, followed by a watch.

A route is served from `status.resolved`. While the API server is unreachable, the last known routes are served.

Anyone who may create ChaskiRoutes in one namespace can make them large, so no document is kept of a route that is not served,
and the documents of one namespace that are served have a limit together.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from chaski_core.errors import InvalidRouteError
from chaski_core.ports import Clock
from chaski_core.route.loading import load_route
from chaski_core.route.model import Route
from chaski_core.route.resolved import ResolvedRoute
from chaski_core.route.resolved_document import read_resolved_values
from chaski_core.route.validation.crd import GROUP_VERSION, KIND, known_part
from chaski_runtime.kube.client import KubeApi, KubeApiError, Object, object_path
from chaski_runtime.kube.informer import Informer, Key

_log = logging.getLogger(__name__)
_PLURAL = "chaskiroutes"
_MAX_NAMESPACE_BYTES = 32 * 1024 * 1024  # of the served specs, as JSON; a usual one has 2 KB
_BY_POLICY = frozenset(("PolicyDenied", "PoliciesUnknown"))  # reasons of Accepted, see chaski_operator.policies
_DENIED = "a policy of the cluster denies the route now; its messages stay in their queues"
_RETRY_SECONDS = 30.0  # between two attempts to serve a route that was over the limit


@dataclass(frozen=True, slots=True)
class Unserved:
    """A route that exists, but can't be used now."""

    status: int  # of HTTP. 404: not accepted, or being deleted; 503: ask again
    detail: str  # why; with 404 it may quote the spec, so it is for logs and for people who may read the route
    route: Route | None = field(default=None, compare=False)  # with 503: whose producers may know it; None: all clients


@dataclass(frozen=True, slots=True)
class _RouteState:
    """The parts of a ChaskiRoute that decide whether and how it is served."""

    generation: int
    deleted: bool
    refused: str | None  # why the operator does not accept this generation
    by_policy: bool  # refused, or not accepted yet, because of the cluster's policies
    resolved: Mapping[str, Any] | None
    document: Mapping[str, Any]  # for its spec; empty if it can't be served
    digest: bytes  # of the document
    size: int  # of the document, in bytes as JSON

    def same_as(self, other: "_RouteState") -> bool:
        """Whether these parts are the same; the counts in the status, which change every minute, are not among them.

        After a restore of etcd, another spec may have a generation that was in use before.
        """
        own = (self.generation, self.deleted, self.refused, self.by_policy, self.resolved, self.digest)
        return own == (other.generation, other.deleted, other.refused, other.by_policy, other.resolved, other.digest)


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
        self._sizes: dict[str, dict[str, int]] = {}  # of the served documents, by namespace and name
        self._too_large: set[Key] = set()
        self._informers = {
            each: Informer(
                api, object_path(GROUP_VERSION, _PLURAL, each), self._observed, clock, random, on_change=self._removed
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
            tasks.create_task(self._retry_too_large())

    def _observed(self, document: Object) -> int:
        """Takes a new state of a route; returns its generation, so that the informer keeps no document."""
        state = _state_of(document)
        self._changed((document["metadata"]["namespace"], document["metadata"]["name"]), state)
        return state.generation

    def _removed(self, key: Key, generation: int | None) -> None:
        if generation is None:
            self._changed(key, None)

    async def _retry_too_large(self) -> None:
        """Reads the routes again that were over their namespace's limit; nothing else was kept of them."""
        while True:
            await asyncio.sleep(_RETRY_SECONDS)
            for key in list(self._too_large):
                if self._space(key) < self._states[key].size:
                    continue
                try:
                    document = await self._api.find(object_path(GROUP_VERSION, _PLURAL, *key))
                except KubeApiError:
                    break  # the informer logs it
                if document is not None and key in self._too_large:
                    self._states.pop(key)
                    self._observed(document)

    def _space(self, key: Key) -> int:
        """Bytes that the route's document may have, beside those of the other served routes of its namespace."""
        sizes = self._sizes.get(key[0], {})
        return _MAX_NAMESPACE_BYTES - sum(sizes.values()) + sizes.get(key[1], 0)

    def _is_listed(self, namespace: str) -> bool:
        informer = self._informers.get(None) or self._informers.get(namespace)
        return informer is None or informer.synced  # in a namespace that is not served no route exists

    def _changed(self, key: Key, state: _RouteState | None) -> None:
        before = self._states.pop(key, None)
        if state is None:
            self._drop(key)
            _log.info("%s/%s was deleted", *key)
            return
        self._states[key] = replace(state, document={})
        if before is not None and before.same_as(state):
            return
        space, served = self._space(key), self._served.get(key)
        result = _decide(state, served) if state.size <= space else _over_limit(key, state.size, space)
        size = self._sizes.get(key[0], {}).get(key[1], 0) if result is served else state.size
        self._drop(key)
        if state.size > space:
            self._too_large.add(key)
        if isinstance(result, ResolvedRoute):
            self._served[key] = result
            self._sizes.setdefault(key[0], {})[key[1]] = size
            _log.info("%s/%s is served: generation %d of its queues", *key, result.current.number)
        else:
            self._unserved[key] = result
            _log.warning("%s/%s is not served: %s", *key, result.detail)

    def _drop(self, key: Key) -> None:
        """Forgets how a route is served, or why it is not."""
        self._served.pop(key, None)
        self._unserved.pop(key, None)
        self._too_large.discard(key)
        sizes = self._sizes.get(key[0], {})
        sizes.pop(key[1], None)
        if not sizes:
            self._sizes.pop(key[0], None)


def read_route(document: Object) -> ResolvedRoute | Unserved:
    """A ChaskiRoute as it is served by a process that starts now, or why it is not."""
    return _decide(_state_of(document), None)


def _state_of(document: Object) -> _RouteState:
    metadata, status = document["metadata"], document.get("status") or {}
    generation = int(metadata.get("generation", 0))
    verdicts = [
        each
        for each in status.get("conditions") or ()
        if (each.get("type"), each.get("observedGeneration")) == ("Accepted", generation)
    ]
    refusals = [str(each.get("message", "")) for each in verdicts if each.get("status") == "False"]
    deleted, resolved = "deletionTimestamp" in metadata, status.get("resolved")
    kept: dict[str, Any] = {}
    if resolved is not None and not deleted and not refusals:
        named = {"name": metadata["name"], "namespace": metadata["namespace"]}
        kept = {"apiVersion": GROUP_VERSION, "kind": KIND, "metadata": named, "spec": document.get("spec")}
    text = orjson.dumps(kept)
    return _RouteState(
        generation,
        deleted=deleted,
        refused=refusals[0] if refusals else None,
        by_policy=any(each.get("reason") in _BY_POLICY for each in verdicts),
        resolved=resolved,
        document=kept,
        digest=hashlib.sha256(text).digest(),
        size=len(text),
    )


def _over_limit(key: Key, size: int, space: int) -> Unserved:
    limit, mib = _MAX_NAMESPACE_BYTES >> 20, size / 2**20
    return Unserved(
        503,
        f"the specs of namespace {key[0]} have more than {limit} MiB together: this one has {mib:.2f} MiB, {max(0, space) >> 20} "
        "MiB are left; shorten or remove caBundles, or move routes to other namespaces",
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
        return _refused(state, state.refused, served)
    if state.resolved is None:
        return Unserved(404, "the operator has not created the queues of the route yet")
    if state.by_policy:
        return served or Unserved(503, "the operator has not accepted the changed route yet; try again")
    try:
        return _resolve(load_route(known_part(state.document)), state, state.resolved, served)
    except InvalidRouteError as error:
        return served or Unserved(404, f"the route is invalid: {error}")


def _refused(state: _RouteState, reason: str, served: ResolvedRoute | None) -> ResolvedRoute | Unserved:
    """A route that policies deny is withdrawn, whatever was served before; its producers keep their messages and try again."""
    if state.by_policy:
        return Unserved(404 if state.resolved is None else 503, _DENIED)
    return served or Unserved(404, f"the operator does not accept the route: {reason}")


def _resolve(
    route: Route, state: _RouteState, resolved: Mapping[str, Any], served: ResolvedRoute | None
) -> ResolvedRoute | Unserved:
    if resolved.get("observedGeneration", state.generation) == state.generation:
        return read_resolved_values(route, resolved)
    if served is None:
        return Unserved(503, "the route has changed and the operator has not reconciled it yet; try again", route)
    return replace(served, route=replace(route, queues=served.route.queues))
