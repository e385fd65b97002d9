"""Checks that a CustomResourceDefinition is structural and bounded, and that every field has a description.

Kubernetes refuses an unbounded value only if a CEL rule reads it. Here every value must be bounded, because all of them are
stored in etcd. Usage: bounds.py FILE
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

_YAML_BOOLEANS = {"y", "n", "yes", "no", "on", "off", "true", "false"}
_BOUND = {"string": ("maxLength", "enum"), "array": ("maxItems",), "integer": ("maximum", "format")}
_TYPES = {"object", "array", "string", "integer", "boolean"}  # no floating numbers: API conventions


def faults(node: dict[str, Any], path: str, *, explain: bool) -> Iterator[str]:
    """Faults of a schema node and of the nodes below it; with `explain` a missing description is one."""
    kind = node.get("type")
    if not node.get("x-kubernetes-int-or-string") and kind not in _TYPES:
        yield f"{path}: the type {kind} is not one of {', '.join(sorted(_TYPES))}"
    if "x-kubernetes-preserve-unknown-fields" in node:
        yield f"{path}: accepts unknown fields"
    bounds = _BOUND.get(str(kind), ())
    if bounds and not any(bound in node for bound in bounds):
        yield f"{path}: needs {' or '.join(bounds)}"
    if explain and not node.get("description"):
        yield f"{path}: needs a description"
    if explain and (default := _shown(node.get("default"))) and not _names(str(node.get("description")), default):
        yield f"{path}: the description must end with `Default: {default}.`, since kubectl explain shows no defaults"
    yield from _below(node, path)


def _shown(default: Any) -> str:
    """A default as a description has it; empty for none, and for objects, whose fields have their own."""
    if isinstance(default, bool):
        return str(default).lower()
    return f"`{default}`" if isinstance(default, str) else str(default) if isinstance(default, int) else ""


def _names(description: str, default: str) -> bool:
    return any(f"{word} {default}" in description for word in ("Default:", "default"))


def _below(node: dict[str, Any], path: str) -> Iterator[str]:
    for name, child in node.get("properties", {}).items():
        if str(name).lower() in _YAML_BOOLEANS:
            yield f"{path}.{name}: kubectl would read this name as a boolean"
        if f"{path}.{name}" != ".metadata":  # defined by the API server; a CRD can only restrict the name
            yield from faults(child, f"{path}.{name}", explain=True)
    rest = node.get("additionalProperties")
    if rest is not None:
        if "maxProperties" not in node:
            yield f"{path}: needs maxProperties"
        yield from faults(rest, f"{path}[*]", explain=False)
    if node.get("type") == "array":
        if "x-kubernetes-list-type" not in node:
            yield f"{path}: needs x-kubernetes-list-type"
        yield from faults(node["items"], f"{path}[]", explain=False)


def main() -> int:
    """Prints every fault of the file named on the command line; returns 1 if there is one."""
    definition = yaml.safe_load(Path(sys.argv[1]).read_text(encoding="utf-8"))
    found = [
        f"{version['name']}{fault}"
        for version in definition["spec"]["versions"]
        for fault in faults(version["schema"]["openAPIV3Schema"], "", explain=True)
    ]
    # apiVersion and kind are defined and bounded by the API server.
    found = [fault for fault in found if not fault.split(":")[0].endswith((".apiVersion", ".kind"))]
    print("\n".join(found) or "the CRD is structural, bounded and documented")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
