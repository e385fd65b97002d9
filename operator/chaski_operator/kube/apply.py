"""Applies the objects of a route: writes those that differ, deletes those that are no longer desired."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from chaski_core.errors import ChaskiError
from chaski_core.route.validation.crd import KIND
from chaski_operator.kube.cache import ObjectCache, controller_of, route_of, used_part
from chaski_operator.kube.workqueue import Key
from chaski_operator.manifests.comparison import additions, difference, is_applied, owned_fields, with_expected
from chaski_operator.manifests.kinds import DEPLOYMENT, Kind, Object, kind_of
from chaski_operator.manifests.names import MANAGED_BY_LABEL, MANAGER, MANIFEST_HASH, ROUTE_LABEL
from chaski_runtime.kube.client import KubeApi, KubeRefusedError, object_path

_MAX_ADDITIONS = 5  # reported for one object
_ATTEMPTS = 5  # to replace an object that changes meanwhile


class ForeignObjectError(ChaskiError):
    """An object of that name exists and belongs to another owner. It was not changed."""

    def __init__(self, document: Object) -> None:
        metadata = document["metadata"]
        self.name = f"{document['kind']} {metadata['namespace']}/{metadata['name']}"
        super().__init__(
            f"{self.name} already exists and does not belong to this route; rename the route or remove the object"
        )


@dataclass(frozen=True, slots=True)
class Applied:
    """What `apply` found beside its own work."""

    corrected: list[str] = field(default_factory=list)  # `<kind> <name> (<first field that differed>)`, put right
    added: list[str] = field(default_factory=list)  # `<kind> <name>: <field> by <manager>`, still there


class Applier:
    """Applies and prunes the objects of routes."""

    def __init__(self, api: KubeApi, objects: ObjectCache, *, remove_additions: bool) -> None:
        self._api = api
        self._objects = objects
        self._remove_additions = remove_additions
        # Objects that differ though they were applied: an admission policy changes them. By route, then by kind and name:
        # version and manifest.
        self._overridden: dict[Key, dict[tuple[Kind, str], tuple[str, str | None]]] = {}

    def forget(self, key: Key) -> None:
        """Drops all that is remembered of a route."""
        self._overridden.pop(key, None)

    async def apply(self, desired: Sequence[Object], confirm: Callable[[], Awaitable[None]]) -> Applied:
        """Creates and updates the objects of one route, in order. Writes nothing where nothing differs.

        Args:
            desired: the objects.
            confirm: raises if the route is not the observed one any more; awaited before the first object is created.

        Raises:
            ForeignObjectError: one of the names is taken.
            KubeApiError: the API server refused one; those before it were applied.
        """
        applied = Applied()
        is_confirmed = False
        for document in desired:
            live = await self._live(document)
            if live is not None and await self._correct(document, live, applied):
                continue
            if not is_confirmed:
                await confirm()
                is_confirmed = True
            self._store(document, await self._api.apply(_path(document), document, manager=MANAGER))
        return applied

    async def _correct(self, document: Object, live: Object, applied: Applied) -> bool:
        """Brings an object into the desired state; False if it turns out to be deleted."""
        try:
            if _is_orphan(live, document):
                is_kept = await self._take_over(document, live)
                applied.corrected.append(f"{_title(document)} (metadata.ownerReferences)")
                return is_kept
            await self._update(document, live, applied)
        except KubeRefusedError as error:
            if error.status not in (404, 409, 422):  # 422: another has its name, and another uid
                raise
            kind, found = kind_of(document), await self._api.find(_path(document))
            if found is not None:
                self._objects.put(kind, found)
                raise
            self._objects.remove(kind, live)
            return False
        return True

    async def _update(self, document: Object, live: Object, applied: Applied) -> None:
        """Corrects an object of the route; adds to `applied` what was corrected and what others have added."""
        unmanaged = document["kind"] == DEPLOYMENT.kind and not is_applied(live["fields"])
        place = "metadata.managedFields" if unmanaged else difference(used_part(kind_of(document), document), live)
        was = live
        if place is not None and not self._is_overridden(document, live):
            answer = await self._apply_to(live, document)
            live = self._store(document, answer)
        added = additions(document, live["fields"]) if "fields" in live else []
        if unmanaged or (added and self._remove_additions):
            await self._overwrite(document, live, keep_metadata=True)
            applied.corrected.append(f"{_title(document)} ({added[0].field if added else place})")
            return
        applied.added.extend(f"{_title(document)}: {each.field} by {each.manager}" for each in added[:_MAX_ADDITIONS])
        same_manifest = _manifest_hash(was) == _manifest_hash(document)
        if place is not None and same_manifest and not self._is_overridden(document, live):
            applied.corrected.append(f"{_title(document)} ({place})")

    async def _apply_to(self, live: Object, document: Object) -> Object:
        """Applies to an object that exists. A server-side apply without its uid would make one that was deleted meanwhile again."""
        body = {**document, "metadata": document["metadata"] | {"uid": live["metadata"]["uid"]}}
        answer: Object = await self._api.apply(_path(document), body, manager=MANAGER)
        return answer

    def _store(self, document: Object, answer: Object) -> Object:
        """Stores the API server's answer to an apply; remembers it if the object still differs; returns its used part."""
        kind, live = kind_of(document), used_part(kind_of(document), answer)
        self._objects.put(kind, answer)
        known = self._overridden.setdefault(route_of(document), {})
        known.pop((kind, document["metadata"]["name"]), None)
        if difference(used_part(kind, document), live) is not None:
            known[kind, document["metadata"]["name"]] = _version(live), _manifest_hash(document)
        return live

    def _is_overridden(self, document: Object, live: Object) -> bool:
        """Whether applying the same manifest to this version has changed nothing before."""
        known = self._overridden.get(route_of(document), {})
        version = _version(live), _manifest_hash(document)
        return known.get((kind_of(document), document["metadata"]["name"])) == version

    # ---- objects with more than the manifest

    async def _take_over(self, document: Object, live: Object) -> bool:
        """Makes an orphan of an earlier route of the same name the route's own, without anything that it had besides.

        Returns False where it had to be deleted, and is to be created.
        """
        try:
            await self._overwrite(document, live, keep_metadata=False)
        except KubeRefusedError as error:
            if error.status != 422:  # an immutable field: the selector of a Deployment
                raise
            await self._api.delete(_path(document), uid=live["metadata"]["uid"])
            self._objects.remove(kind_of(document), live)
            return False
        return True

    async def _overwrite(self, document: Object, live: Object, *, keep_metadata: bool) -> None:
        """Applies an object, then replaces it by its manifest: apply alone leaves what others have added.

        The number of Pods and the marks of known tools stay; with `keep_metadata` labels and annotations of others too.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                await self._replace(document, live, keep_metadata=keep_metadata)
            except KubeRefusedError as error:
                if error.status != 409 or attempt == _ATTEMPTS:  # a controller has written its status meanwhile
                    raise
            else:
                return

    async def _replace(self, document: Object, live: Object, *, keep_metadata: bool) -> None:
        path = _path(document)
        answer = await self._apply_to(live, document)
        whole = with_expected(document, answer) if document["kind"] == DEPLOYMENT.kind else {**document}
        names = ("uid", "resourceVersion", *(("labels", "annotations", "finalizers") if keep_metadata else ()))
        kept = {name: answer["metadata"][name] for name in names if name in answer["metadata"]}
        whole["metadata"] = document["metadata"] | kept
        answer = await self._api.replace(path, whole)
        fields = owned_fields(answer)
        if document["kind"] == DEPLOYMENT.kind and (additions(document, fields) or not is_applied(fields)):
            # Where the record of managers was removed, the API server has made an entry of all fields, defaults included.
            managers = [
                each
                for each in answer["metadata"].get("managedFields") or ()
                if each.get("subresource") or (each.get("manager"), each.get("operation")) == (MANAGER, "Apply")
            ]
            metadata = {"resourceVersion": answer["metadata"]["resourceVersion"], "managedFields": managers}
            answer = await self._api.merge_patch(path, {"metadata": metadata})
        self._store(document, answer)

    async def prune(self, namespace: str, route: str, uid: str, desired: Sequence[Object]) -> None:
        """Deletes the objects that the route owns and that are no longer desired."""
        kept = {(each["kind"], each["metadata"]["name"]) for each in desired}
        for document in self._objects.owned(namespace, route):
            if (document["kind"], document["metadata"]["name"]) in kept or owner_of(document) != uid:
                continue
            await self._api.delete(_path(document), uid=document["metadata"]["uid"])
            self._objects.remove(kind_of(document), document)

    async def _live(self, desired: Object) -> Object | None:
        """The used part of the live object, if the route owns it, or may take it over."""
        metadata = desired["metadata"]
        kind = kind_of(desired)
        live = self._objects.get(kind, metadata["namespace"], metadata["name"])
        if live is None and (found := await self._api.find(_path(desired))) is not None:
            live = used_part(kind, found)
        if live is None or owner_of(live) == owner_of(desired) or _is_orphan(live, desired):
            return live
        if not _of_earlier_route(live, desired):
            raise ForeignObjectError(desired)
        # Its owner was deleted, so the garbage collector is about to delete it: delete it now, before the new one is made.
        await self._api.delete(_path(desired), uid=live["metadata"]["uid"])
        self._objects.remove(kind, live)
        return None


def owner_of(document: Object) -> str | None:
    """The uid of an object's controller."""
    controller = controller_of(document)
    return None if controller is None else str(controller["uid"])


def _of_earlier_route(live: Object, desired: Object) -> bool:
    """Whether an object was made for a route of the same name that has been deleted."""
    controller = controller_of(live)
    return (
        _is_managed(live)
        and controller is not None
        and controller["kind"] == KIND
        and route_of(live) == route_of(desired)
    )


def _is_orphan(live: Object, desired: Object) -> bool:
    """Whether an object without a controller was made for a route of this name, as after `kubectl delete --cascade=orphan`."""
    labels = live["metadata"].get("labels") or {}
    is_named = labels.get(ROUTE_LABEL) == desired["metadata"]["labels"][ROUTE_LABEL]
    return controller_of(live) is None and is_named and _is_managed(live) and _manifest_hash(live) is not None


def _is_managed(document: Object) -> bool:
    return (document["metadata"].get("labels") or {}).get(MANAGED_BY_LABEL) == MANAGER


def _title(document: Object) -> str:
    return f"{document['kind']} {document['metadata']['name']}"


def _version(live: Object) -> str:
    """What changes with each change of the spec, or of the object where it has no generation."""
    metadata = live["metadata"]
    return f"{metadata.get('uid')}/{metadata.get('generation') or metadata.get('resourceVersion')}"


def _manifest_hash(document: Object) -> str | None:
    value: str | None = (document["metadata"].get("annotations") or {}).get(MANIFEST_HASH)
    return value


def _path(document: Object) -> str:
    kind, metadata = kind_of(document), document["metadata"]
    return object_path(kind.api_version, kind.plural, metadata["namespace"], metadata["name"])
