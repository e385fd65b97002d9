"""Makes the cluster hold a route's objects: applies those that differ, deletes those that are no longer wanted."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from chaski_core.errors import ChaskiError
from chaski_core.route.validation.crd import KIND
from chaski_operator.kube.cache import OwnedObjects
from chaski_operator.kube.compare import difference
from chaski_operator.manifests.manifests import Object, kind_of
from chaski_operator.manifests.names import MANAGED_BY_LABEL, MANAGER, MANIFEST_HASH
from chaski_runtime.kube.client import KubeApi, object_path


class ForeignObjectError(ChaskiError):
    """An object of that name is there already and belongs to somebody else. It was not touched."""

    def __init__(self, document: Object) -> None:
        metadata = document["metadata"]
        self.name = f"{document['kind']} {metadata['namespace']}/{metadata['name']}"
        super().__init__(f"{self.name} is there already and is not this route's; rename the route or remove the object")


@dataclass(frozen=True, slots=True)
class Applied:
    """What was done."""

    created: Sequence[str] = field(default=())
    updated: Sequence[str] = field(default=())  # because what is wanted has changed
    corrected: Sequence[str] = field(default=())  # because somebody else changed it; with the first field that differed
    deleted: Sequence[str] = field(default=())


class Applier:
    """Writes to the cluster."""

    def __init__(self, api: KubeApi, owned: OwnedObjects) -> None:
        self._api = api
        self._owned = owned

    async def apply(self, wanted: Sequence[Object]) -> Applied:
        """Makes and mends objects of one route, in order. Where nothing differs nothing is written.

        Raises:
            ForeignObjectError: one of the names is taken.
            KubeApiError: the API server did not take one; those before it are there.
        """
        created, updated, corrected = [], [], []
        for document in wanted:
            live = await self._live(document)
            place = difference(document, live) if live is not None else None
            if live is not None and place is None:
                continue
            self._owned.put(kind_of(document), await self._api.apply(_path(document), document, manager=MANAGER))
            if live is None:
                created.append(_told(document))
            elif _seal(live) != _seal(document):
                updated.append(_told(document))
            else:
                corrected.append(_told(document, place))
        return Applied(created, updated, corrected)

    async def prune(self, namespace: str, route: str, uid: str, wanted: Sequence[Object]) -> Applied:
        """Deletes objects of the route that are no longer wanted; only those that it owns."""
        kept = {(each["kind"], each["metadata"]["name"]) for each in wanted}
        deleted = []
        for document in list(self._owned.of_route(namespace, route)):
            if (document["kind"], document["metadata"]["name"]) in kept or owner_of(document) != uid:
                continue
            await self._api.delete(_path(document), uid=document["metadata"]["uid"])
            self._owned.remove(kind_of(document), document)
            deleted.append(_told(document))
        return Applied(deleted=deleted)

    async def _live(self, wanted: Object) -> Object | None:
        """The object that is there now, if it is the route's own."""
        metadata = wanted["metadata"]
        kind = kind_of(wanted)
        live = self._owned.get(kind, metadata["namespace"], metadata["name"]) or await self._api.find(_path(wanted))
        if live is None or owner_of(live) == owner_of(wanted):
            return live
        if not _of_earlier_route(live, wanted):
            raise ForeignObjectError(wanted)
        # The garbage collector is about to take it: its owner is gone. A Deployment that it took later would be ours.
        await self._api.delete(_path(wanted), uid=live["metadata"]["uid"])
        self._owned.remove(kind, live)
        return None


def _seal(document: Object) -> str | None:
    seal: str | None = (document["metadata"].get("annotations") or {}).get(MANIFEST_HASH)
    return seal


def owner_of(document: Object) -> str | None:
    """The uid of an object's controller."""
    owners = document["metadata"].get("ownerReferences") or ()
    return next((str(each["uid"]) for each in owners if each.get("controller")), None)


def _of_earlier_route(live: Object, wanted: Object) -> bool:
    """Whether an object was made for a route of the same name that was deleted since."""
    if live["metadata"].get("labels", {}).get(MANAGED_BY_LABEL) != MANAGER:
        return False
    name = wanted["metadata"]["ownerReferences"][0]["name"]
    owners = live["metadata"].get("ownerReferences") or ()
    return any(each.get("controller") and (each["kind"], each["name"]) == (KIND, name) for each in owners)


def _path(document: Object) -> str:
    kind, metadata = kind_of(document), document["metadata"]
    return object_path(kind.api_version, kind.plural, metadata["namespace"], metadata["name"])


def _told(document: Object, place: str | None = None) -> str:
    return f"{document['kind']} {document['metadata']['name']}" + (f" ({place})" if place else "")
