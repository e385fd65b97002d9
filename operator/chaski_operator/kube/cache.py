"""The objects that the operator follows, kept up to date by watches, listings and the results of its own writes.

kopf's index is not used for this: only watches may write to it, so a reconciliation could act on a state from before its
own write, and an object that was deleted while a watch was interrupted would stay in it.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from chaski_operator.kube.workqueue import Key
from chaski_operator.manifests.kinds import KINDS, POD, Kind, Object
from chaski_operator.manifests.names import ROUTE_LABEL

_MAX_REMOVED = 1_000  # uids of each kind
_POD_METADATA = ("name", "namespace", "uid", "resourceVersion", "labels", "deletionTimestamp")


@dataclass(frozen=True, slots=True)
class Listing:
    """A listing in progress."""

    kind: Kind
    namespace: str | None  # None: all
    newer: set[Key] = field(default_factory=set)  # objects whose current state became known after its start


class ObjectCache:
    """Objects by kind and name, and by kind and the route whose label they carry."""

    def __init__(self) -> None:
        self._objects: dict[Kind, dict[Key, Object]] = {}
        self._names: dict[tuple[Kind, Key], set[str]] = {}  # of the objects of a route
        self._listings: list[Listing] = []
        self._removed: dict[Kind, dict[str, None]] = {}  # uids of the objects that were removed last, oldest first

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """An object; None if it is not known."""
        return self._objects.get(kind, {}).get((namespace, name))

    def by_key(self, kind: Kind) -> Mapping[Key, Object]:
        """All objects of a kind, as a live view."""
        return self._objects.setdefault(kind, {})

    def of_route(self, kind: Kind, namespace: str, route: str) -> list[Object]:
        """The objects of a kind that carry the route's label, by name."""
        names = sorted(self._names.get((kind, (namespace, route)), ()))
        return [self._objects[kind][namespace, name] for name in names]

    def owned(self, namespace: str, route: str) -> list[Object]:
        """The objects of all kinds that the operator creates and that carry the route's label."""
        return [each for kind in KINDS for each in self.of_route(kind, namespace, route)]

    def put(self, kind: Kind, document: Object) -> bool:
        """Stores a state of an object from a watch or a write; False if this or a newer state is known already.

        A watch may lag behind the operator's own writes, so an older state is ignored. So is any state of an object that
        was deleted: the response of a write, or kopf's own listing, may arrive after the event of the deletion.
        """
        known = self.get(kind, *key_of(document))
        if known is not None and version_number(known) >= version_number(document):
            return False
        if document["metadata"].get("uid") in self._removed.get(kind, ()):
            return False
        self._store(kind, document)
        return True

    def remove(self, kind: Kind, document: Object) -> None:
        """Removes a deleted object; another object of the same name stays."""
        self._remember_removed(kind, document)
        known = self.get(kind, *key_of(document))
        if known is None or known["metadata"].get("uid") == document["metadata"].get("uid"):
            self._forget(kind, key_of(document))

    @contextmanager
    def listing(self, kind: Kind, namespace: str | None) -> Iterator[Listing]:
        """Marks the time of a listing's requests: changes that become known meanwhile are newer than its response."""
        listing = Listing(kind, namespace)
        self._listings.append(listing)
        try:
            yield listing
        finally:
            self._listings.remove(listing)

    def replace(self, listing: Listing, documents: Iterable[Object]) -> list[Object]:
        """Sets the content to that of a listing; returns the objects that it added, changed or removed.

        Any difference counts, also to a lower version: an API server whose etcd was restored returns such.
        """
        kind, newer, known = listing.kind, frozenset(listing.newer), self.by_key(listing.kind)
        listed = {key_of(each): each for each in documents}
        changed = [
            each for key, each in listed.items() if key not in newer and _version(known.get(key)) != _version(each)
        ]
        removed = [
            each
            for key, each in known.items()
            if listing.namespace in (None, key[0]) and key not in listed and key not in newer
        ]
        for each in removed:
            self._remember_removed(kind, each)
            self._forget(kind, key_of(each))
        for each in changed:
            self._removed.get(kind, {}).pop(each["metadata"].get("uid", ""), None)  # etcd was restored
            self._store(kind, each)
        return removed + changed

    def _remember_removed(self, kind: Kind, document: Object) -> None:
        uids = self._removed.setdefault(kind, {})
        uids[str(document["metadata"].get("uid", ""))] = None
        if len(uids) > _MAX_REMOVED:
            del uids[next(iter(uids))]

    def _store(self, kind: Kind, document: Object) -> None:
        key = key_of(document)
        self._forget(kind, key)
        self._objects.setdefault(kind, {})[key] = used_part(kind, document)
        self._names.setdefault((kind, route_of(document)), set()).add(key[1])

    def _forget(self, kind: Kind, key: Key) -> None:
        for listing in self._listings:
            if listing.kind == kind:
                listing.newer.add(key)
        known = self._objects.get(kind, {}).pop(key, None)
        if known is None:
            return
        place = (kind, route_of(known))
        self._names[place].discard(key[1])
        if not self._names[place]:
            del self._names[place]


def key_of(document: Mapping[str, Any]) -> Key:
    """Namespace and name of an object."""
    return document["metadata"]["namespace"], document["metadata"]["name"]


def route_of(document: Mapping[str, Any]) -> Key:
    """Namespace and name of the route that an object belongs to, by its label."""
    metadata = document["metadata"]
    return metadata["namespace"], (metadata.get("labels") or {}).get(ROUTE_LABEL, "")


def used_part(kind: Kind, document: Object) -> Object:
    """The part of an object that is cached: the field managers alone are half of its size, and most of a Pod is not used."""
    head = {"apiVersion": kind.api_version, "kind": kind.kind}  # which the items of a listing lack
    metadata = {name: value for name, value in document["metadata"].items() if name != "managedFields"}
    if kind != POD:
        return {**document, **head, "metadata": metadata}
    status = document.get("status") or {}
    containers = [{"ports": each.get("ports") or []} for each in document["spec"]["containers"]]
    return {
        **head,
        "metadata": {name: metadata[name] for name in _POD_METADATA if name in metadata},
        "spec": {"containers": containers},
        "status": {name: status[name] for name in ("podIP", "conditions") if name in status},
    }


def _version(document: Mapping[str, Any] | None) -> str | None:
    return None if document is None else str(document["metadata"].get("resourceVersion", ""))


def version_number(document: Mapping[str, Any]) -> int:
    """The version of an object or a collection as a number, in the order of the writes to it; 0 if it is not one."""
    text = _version(document) or ""
    return int(text) if text.isdigit() else 0
