"""Keeps the caches in sync with the cluster: a full list at the start and periodically, watch events in between."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

from chaski_core.ports import Clock
from chaski_core.route.validation.crd import GROUP_VERSION, KIND
from chaski_operator.kube.cache import ObjectCache, RouteCache, key_of, route_of
from chaski_operator.kube.handlers import EventHandler
from chaski_operator.kube.workqueue import Key
from chaski_operator.manifests.kinds import KINDS, Kind, Object
from chaski_operator.manifests.names import OWNED_SELECTOR
from chaski_runtime.kube.client import KubeApi, object_path

_PAGE_SIZE = 200  # objects in one response: a few hundred KiB
ROUTE = Kind(GROUP_VERSION, KIND, "chaskiroutes")


class Informers:
    """Updates both caches and enqueues the route that an event belongs to."""

    def __init__(
        self, api: KubeApi, routes: RouteCache, objects: ObjectCache, namespaces: tuple[str, ...], clock: Clock
    ) -> None:
        self._api = api
        self._routes = routes
        self._objects = objects
        self._namespaces: tuple[str | None, ...] = namespaces or (None,)
        self._clock = clock
        self._last_event_at: float | None = None  # monotonic: when a watch was last known to work
        self._events: Counter[str] = Counter()  # by kind, since the last full list
        self.enqueue: Callable[[Key], None] = lambda _: None

    def age_seconds(self) -> float | None:
        """Seconds since a watch was last known to work; None before the first time."""
        return None if self._last_event_at is None else self._clock.monotonic() - self._last_event_at

    async def refresh(self) -> set[str]:
        """Lists everything; returns the kinds that had changed since the last list without a single watch event.

        A watch that ended silently shows itself in this way (kopf issue 1276).

        Raises:
            KubeApiError: the list failed. The caches keep their content.
        """
        stale: set[str] = set()
        for namespace in self._namespaces:
            for kind in KINDS:
                listed = [each async for each in self._list(kind, namespace, labelSelector=OWNED_SELECTOR)]
                missed = {route_of(each) for each in self._objects.replace(kind, listed, namespace)}
                self._enqueue_missed(kind, missed, stale)
            listed = [each async for each in self._list(ROUTE, namespace)]
            self._enqueue_missed(ROUTE, set(self._routes.replace(listed, namespace)), stale)
        self._events.clear()
        if not stale:
            self._last_event_at = self._clock.monotonic()
        return stale

    def _enqueue_missed(self, kind: Kind, keys: set[Key], stale: set[str]) -> None:
        for key in keys:
            self.enqueue(key)
        if keys and not self._events[kind.kind]:
            stale.add(kind.kind)

    def on_route(self, type_: str | None, document: Object) -> None:
        """Handles a watch event of a ChaskiRoute."""
        self._record_event(ROUTE)
        if type_ == "DELETED":
            self._routes.remove(document)
        elif not self._routes.put(document):
            return  # the operator's own write, known already
        self.enqueue(key_of(document))

    def handler_for(self, kind: Kind) -> EventHandler:
        """The handler of watch events of the operator's objects of a kind."""

        def handle(type_: str | None, document: Object) -> None:
            self._record_event(kind)
            if type_ == "DELETED":
                self._objects.remove(kind, document)
            elif not self._objects.put(kind, document):
                return
            self.enqueue(route_of(document))

        return handle

    def _record_event(self, kind: Kind) -> None:
        self._last_event_at = self._clock.monotonic()
        self._events[kind.kind] += 1

    async def _list(self, kind: Kind, namespace: str | None, **parameters: str) -> AsyncIterator[dict[str, Any]]:
        query = {"limit": str(_PAGE_SIZE)} | parameters
        while True:
            page = await self._api.get(object_path(kind.api_version, kind.plural, namespace), **query)
            for each in page["items"]:
                yield each
            after = page["metadata"].get("continue")
            if not after:
                return
            query["continue"] = after
