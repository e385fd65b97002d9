"""The objects that the operator follows, kept up to date by watches, listings and the results of its own writes.

Labels select what is listed and watched, and every author of objects can set them. So of the kinds that routes own, only objects are kept whose
controller is a ChaskiRoute, and of these only what a reconciliation reads; the rest of an object is dropped when it arrives.

kopf's index is not used for this: only watches may write to it, so a reconciliation could act on a state from before its
own write, and an object that was deleted while a watch was interrupted would stay in it.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from chaski_core.route.validation.crd import KIND
from chaski_operator.kube.workqueue import Key
from chaski_operator.manifests.comparison import owned_fields
from chaski_operator.manifests.kinds import CONFIG_MAP, DEPLOYMENT, KINDS, POD, Kind, Object
from chaski_operator.manifests.names import GROUP, ROLE_ANNOTATION, ROUTE_LABEL

_METADATA = ("name", "namespace", "uid", "resourceVersion", "generation", "deletionTimestamp")
_LABELS = (f"{GROUP}/", "app.kubernetes.io/")  # prefixes of those that manifests have
_ANNOTATIONS = (f"{GROUP}/", ROLE_ANNOTATION)
_MAX_SPEC_BYTES = 131_072  # of an object that a route owns; the operator's own have a tenth
_METRICS_PORT = "metrics"
_MAX_REMOVED = 1_000  # uids of each kind


@dataclass(frozen=True, slots=True)
class Listing:
    """A listing in progress."""

    kind: Kind
    namespace: str | None  # None: all
    newer: set[Key] = field(default_factory=set)  # objects whose current state became known after its start


class ObjectCache:
    """Objects by kind and name, and by kind and the route that they belong to."""

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
        """The objects of a kind that belong to the route, by name."""
        names = sorted(self._names.get((kind, (namespace, route)), ()))
        return [self._objects[kind][namespace, name] for name in names]

    def owned(self, namespace: str, route: str) -> list[Object]:
        """The objects of all kinds that the operator creates and that belong to the route."""
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
        if is_kept(kind, document):
            self._store(kind, used_part(kind, document))
            return True
        self._forget(kind, key_of(document))
        return known is not None  # it belonged to a route until now

    def remove(self, kind: Kind, document: Object) -> bool:
        """Removes a deleted object; False if it was not known. Another object of the same name stays."""
        self._remember_removed(kind, document)
        known = self.get(kind, *key_of(document))
        if known is None or known["metadata"].get("uid") == document["metadata"].get("uid"):
            self._forget(kind, key_of(document))
        return known is not None

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

        Args:
            listing: from `listing`.
            documents: from `used_part`.

        Any difference counts, also to a lower version: an API server whose etcd was restored returns such.
        """
        kind, newer, known = listing.kind, frozenset(listing.newer), self.by_key(listing.kind)
        listed = {key_of(each): each for each in documents if is_kept(kind, each)}
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
        key, known = key_of(document), self.get(kind, *key_of(document))
        if known is not None and "spec" in known and known["spec"] == document.get("spec"):
            document = {**document, "spec": known["spec"]}  # the loaded route refers to its texts: keep them once
        self._forget(kind, key)
        self._objects.setdefault(kind, {})[key] = document
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


def controller_of(document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The owner reference of an object's controller."""
    owners = document["metadata"].get("ownerReferences") or ()
    return next((each for each in owners if each.get("controller")), None)


def route_of(document: Mapping[str, Any]) -> Key:
    """Namespace and name of the route that an object belongs to: its controller; of a Pod, by its label."""
    metadata, controller = document["metadata"], controller_of(document)
    if controller is not None and controller["kind"] == KIND:
        return metadata["namespace"], controller["name"]
    return metadata["namespace"], (metadata.get("labels") or {}).get(ROUTE_LABEL, "")


def is_kept(kind: Kind, document: Mapping[str, Any]) -> bool:
    """Whether an object is cached: of the kinds that routes own, only if its controller is a ChaskiRoute."""
    if kind not in KINDS:
        return True
    controller = controller_of(document)
    return controller is not None and (controller["apiVersion"].partition("/")[0], controller["kind"]) == (GROUP, KIND)


def used_part(kind: Kind, document: Object) -> Object:
    """The part of an object that is cached and compared: at most a few KB, whatever its author put into it.

    Returns:
        Routes and replays without field managers and annotations of others; other kinds with `metadata`, `spec`, `data` as
        hashes, and for live Deployments `status` and `fields`, the owned fields of the spec.
    """
    head = {"apiVersion": kind.api_version, "kind": kind.kind}  # which the items of a listing lack
    metadata = document["metadata"]
    if kind not in KINDS and kind != POD:
        kept = {name: value for name, value in metadata.items() if name not in ("managedFields", "annotations")}
        return {**document, **head, "metadata": kept | _own_part(metadata, "annotations", _ANNOTATIONS)}
    used: Object = {**head, "metadata": _used_metadata(metadata)}
    if kind == POD:
        return used | _used_of_pod(document)
    if kind == CONFIG_MAP:
        used["data"] = {name: _digest(value) for name, value in (document.get("data") or {}).items()}
        return used
    used |= {name: document[name] for name in ("spec", "automountServiceAccountToken") if name in document}
    if len(orjson.dumps(used.get("spec"))) > _MAX_SPEC_BYTES:
        # Then it differs from the manifest, which is applied again.
        used["spec"] = {name: value for name, value in used["spec"].items() if name == "replicas"}
    if kind == DEPLOYMENT and "resourceVersion" in metadata:  # which no manifest has
        used |= {"status": document.get("status") or {}, "fields": owned_fields(document)}
    return used


def _used_metadata(metadata: Mapping[str, Any]) -> Object:
    used: Object = {name: metadata[name] for name in _METADATA if name in metadata}
    used |= _own_part(metadata, "labels", _LABELS) | _own_part(metadata, "annotations", _ANNOTATIONS)
    controller = controller_of({"metadata": metadata})
    return used | ({"ownerReferences": [controller]} if controller is not None else {})


def _own_part(metadata: Mapping[str, Any], part: str, prefixes: tuple[str, ...]) -> Object:
    """The labels or annotations that have a meaning here; `kubectl apply` stores the whole spec once more in another one."""
    found = {name: text for name, text in (metadata.get(part) or {}).items() if name.startswith(prefixes)}
    return {part: found} if found else {}


def _used_of_pod(document: Mapping[str, Any]) -> Object:
    status = document.get("status") or {}
    ports = [
        port
        for container in document["spec"]["containers"]
        for port in container.get("ports") or ()
        if port.get("name") == _METRICS_PORT
    ]
    used = {name: status[name] for name in ("podIP", "conditions") if name in status}
    return {"spec": {"containers": [{"ports": ports[:1]}]}, "status": used}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _version(document: Mapping[str, Any] | None) -> str | None:
    return None if document is None else str(document["metadata"].get("resourceVersion", ""))


def version_number(document: Mapping[str, Any]) -> int:
    """The version of an object or a collection as a number, in the order of the writes to it; 0 if it is not one."""
    text = _version(document) or ""
    return int(text) if text.isdigit() else 0
