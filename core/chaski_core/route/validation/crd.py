"""The definitions of ChaskiRoute, ChaskiPolicy and ChaskiReplay: one file each for the API server, `chaski validate` and `chaski dev`.

In a wheel the files are part of this package; in an editable checkout they are read from the checkout's `crds/`.
"""

import copy
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

GROUP_VERSION = "chaski.dev/v1alpha1"
KIND = "ChaskiRoute"

_PACKAGE = Path(__file__).parents[2]
ROUTES, POLICIES, REPLAYS = "chaskiroutes", "chaskipolicies", "chaskireplays"  # plural names


def definition_path(plural: str = ROUTES) -> Path:
    """The path of a CustomResourceDefinition. Raises FileNotFoundError for an incomplete installation."""
    file = Path("crds") / f"{plural}.yaml"
    places = (_PACKAGE / file, _PACKAGE.parents[1] / file)
    for place in places:
        if place.is_file():
            return place
    raise FileNotFoundError(f"the installation is incomplete: no {file.name} at {' or '.join(map(str, places))}")


def definition_text(plural: str = ROUTES) -> str:
    """A CustomResourceDefinition as text, ready for `kubectl apply`."""
    return definition_path(plural).read_text(encoding="utf-8")


@cache
def schema_of(plural: str) -> Mapping[str, Any]:
    """The structural schema of a definition (`openAPIV3Schema`). Shared: read it only."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # with libyaml the C one, ten times as fast
    definition = yaml.load(definition_text(plural), Loader=loader)  # noqa: S506 - both are safe loaders
    schema: Mapping[str, Any] = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def route_schema() -> Mapping[str, Any]:
    """The structural schema of a ChaskiRoute."""
    return schema_of(ROUTES)


def with_defaults(document: Mapping[str, Any], plural: str = ROUTES) -> dict[str, Any]:
    """A copy of a document as the API server would store it: without nulls, then with defaults.

    Rules: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#defaulting
    Values of the wrong type stay; the schema refuses them.
    """
    filled: dict[str, Any] = _filled(copy.deepcopy(dict(document)), schema_of(plural))
    if isinstance(filled.get("metadata"), dict):
        filled["metadata"] = _decoded_metadata(filled["metadata"])
    return filled


def _decoded_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata without nulls, as the API server decodes it: null is an absent field, and an empty text in a map.

    It decodes `metadata` into Go's ObjectMeta before anything is validated (`GetObjectMetaWithOptions` of
    k8s.io/apiextensions-apiserver), and Go's JSON leaves a null field at its zero value.
    """
    kept = {name: item for name, item in metadata.items() if item is not None}
    for name in ("labels", "annotations"):
        if isinstance(kept.get(name), dict):
            kept[name] = {key: "" if item is None else item for key, item in kept[name].items()}
    return kept


def _filled(value: Any, node: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        return _filled_object(value, node)
    if isinstance(value, list) and "items" in node:
        return [_filled(item, node["items"]) for item in value]
    if isinstance(value, float) and value.is_integer() and node.get("type") == "integer":
        return int(value)  # JSON has one kind of number; the rules have two
    return value


def _filled_object(value: dict[str, Any], node: Mapping[str, Any]) -> dict[str, Any]:
    properties = node.get("properties", {})
    rest = node.get("additionalProperties")
    kept = {
        name: item
        for name, item in value.items()
        if item is not None or name not in properties or properties[name].get("nullable")
    }
    for name, child in properties.items():
        if name not in kept and "default" in child:
            kept[name] = copy.deepcopy(child["default"])
    for name, item in kept.items():
        child = properties.get(name, rest)
        if isinstance(child, Mapping):
            kept[name] = _filled(item, child)
    return kept


def known_part(document: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a document without the fields that the definition does not describe, as the API server prunes them.

    For documents of another release, whose unknown fields would be errors. `apiVersion`, `kind` and `metadata` are kept
    unchanged.
    """
    schema = route_schema()
    known = _pruned(copy.deepcopy(dict(document)), schema)
    return {name: document[name] if name == "metadata" else value for name, value in known.items()}


def _pruned(value: Any, node: Mapping[str, Any]) -> Any:
    if isinstance(value, list) and "items" in node:
        return [_pruned(item, node["items"]) for item in value]
    if not isinstance(value, dict):
        return value
    rest = node.get("additionalProperties")
    if isinstance(rest, Mapping):
        return {name: _pruned(item, rest) for name, item in value.items()}
    if "properties" not in node:
        return value
    known = node["properties"]
    return {name: _pruned(item, known[name]) for name, item in value.items() if name in known}
