"""A hook of MkDocs: the page of all fields of Chaski's kinds, from the definitions in crds/."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

CRDS = Path(__file__).resolve().parents[2] / "crds"
KINDS = ("chaskiroutes", "chaskireplays", "chaskipolicies")
PAGE = "reference/fields.md"
_INTRODUCTION = """# Fields of the kinds

Every field that people write, as the API server knows it; `kubectl explain chaskiroute.spec --recursive` prints the same.
[Routes](../route.md) explains them together and with examples.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the page."""
    files.append(File.generated(config, PAGE, content=fields_page()))
    return files


def fields_page() -> str:
    """The page as Markdown: a section for each field of a spec, with a table of the fields below it."""
    return "\n".join([_INTRODUCTION, *(text for name in KINDS for text in _kind(name))])


def _kind(name: str) -> Iterator[str]:
    """A section for the kind, with one for each field of its spec."""
    definition = yaml.safe_load((CRDS / f"{name}.yaml").read_text("utf-8"))["spec"]
    (version,) = definition["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    kind = definition["names"]["kind"]
    yield f"## {kind}\n\n{schema.get('description', '')}\n"
    spec = schema["properties"]["spec"]
    for field, node in spec["properties"].items():
        anchor = f"{kind}.{field}".lower()
        yield f"### spec.{field} {{: #{anchor} }}\n\n{_facts(node, field in spec.get('required', ()))}\n"
        yield f"{' '.join(_meaning(node).split())}\n"
        below = list(_below(node, ""))
        if below:
            yield "| field | type | meaning |\n|---|---|---|"
            yield from (_row(path, each, required) for path, each, required in below)
        yield ""


def _row(path: str, node: Mapping[str, Any], required: bool) -> str:
    return f"| <code>{path.replace('.', '.<wbr>')}</code> | {_cell(_facts(node, required))} | {_cell(_meaning(node))} |"


def _facts(node: Mapping[str, Any], required: bool) -> str:
    """Type, default, and whether the field is required."""
    facts = [_type(node)]
    if required:
        facts.append("**required**")
    if "default" in node:
        facts.append(f"default `{json.dumps(node['default'])}`")
    return ", ".join(facts)


def _below(node: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    """Path, schema and whether it is required, of each field below a node or below the items of a list."""
    yield from _fields(node, path)
    if isinstance(node.get("items"), Mapping):
        yield from _fields(node["items"], f"{path}[].")


def _fields(node: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    for name, field in node.get("properties", {}).items():
        yield f"{path}{name}", field, name in node.get("required", ())
        prefix = f"{path}{name}"
        yield from _fields(field, f"{prefix}.")
        if isinstance(field.get("items"), Mapping):
            yield from _fields(field["items"], f"{prefix}[].")


def _type(node: Mapping[str, Any]) -> str:
    kind = str(node.get("type", "integer or string" if node.get("x-kubernetes-int-or-string") else "object"))
    if kind == "array":
        return f"list of {node['items'].get('type', 'value')}s"
    return f"map of {node['additionalProperties'].get('type', 'string')}s" if "additionalProperties" in node else kind


def _meaning(node: Mapping[str, Any]) -> str:
    """The description, what values are allowed, and what the rules of the definition say."""
    parts = [str(node.get("description", "")).strip()]
    if "enum" in node:
        parts.append("One of " + ", ".join(f"`{each}`" for each in node["enum"]) + ".")
    if "minimum" in node or "maximum" in node:
        parts.append(f"{node.get('minimum', '')} to {node.get('maximum', '')}.")
    rules = [rule["message"].rstrip(".") for rule in node.get("x-kubernetes-validations", ()) if "message" in rule]
    if rules:
        parts.append(f"Rules: {'; '.join(rules)}.")
    return " ".join(part for part in parts if part)


def _cell(text: str) -> str:
    """A text as a cell: on one line, without the table's own character."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
