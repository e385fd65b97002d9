"""The ChaskiRoutes that the operator has seen, kept up to date by a watch."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from chaski_operator.kube.workqueue import Key

Object = dict[str, Any]


class Routes:
    """All routes of the served namespaces. What a write answered is put in at once."""

    def __init__(self) -> None:
        self._routes: dict[Key, Object] = {}

    def get(self, key: Key) -> Object | None:
        """One of them."""
        return self._routes.get(key)

    def by_key(self) -> Mapping[Key, Object]:
        """All of them, of the moment."""
        return self._routes

    def __iter__(self) -> Iterator[Object]:
        return iter(list(self._routes.values()))

    def __len__(self) -> int:
        return len(self._routes)

    def put(self, document: Object) -> bool:
        """Notes a route as it is now; False where this or a newer state is known."""
        key = key_of(document)
        known = self._routes.get(key)
        if known is not None and _version(known) >= _version(document):
            return False
        metadata = {name: value for name, value in document["metadata"].items() if name != "managedFields"}
        self._routes[key] = {**document, "metadata": metadata}
        return True

    def remove(self, document: Object) -> None:
        """Notes that a route is gone; one of the same name that was made since stays."""
        key = key_of(document)
        known = self._routes.get(key)
        if known is not None and known["metadata"]["uid"] == document["metadata"]["uid"]:
            del self._routes[key]

    def replace(self, documents: Iterable[Object], namespace: str | None = None) -> list[Key]:
        """Takes a listing for the whole truth; the keys of what had changed without being seen."""
        listed = list(documents)
        kept = {key_of(each) for each in listed}
        gone = [key for key in self._routes if namespace in (None, key[0]) and key not in kept]
        for key in gone:
            del self._routes[key]
        return gone + [key_of(each) for each in listed if self.put(each)]


def key_of(document: Object) -> Key:
    """Namespace and name."""
    return document["metadata"]["namespace"], document["metadata"]["name"]


def _version(document: Object) -> int:
    text = str(document["metadata"].get("resourceVersion", "0"))
    return int(text) if text.isdigit() else 0
