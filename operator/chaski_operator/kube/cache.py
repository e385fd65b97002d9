"""What the operator has seen of its own objects in the cluster, kept up to date by watches."""

from collections.abc import Iterable, Iterator

from chaski_operator.manifests.manifests import Kind, Object
from chaski_operator.manifests.names import MANAGED_BY_LABEL, MANAGER, ROUTE_LABEL

_Key = tuple[str, str, str]  # kind, namespace, name


class OwnedObjects:
    """Objects that carry the operator's label, by route. What a write answered is put in at once."""

    def __init__(self) -> None:
        self._objects: dict[_Key, Object] = {}
        self._routes: dict[tuple[str, str], set[_Key]] = {}

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """One of them."""
        return self._objects.get((kind.kind, namespace, name))

    def of_route(self, namespace: str, route: str) -> Iterator[Object]:
        """All that carry the route's label."""
        for key in sorted(self._routes.get((namespace, route), ())):
            yield self._objects[key]

    def put(self, kind: Kind, document: Object) -> bool:
        """Notes an object as it is now; False where this or a newer state is known, or it is not ours."""
        metadata = document["metadata"]
        key = (kind.kind, metadata["namespace"], metadata["name"])
        if metadata.get("labels", {}).get(MANAGED_BY_LABEL) != MANAGER:
            self._forget(key)
            return False
        known = self._objects.get(key)
        if known is not None and _version(known) >= _version(document):
            return False
        self._forget(key)
        self._objects[key] = _slim(kind, document)
        self._routes.setdefault(_route_of(document), set()).add(key)
        return True

    def remove(self, kind: Kind, document: Object) -> None:
        """Notes that an object is gone; one of the same name that was made since stays."""
        metadata = document["metadata"]
        key = (kind.kind, metadata["namespace"], metadata["name"])
        known = self._objects.get(key)
        if known is not None and known["metadata"].get("uid") == metadata.get("uid"):
            self._forget(key)

    def replace(self, kind: Kind, documents: Iterable[Object], namespace: str | None = None) -> list[Object]:
        """Takes a listing for the whole truth of a kind; what had changed without being seen."""
        listed = list(documents)
        kept = {(kind.kind, each["metadata"]["namespace"], each["metadata"]["name"]) for each in listed}
        keys = [key for key in self._objects if key[0] == kind.kind and namespace in (None, key[1])]
        gone = [self._objects[key] for key in keys if key not in kept]
        for each in gone:
            self._forget((kind.kind, each["metadata"]["namespace"], each["metadata"]["name"]))
        return gone + [each for each in listed if self.put(kind, each)]

    def __len__(self) -> int:
        return len(self._objects)

    def _forget(self, key: _Key) -> None:
        known = self._objects.pop(key, None)
        if known is None:
            return
        route = _route_of(known)
        self._routes[route].discard(key)
        if not self._routes[route]:
            del self._routes[route]


def _route_of(document: Object) -> tuple[str, str]:
    metadata = document["metadata"]
    return metadata["namespace"], metadata.get("labels", {}).get(ROUTE_LABEL, "")


def _version(document: Object) -> int:
    text = str(document["metadata"].get("resourceVersion", "0"))
    return int(text) if text.isdigit() else 0


def _slim(kind: Kind, document: Object) -> Object:
    """Without what nobody asks for: half of an object is the list of who manages which field."""
    metadata = {name: value for name, value in document["metadata"].items() if name != "managedFields"}
    return {**document, "apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}
