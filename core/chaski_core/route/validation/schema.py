"""Structural validation: the definition's schema, by jsonschema with the API server's patterns."""

import difflib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import re2
from jsonschema import Draft202012Validator, ValidationError, validators
from jsonschema.protocols import Validator

from chaski_core.errors import FieldError
from chaski_core.route.validation.crd import ROUTES, schema_of

Path = tuple[str | int, ...]

_COPIED = (
    *("type", "enum", "required", "pattern", "minimum", "maximum"),
    *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
)
# After one of these a rule could fail unexpectedly or repeat a reported error. The API server skips all rules of the
# whole object then.
_BLOCKING = frozenset({"type", "enum", "required", "maxLength", "maxItems", "maxProperties", "minItems"})

_TEXTS: Mapping[str, Any] = {"type": "object", "additionalProperties": {"type": "string"}}
# The API server's own schema of `metadata`; a definition can restrict the name only.
_METADATA: Mapping[str, Any] = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "namespace": {"type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"},
        "labels": _TEXTS,
        "annotations": _TEXTS,
        **{key: {"type": "string"} for key in ("generateName", "selfLink", "uid", "resourceVersion")},
        **{key: {"type": "integer"} for key in ("generation", "deletionGracePeriodSeconds")},
        **{key: {"type": "string"} for key in ("creationTimestamp", "deletionTimestamp")},
        **{key: {"type": "array"} for key in ("ownerReferences", "finalizers", "managedFields")},
    },
}


@dataclass(frozen=True, slots=True)
class SchemaError:
    """One error of a document by the schema."""

    path: Path
    message: str
    blocking: bool  # rules about this place can't be evaluated

    def as_field_error(self) -> FieldError:
        """The error as users see it."""
        return FieldError(path_text(self.path), self.message)


def schema_errors(document: Mapping[str, Any], plural: str = ROUTES) -> list[SchemaError]:
    """All errors of a document with defaults by the schema."""
    return [
        SchemaError(tuple(error.absolute_path), _message(error), error.validator in _BLOCKING)
        for error in _validator(plural).iter_errors(document)
    ]


def path_text(path: Sequence[str | int]) -> str:
    """A path as users write it: `spec.retry.ladders[2].rungs[0]`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


@cache
def _validator(plural: str) -> Validator:
    root = _translated(schema_of(plural))
    name = schema_of(plural)["properties"]["metadata"]["properties"]["name"]
    metadata = _translated({**_METADATA, "properties": {"name": name, **_METADATA["properties"]}})
    root["properties"] |= {"metadata": metadata, "status": True}  # the status in a file is not read
    root["required"] = ["metadata", *root["required"]]
    validator: Validator = _CLASS(root)
    return validator


def _translated(node: Mapping[str, Any]) -> dict[str, Any]:
    """A structural schema's node as JSON Schema: unknown fields are refused, list types are keywords."""
    translated: dict[str, Any] = {name: node[name] for name in _COPIED if name in node}
    if node.get("x-kubernetes-int-or-string"):
        translated["type"] = ["integer", "string"]
    if "properties" in node:
        translated["properties"] = {name: _translated(child) for name, child in node["properties"].items()}
        translated["known"] = list(node["properties"])
    if isinstance(node.get("additionalProperties"), Mapping):
        translated["additionalProperties"] = _translated(node["additionalProperties"])
    if "items" in node:
        translated["items"] = _translated(node["items"])
    if node.get("x-kubernetes-list-type") in {"map", "set"}:
        translated["uniqueItemsByKeys"] = node.get("x-kubernetes-list-map-keys", [])
    return translated


# ---- keywords that JSON Schema does not have, or with other messages


def _required(_: Validator, names: list[str], value: Any, __: Any) -> Iterator[ValidationError]:
    if isinstance(value, dict):
        for name in names:
            if name not in value:
                yield ValidationError("is missing", path=[name])


def _known(_: Validator, names: list[str], value: Any, __: Any) -> Iterator[ValidationError]:
    """Refuses fields that the schema does not describe."""
    if isinstance(value, dict):
        for name in value.keys() - set(names):
            near = difflib.get_close_matches(str(name), names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known fields are {', '.join(names)}"
            yield ValidationError(f"unknown field; {hint}", path=[str(name)])


def _pattern(_: Validator, pattern: str, value: Any, __: Any) -> Iterator[ValidationError]:
    if isinstance(value, str) and not re2.search(pattern, value):
        yield ValidationError(f"{_repr(value)} does not match the pattern {pattern}")


def _unique_items_by_keys(_: Validator, keys: list[str], value: Any, __: Any) -> Iterator[ValidationError]:
    """Refuses an entry that equals an earlier one, in its keys if there are any."""
    if not isinstance(value, list):
        return
    seen = set()
    for index, item in enumerate(value):
        if keys and not (isinstance(item, dict) and all(key in item for key in keys)):
            continue
        mark = json.dumps([item[key] for key in keys] if keys else item, sort_keys=True)
        if mark in seen:
            what = " and ".join(f"{key} {_repr(item[key])}" for key in keys) if keys else _repr(item)
            yield ValidationError(f"{what} is a duplicate", path=[index])
        seen.add(mark)


_CLASS = validators.extend(  # type: ignore[no-untyped-call]  # its stub leaves the arguments open
    Draft202012Validator,
    {"required": _required, "known": _known, "pattern": _pattern, "uniqueItemsByKeys": _unique_items_by_keys},
)


# ---- messages


def _message(error: ValidationError) -> str:
    formatter = _FORMATTERS.get(str(error.validator))
    return formatter(error.instance, error.validator_value) if formatter else error.message


def _type_message(value: Any, wanted: Any) -> str:
    names = [_TYPE_NAMES[name] for name in ([wanted] if isinstance(wanted, str) else wanted)]
    hint = ""
    if names == ["text"] and isinstance(value, (bool, int, float)):
        hint = '; put it in quotes: "true"' if value is True else f'; put it in quotes: "{json.dumps(value)}"'
    if names == ["text"] and isinstance(value, bool):
        hint = "; put it in quotes (YAML reads on, off, yes, no, y and n as true and false)"
    return f"must be {' or '.join(names)}, not {_repr(value)}{hint}"


_TYPE_NAMES = {
    "string": "text",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
}
_FORMATTERS: Mapping[str, Callable[[Any, Any], str]] = {
    "type": _type_message,
    "enum": lambda value, allowed: f"{_repr(value)} is not one of {', '.join(allowed)}",
    "minimum": lambda value, least: f"{_repr(value)} is less than {least}",
    "maximum": lambda value, most: f"{_repr(value)} is more than {most}",
    "minLength": lambda value, least: f"{_repr(value)} is shorter than {least} characters",
    "maxLength": lambda value, most: f"{_repr(value)} is longer than {most} characters",
    "minItems": lambda value, least: f"{len(value)} entries are fewer than {least}",
    "maxItems": lambda value, most: f"{len(value)} entries are more than {most}",
    "minProperties": lambda value, least: f"{len(value)} keys are fewer than {least}",
    "maxProperties": lambda value, most: f"{len(value)} keys are more than {most}",
}
_MAX_REPR_CHARACTERS = 120


def _repr(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MAX_REPR_CHARACTERS else text[:_MAX_REPR_CHARACTERS] + "…"
