"""Caches of ChaskiRoutes and of the operator's own objects, kept up to date by watches and by the results of writes."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from chaski_operator.kube.workqueue import Key
from chaski_operator.manifests.kinds import Kind, Object
from chaski_operator.manifests.names import MANAGED_BY_LABEL, MANAGER, ROUTE_LABEL

_ObjectKey = tuple[str, str, str]  # kind, namespace, name


class RouteCache:
    """All ChaskiRoutes of the served namespaces."""

    def __init__(self) -> None:
        self._routes: dict[Key, Object] = {}

    def get(self, key: Key) -> Object | None:
        """A route; None if it does not exist."""
        return self._routes.get(key)

    def by_key(self) -> Mapping[Key, Object]:
        """All routes, as a live view."""
        return self._routes

    def __iter__(self) -> Iterator[Object]:
        return iter(list(self._routes.values()))

    def __len__(self) -> int:
        return len(self._routes)

    def put(self, document: Object) -> bool:
        """Stores the current state of a route; False if this or a newer state is known already."""
        key = key_of(document)
        known = self._routes.get(key)
        if known is not None and version_of(known) >= version_of(document):
            return False
        self._routes[key] = without_managed_fields(document)
        return True

    def remove(self, document: Object) -> None:
        """Removes a deleted route; a newer route of the same name stays."""
        key = key_of(document)
        known = self._routes.get(key)
        if known is not None and known["metadata"]["uid"] == document["metadata"]["uid"]:
            del self._routes[key]

    def replace(self, documents: Iterable[Object], namespace: str | None = None) -> list[Key]:
        """Replaces the content with a full list; returns the keys of changes that no event had reported."""
        listed = list(documents)
        kept = {key_of(each) for each in listed}
        deleted = [key for key in self._routes if namespace in (None, key[0]) and key not in kept]
        for key in deleted:
            del self._routes[key]
        return deleted + [key_of(each) for each in listed if self.put(each)]


class ObjectCache:
    """Objects that carry the operator's label, by kind and name and by route."""

    def __init__(self) -> None:
        self._objects: dict[_ObjectKey, Object] = {}
        self._routes: dict[tuple[str, str], set[_ObjectKey]] = {}

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """An object; None if it is not known."""
        return self._objects.get((kind.kind, namespace, name))

    def of_route(self, namespace: str, route: str) -> Iterator[Object]:
        """All objects that carry the route's label."""
        for key in sorted(self._routes.get((namespace, route), ())):
            yield self._objects[key]

    def put(self, kind: Kind, document: Object) -> bool:
        """Stores the current state of an object; False if this or a newer state is known, or it is not the operator's."""
        metadata = document["metadata"]
        key = (kind.kind, metadata["namespace"], metadata["name"])
        if metadata.get("labels", {}).get(MANAGED_BY_LABEL) != MANAGER:
            self._forget(key)
            return False
        known = self._objects.get(key)
        if known is not None and version_of(known) >= version_of(document):
            return False
        self._forget(key)
        self._objects[key] = without_managed_fields(document) | {"apiVersion": kind.api_version, "kind": kind.kind}
        self._routes.setdefault(route_of(document), set()).add(key)
        return True

    def remove(self, kind: Kind, document: Object) -> None:
        """Removes a deleted object; a newer object of the same name stays."""
        metadata = document["metadata"]
        key = (kind.kind, metadata["namespace"], metadata["name"])
        known = self._objects.get(key)
        if known is not None and known["metadata"].get("uid") == metadata.get("uid"):
            self._forget(key)

    def replace(self, kind: Kind, documents: Iterable[Object], namespace: str | None = None) -> list[Object]:
        """Replaces all objects of a kind with a full list; returns the changes that no event had reported."""
        listed = list(documents)
        kept = {(kind.kind, each["metadata"]["namespace"], each["metadata"]["name"]) for each in listed}
        keys = [key for key in self._objects if key[0] == kind.kind and namespace in (None, key[1])]
        deleted = [self._objects[key] for key in keys if key not in kept]
        for each in deleted:
            self._forget((kind.kind, each["metadata"]["namespace"], each["metadata"]["name"]))
        return deleted + [each for each in listed if self.put(kind, each)]

    def __len__(self) -> int:
        return len(self._objects)

    def _forget(self, key: _ObjectKey) -> None:
        known = self._objects.pop(key, None)
        if known is None:
            return
        route = route_of(known)
        self._routes[route].discard(key)
        if not self._routes[route]:
            del self._routes[route]


def key_of(document: Mapping[str, Any]) -> Key:
    """Namespace and name of a route."""
    return document["metadata"]["namespace"], document["metadata"]["name"]


def route_of(document: Mapping[str, Any]) -> Key:
    """Namespace and name of the route that an object belongs to, by its label."""
    metadata = document["metadata"]
    return metadata["namespace"], (metadata.get("labels") or {}).get(ROUTE_LABEL, "")


def version_of(document: Mapping[str, Any]) -> int:
    """The `resourceVersion` as a number, by which two states of an object are compared; 0 if it is not one."""
    text = str(document["metadata"].get("resourceVersion", "0"))
    return int(text) if text.isdigit() else 0


def without_managed_fields(document: Object) -> Object:
    """The object without the list of its field managers, which is half of its size and never used."""
    metadata = {name: value for name, value in document["metadata"].items() if name != "managedFields"}
    return {**document, "metadata": metadata}
