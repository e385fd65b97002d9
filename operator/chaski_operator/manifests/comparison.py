"""Compares a live object with its manifest: what it lacks, and what others added to it. Pure.

Comparing by server-side apply would cost a write request for each object and reconciliation, even without a change.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson

from chaski_operator.manifests.kinds import DEPLOYMENT, Object
from chaski_operator.manifests.names import MANAGER


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
    from kubernetes.utils.quantity import parse_quantity  # noqa: PLC0415 - 36 MiB unless the client of the API server is in use

    if not isinstance(value, str | int) or isinstance(value, bool):
        return None
    try:
        quantity: Decimal = parse_quantity(value)
    except ValueError:
        return None
    return quantity


# ---- additions
# Defaults of the API server belong to no field manager, so the owned fields that the manifest lacks are what others added.
# https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management

_MAX_FIELDS = 131_072  # bytes, of the owned fields of one object that are kept
_UNKNOWN = "before-first-apply"  # the API server's manager of fields without one
_TOO_MANY = b'[{"manager":"unknown","fieldsV1":{"f:more fields than are read":{}}}]'

#: What tools add on purpose, as documented in docs/operator.md: the number of Pods, restarts, and Reloader's marks.
_EXPECTED = re.compile(
    r"spec[.]replicas"
    r"|spec[.]template[.]metadata[.]annotations([.](kubectl[.]kubernetes[.]io/restartedAt"
    r"|([a-z]+[.])?reloader[.]stakater[.]com/.*|keel[.]sh/.*))?"
    r"|spec[.]template[.]spec[.]containers\[worker\][.]env\[STAKATER_[A-Z0-9_]+\]"
)


@dataclass(frozen=True, slots=True)
class Addition:
    """A field that the manifest does not have."""

    field: str  # such as spec.template.spec.containers[proxy]
    manager: str  # the field manager that set it


def owned_fields(document: Mapping[str, Any]) -> bytes:
    """The fields of a Deployment's spec by manager, as JSON; the scale subresource and the status left out."""
    entries = [
        {
            "manager": each.get("manager", ""),
            "operation": each.get("operation", ""),
            "fieldsV1": {"f:spec": each["fieldsV1"]["f:spec"]},
        }
        for each in document["metadata"].get("managedFields") or ()
        if not each.get("subresource") and "f:spec" in (each.get("fieldsV1") or {})
    ]
    content = orjson.dumps(entries)
    return content if len(content) <= _MAX_FIELDS else _TOO_MANY


def is_applied(fields: bytes) -> bool:
    """Whether the record of a Deployment's managers is complete, and has the operator's server-side apply.

    Where it was removed, the API server attributes all fields to `before-first-apply` at the next apply.
    """
    managers = {(each["manager"], each.get("operation")) for each in orjson.loads(fields)}
    return fields == _TOO_MANY or ((MANAGER, "Apply") in managers and _UNKNOWN not in {name for name, _ in managers})


def additions(desired: Object, fields: bytes) -> list[Addition]:
    """The fields of a live Deployment that its manifest lacks, without those of known tools.

    Args:
        desired: the manifest as it was applied last.
        fields: from `owned_fields` of the live object.
    """
    if desired["kind"] != DEPLOYMENT.kind:
        return []
    found: dict[str, Addition] = {}
    for entry in orjson.loads(fields):
        for field in _lacking(desired, entry["fieldsV1"], ""):
            if not _EXPECTED.fullmatch(field):
                found.setdefault(field, Addition(field, entry["manager"]))
    return list(found.values())


def _lacking(desired: Any, fields: Mapping[str, Any], path: str) -> Iterator[str]:
    for key, inner in fields.items():
        if key == ".":
            continue
        child, name = _child(desired, key)
        place = f"{path}{name}".removeprefix(".")
        if child is None:
            yield place
        else:
            yield from _lacking(child, inner, place)


def _child(desired: Any, key: str) -> tuple[Any, str]:
    """The part of a manifest that a key of `fieldsV1` names, None if it has none; and the part's path."""
    kind, _, text = key.partition(":")
    if kind == "f":
        return (desired.get(text) if isinstance(desired, Mapping) else None), f".{text}"
    wanted = orjson.loads(text)
    if not isinstance(wanted, Mapping):  # an element of a set
        return (wanted if isinstance(desired, list) and wanted in desired else None), f"[{wanted}]"
    items = desired if isinstance(desired, list) else []
    found = next((each for each in items if isinstance(each, Mapping) and wanted.items() <= each.items()), None)
    return found, f"[{wanted.get('name', ','.join(map(str, wanted.values())))}]"


def with_expected(desired: Object, live: Object) -> Object:
    """A copy of a Deployment's manifest with what known tools have added to the live one."""
    kept: Object = orjson.loads(orjson.dumps(desired))
    kept["spec"]["replicas"] = live["spec"].get("replicas", 1)
    template, found = kept["spec"]["template"], live["spec"]["template"]
    prefix = "spec.template.metadata.annotations."
    for name, value in ((found.get("metadata") or {}).get("annotations") or {}).items():
        if _EXPECTED.fullmatch(prefix + name):
            template["metadata"]["annotations"][name] = value
    (container,) = template["spec"]["containers"]
    known = {each["name"] for each in container["env"]}
    for each in found["spec"]["containers"]:
        if each["name"] == container["name"]:
            prefix = f"spec.template.spec.containers[{each['name']}].env"
            container["env"] += [
                variable
                for variable in each.get("env") or ()
                if variable["name"] not in known and _EXPECTED.fullmatch(f"{prefix}[{variable['name']}]")
            ]
    return kept
