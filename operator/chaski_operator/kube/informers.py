"""What the operator sees of the cluster: listed at the start and now and then, watched in between."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

from chaski_core.ports import Clock
from chaski_core.route.validation.crd import GROUP_VERSION, KIND
from chaski_operator.kube.cache import OwnedObjects
from chaski_operator.kube.handlers import Seen
from chaski_operator.kube.route_cache import Object, Routes, key_of
from chaski_operator.kube.workqueue import Key
from chaski_operator.manifests.manifests import KINDS, Kind
from chaski_operator.manifests.names import OWNED_SELECTOR, ROUTE_LABEL
from chaski_runtime.kube.client import KubeApi, object_path

_PAGE = 200  # objects of one answer: a few hundred KiB
ROUTE = Kind(GROUP_VERSION, KIND, "chaskiroutes")


class Watching:
    """Keeps `routes` and `owned` as the cluster is, and wakes the route that an event is about."""

    def __init__(
        self, api: KubeApi, routes: Routes, owned: OwnedObjects, namespaces: tuple[str, ...], clock: Clock
    ) -> None:
        self._api = api
        self._routes = routes
        self._owned = owned
        self._namespaces: tuple[str | None, ...] = namespaces or (None,)
        self._clock = clock
        self._seen_at: float | None = None  # monotonic: when a watch was last known to work
        self._events: Counter[str] = Counter()  # by kind, since the last listing
        self.wake: Callable[[Key], None] = lambda _: None

    def age_seconds(self) -> float | None:
        """Since a watch was last seen to work; None before the first time."""
        return None if self._seen_at is None else self._clock.monotonic() - self._seen_at

    async def refresh(self) -> set[str]:
        """Lists everything; the kinds of which something had changed since the last listing without any event.

        A watch that ended without a word looks like this (kopf issue 1276).

        Raises:
            KubeApiError: it could not be listed. What was known stays.
        """
        silent: set[str] = set()
        for namespace in self._namespaces:
            for kind in KINDS:
                listed = [each async for each in self._list(kind, namespace, labelSelector=OWNED_SELECTOR)]
                self._missed(kind, {_route_of(each) for each in self._owned.replace(kind, listed, namespace)}, silent)
            listed = [each async for each in self._list(ROUTE, namespace)]
            self._missed(ROUTE, set(self._routes.replace(listed, namespace)), silent)
        self._events.clear()
        if not silent:
            self._seen_at = self._clock.monotonic()
        return silent

    def _missed(self, kind: Kind, keys: set[Key], silent: set[str]) -> None:
        for key in keys:
            self.wake(key)
        if keys and not self._events[kind.kind]:
            silent.add(kind.kind)

    def on_route(self, type_: str | None, document: Object) -> None:
        """An event of a ChaskiRoute."""
        self._note(ROUTE)
        if type_ == "DELETED":
            self._routes.remove(document)
        elif not self._routes.put(document):
            return  # our own write, seen already
        self.wake(key_of(document))

    def on_kind(self, kind: Kind) -> Seen:
        """What to tell of events of our own objects of a kind."""

        def seen(type_: str | None, document: Object) -> None:
            self._note(kind)
            if type_ == "DELETED":
                self._owned.remove(kind, document)
            elif not self._owned.put(kind, document):
                return
            self.wake(_route_of(document))

        return seen

    def _note(self, kind: Kind) -> None:
        self._seen_at = self._clock.monotonic()
        self._events[kind.kind] += 1

    async def _list(self, kind: Kind, namespace: str | None, **parameters: str) -> AsyncIterator[dict[str, Any]]:
        asked = {"limit": str(_PAGE)} | parameters
        while True:
            page = await self._api.get(object_path(kind.api_version, kind.plural, namespace), **asked)
            for each in page["items"]:
                yield each
            after = page["metadata"].get("continue")
            if not after:
                return
            asked["continue"] = after


def _route_of(document: Object) -> Key:
    metadata = document["metadata"]
    return metadata["namespace"], (metadata.get("labels") or {}).get(ROUTE_LABEL, "")
