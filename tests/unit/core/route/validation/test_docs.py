"""docs/route.md tells of every field, and what it shows is right."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from chaski_core.route.documents import read_documents
from chaski_core.route.validation.crd import route_schema, with_defaults
from chaski_core.route.validation.validate import validate
from contract.crd.making import base

_TEXT = (Path(__file__).parents[5] / "docs" / "route.md").read_text(encoding="utf-8")
_BLOCKS = re.findall(r"```yaml\n(.*?)```", _TEXT, re.DOTALL)
_POD = {"workers"}  # told of as what it is in a Pod


def _fields(node: Mapping[str, Any]) -> Iterator[str]:
    """Names of the fields of a schema node, at every depth."""
    for name, child in node.get("properties", {}).items():
        yield name
        if name not in _POD:
            yield from _fields(child)
    if "items" in node:
        yield from _fields(node["items"])


@pytest.mark.parametrize("name", sorted(set(_fields(route_schema()["properties"]["spec"]))))
def test_every_field_is_told_of(name: str) -> None:
    """A field that users can set can be found."""
    assert re.search(rf"[`.]{name}[`.\[:]", _TEXT)


@pytest.mark.parametrize("block", _BLOCKS, ids=[block.split(":")[0] + str(n) for n, block in enumerate(_BLOCKS)])
def test_every_example_is_right(block: str) -> None:
    """A whole route is taken as it stands, a part as a part of the smallest route."""
    (shown,) = read_documents(block)
    document = shown if "kind" in shown else {**base(), "spec": {**base()["spec"], **shown}}
    assert validate(document) == []


def test_the_default_ladders_are_shown_as_they_are() -> None:
    """The block after `Without retry` is the schema's own default."""
    (shown,) = (read_documents(block)[0] for block in _BLOCKS if block.startswith("retry:"))
    assert shown["retry"] == with_defaults(base())["spec"]["retry"]
