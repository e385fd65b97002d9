"""Files as `kubectl apply` takes them: routes, policies and replays, beside objects of other kinds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chaski_core.errors import FieldError, InvalidRouteError
from chaski_core.policy.loading import KIND as POLICY
from chaski_core.policy.loading import load_policy
from chaski_core.policy.model import Policy
from chaski_core.route.loading import load_route
from chaski_core.route.model import Route
from chaski_core.route.validation.crd import GROUP_VERSION, REPLAYS, with_defaults
from chaski_core.route.validation.crd import KIND as ROUTE
from chaski_core.route.validation.documents import document_errors
from chaski_core.route.yaml_documents import numbered, read_documents

REPLAY = "ChaskiReplay"
_GROUP = GROUP_VERSION.partition("/")[0]


@dataclass(slots=True)
class Manifests:
    """The documents of a file, in their order."""

    routes: dict[str, Route] = field(default_factory=dict)  # by namespace/name
    policies: list[Policy] = field(default_factory=list)
    replays: list[str] = field(default_factory=list)  # namespace/name
    skipped: list[str] = field(default_factory=list)  # `Deployment (apps/v1)`: kinds of others
    errors: list[FieldError] = field(default_factory=list)

    @property
    def is_foreign(self) -> bool:
        """Whether no document is of this project."""
        return not (self.routes or self.policies or self.replays or self.errors)


def load_manifests(text: str) -> Manifests:
    """The documents of a YAML text. With several, each error names its own.

    Raises:
        InvalidRouteError: the text is not YAML, or has no document.
    """
    documents = read_documents(text)
    if not documents:
        raise InvalidRouteError([FieldError("", f"has no {ROUTE}")])
    found = Manifests()
    for number, document in enumerate(documents, 1):
        try:
            _add(found, document)
        except InvalidRouteError as error:
            found.errors += error.errors if len(documents) == 1 else numbered(error.errors, number)
    return found


def _add(found: Manifests, document: Mapping[str, Any]) -> None:
    api_version, kind = document.get("apiVersion"), document.get("kind")
    if not (isinstance(api_version, str) and isinstance(kind, str)) or kind == ROUTE:
        _add_route(found, load_route(document))  # where one of them is missing, its errors say so
    elif api_version.partition("/")[0] != _GROUP:
        found.skipped.append(f"{kind} ({api_version})")
    elif kind == POLICY:
        found.policies.append(load_policy(document))
    elif kind == REPLAY:
        found.replays.append(_replay(document))
    else:
        raise InvalidRouteError([FieldError("kind", f'must be {ROUTE}, {POLICY} or {REPLAY}, not "{kind}"')])


def _add_route(found: Manifests, route: Route) -> None:
    if route.key in found.routes:
        raise InvalidRouteError([FieldError("metadata.name", f"{route.key} is declared twice")])
    found.routes[route.key] = route


def _replay(document: Mapping[str, Any]) -> str:
    if document["apiVersion"] != GROUP_VERSION:
        raise InvalidRouteError([FieldError("apiVersion", f'must be {GROUP_VERSION}, not "{document["apiVersion"]}"')])
    full = with_defaults(document, REPLAYS)
    errors = document_errors(full, plural=REPLAYS)
    if errors:
        raise InvalidRouteError(errors)
    return f"{full['metadata'].get('namespace', 'default')}/{full['metadata']['name']}"
