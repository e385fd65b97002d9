"""Applies the objects of a route: writes those that differ, deletes those that are no longer desired."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from chaski_core.errors import ChaskiError
from chaski_core.route.validation.crd import KIND
from chaski_operator.kube.cache import ObjectCache
from chaski_operator.manifests.kinds import Object, kind_of
from chaski_operator.manifests.names import MANAGED_BY_LABEL, MANAGER, MANIFEST_HASH
from chaski_runtime.kube.client import KubeApi, object_path


class ForeignObjectError(ChaskiError):
    """An object of that name exists and belongs to another owner. It was not changed."""

    def __init__(self, document: Object) -> None:
        metadata = document["metadata"]
        self.name = f"{document['kind']} {metadata['namespace']}/{metadata['name']}"
        super().__init__(
            f"{self.name} already exists and does not belong to this route; rename the route or remove the object"
        )


class Applier:
    """Applies and prunes the objects of routes."""

    def __init__(self, api: KubeApi, objects: ObjectCache) -> None:
        self._api = api
        self._objects = objects

    async def apply(self, desired: Sequence[Object], confirm: Callable[[], Awaitable[None]]) -> list[str]:
        """Creates and updates the objects of one route, in order. Writes nothing where nothing differs.

        Args:
            desired: the objects.
            confirm: raises if the route is not the observed one any more; awaited before the first object is created.

        Returns:
            The objects that another writer had changed, each as `<kind> <name> (<first field that differed>)`.

        Raises:
            ForeignObjectError: one of the names is taken.
            KubeApiError: the API server refused one; those before it were applied.
        """
        corrected = []
        is_confirmed = False
        for document in desired:
            live = await self._live(document)
            if live is None and not is_confirmed:
                await confirm()
                is_confirmed = True
            place = difference(document, live) if live is not None else None
            if live is not None and place is None:
                continue
            self._objects.put(kind_of(document), await self._api.apply(_path(document), document, manager=MANAGER))
            if live is not None and _manifest_hash(live) == _manifest_hash(document):
                corrected.append(f"{document['kind']} {document['metadata']['name']} ({place})")
        return corrected

    async def prune(self, namespace: str, route: str, uid: str, desired: Sequence[Object]) -> None:
        """Deletes the objects that the route owns and that are no longer desired."""
        kept = {(each["kind"], each["metadata"]["name"]) for each in desired}
        for document in self._objects.owned(namespace, route):
            if (document["kind"], document["metadata"]["name"]) in kept or owner_of(document) != uid:
                continue
            await self._api.delete(_path(document), uid=document["metadata"]["uid"])
            self._objects.remove(kind_of(document), document)

    async def _live(self, desired: Object) -> Object | None:
        """The live object, if the route owns it."""
        metadata = desired["metadata"]
        kind = kind_of(desired)
        live = self._objects.get(kind, metadata["namespace"], metadata["name"]) or await self._api.find(_path(desired))
        if live is None or owner_of(live) == owner_of(desired):
            return live
        if not _of_earlier_route(live, desired):
            raise ForeignObjectError(desired)
        # Its owner was deleted, so the garbage collector is about to delete it: delete it now, before the new one is made.
        await self._api.delete(_path(desired), uid=live["metadata"]["uid"])
        self._objects.remove(kind, live)
        return None


def owner_of(document: Object) -> str | None:
    """The uid of an object's controller."""
    owners = document["metadata"].get("ownerReferences") or ()
    return next((str(each["uid"]) for each in owners if each.get("controller")), None)


def _of_earlier_route(live: Object, desired: Object) -> bool:
    """Whether an object was made for a route of the same name that has been deleted."""
    if live["metadata"].get("labels", {}).get(MANAGED_BY_LABEL) != MANAGER:
        return False
    name = desired["metadata"]["ownerReferences"][0]["name"]
    owners = live["metadata"].get("ownerReferences") or ()
    return any(each.get("controller") and (each["kind"], each["name"]) == (KIND, name) for each in owners)


def _manifest_hash(document: Object) -> str | None:
    value: str | None = (document["metadata"].get("annotations") or {}).get(MANIFEST_HASH)
    return value


def _path(document: Object) -> str:
    kind, metadata = kind_of(document), document["metadata"]
    return object_path(kind.api_version, kind.plural, metadata["namespace"], metadata["name"])


# ---- comparison
# Comparing by server-side apply would cost a write request for each object and reconciliation, even without a change.

_QUANTITY = re.compile(r"([0-9]+(?:[.][0-9]+)?)(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][0-9]+)?")
_POWERS = {
    "": Decimal(1), "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", 1)},
    **{suffix + "i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", 1)},
}  # fmt: skip


def difference(desired: Any, live: Any, path: str = "") -> str | None:
    """The path of the first desired value that the live object lacks; None if it has all of them.

    Fields that only the live object has belong to other writers. List entries that carry names are matched by name;
    other lists must have the same length.
    """
    if isinstance(desired, Mapping):
        return _in_mapping(desired, live, path)
    if isinstance(desired, list):
        return _in_list(desired, live, path)
    return None if desired == live or (".resources." in path and _same_quantity(desired, live)) else path


def _in_mapping(desired: Mapping[str, Any], live: Any, path: str) -> str | None:
    if not isinstance(live, Mapping):
        return None if not desired and live is None else path  # an empty mapping may be omitted
    for name, value in desired.items():
        place = f"{path}.{name}" if path else name
        if (found := difference(value, live.get(name), place)) is not None:
            return found
    return None


def _in_list(desired: list[Any], live: Any, path: str) -> str | None:
    if not isinstance(live, list):
        return None if not desired and live is None else path
    if desired and all(isinstance(each, Mapping) and "name" in each for each in desired):
        named = {each["name"]: each for each in live if isinstance(each, Mapping) and "name" in each}
        pairs = [(each, named.get(each["name"]), f"{path}[{each['name']}]") for each in desired]
    elif len(desired) != len(live):
        return path
    else:
        both = enumerate(zip(desired, live, strict=True))
        pairs = [(each, other, f"{path}[{index}]") for index, (each, other) in both]
    return next((found for each, other, at in pairs if (found := difference(each, other, at)) is not None), None)


def _same_quantity(desired: Any, live: Any) -> bool:
    """Whether two spellings of a quantity are equal: the API server stores `0.5` as `500m`."""
    first, second = _quantity(desired), _quantity(live)
    return first is not None and first == second


def _quantity(value: Any) -> Decimal | None:
    found = _QUANTITY.fullmatch(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
    if found is None:
        return None
    number, suffix = Decimal(found.group(1)), found.group(2) or ""
    return number * (_POWERS[suffix] if suffix in _POWERS else Decimal(10) ** int(suffix[1:]))
