"""Routes from their documents, validated once for each spec."""

from collections.abc import Mapping, Sequence
from typing import Any

from chaski_core.errors import FieldError, InvalidRouteError
from chaski_core.route.default_retry import with_kept_retry
from chaski_core.route.loading import load_route
from chaski_core.route.model import Route
from chaski_core.route.validation.crd import known_part
from chaski_operator.kube.cache import key_of
from chaski_operator.kube.workqueue import Key

# uid, generation, spec and labels: after a restore of etcd, another spec may get a generation that was in use before, and
# labels, which may be tags of queues, change without a new one.
_Version = tuple[str, int, Any, Any]


class RouteLoader:
    """The routes of the cluster; reconciler and autoscaler share them, so a spec is validated once."""

    def __init__(self) -> None:
        self._loaded: dict[Key, tuple[_Version, Route | Sequence[FieldError]]] = {}

    def load(self, document: Mapping[str, Any]) -> Route:
        """The route that a document declares; without `retry`, with what was resolved for this generation.

        Raises:
            InvalidRouteError: with all errors of the spec.
        """
        key, metadata = key_of(document), document["metadata"]
        version = (str(metadata.get("uid", "")), int(metadata["generation"]), document["spec"], metadata.get("labels"))
        known = self._loaded.get(key)
        if known is None or known[0] != version:
            known = self._loaded[key] = (version, _loaded(document))
        if isinstance(known[1], Route):
            return known[1]
        raise InvalidRouteError(known[1])

    def forget(self, key: Key) -> None:
        """Drops a deleted route."""
        self._loaded.pop(key, None)


def _loaded(document: Mapping[str, Any]) -> Route | Sequence[FieldError]:
    kept = with_kept_retry(document)
    if kept is not None:
        route = _declared(kept)
        if isinstance(route, Route):
            return route  # otherwise another release wrote what this one can't read
    return _declared(document)


def _declared(document: Mapping[str, Any]) -> Route | Sequence[FieldError]:
    declared = {name: value for name, value in document.items() if name != "status"}
    try:
        return load_route(known_part(declared))
    except InvalidRouteError as error:
        return error.errors
