"""docs/route.md documents every field, and its examples are valid."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from chaski_core.route.default_retry import default_retry
from chaski_core.route.loading import validate
from chaski_core.route.model import Ordering
from chaski_core.route.validation.crd import route_schema
from chaski_core.route.yaml_documents import read_documents
from contract.crd.making import base

_TEXT = (Path(__file__).parents[5] / "docs" / "route.md").read_text(encoding="utf-8")
_BLOCKS = re.findall(r"```yaml\n(.*?)```", _TEXT, re.DOTALL)
_POD = {"workers"}  # documented as a part of a Pod


def _fields(node: Mapping[str, Any]) -> Iterator[str]:
    """Names of the fields of a schema node, at every depth."""
    for name, child in node.get("properties", {}).items():
        yield name
        if name not in _POD:
            yield from _fields(child)
    if "items" in node:
        yield from _fields(node["items"])


@pytest.mark.parametrize("name", sorted(set(_fields(route_schema()["properties"]["spec"]))))
def test_every_field_is_documented(name: str) -> None:
    """So that users can find it."""
    assert re.search(rf"[`.]{name}[`.\[:]", _TEXT)


@pytest.mark.parametrize("block", _BLOCKS, ids=[block.split(":")[0] + str(n) for n, block in enumerate(_BLOCKS)])
def test_every_example_is_valid(block: str) -> None:
    """A whole route, or a part in the smallest route."""
    (shown,) = read_documents(block)
    document = shown if "kind" in shown else {**base(), "spec": {**base()["spec"], **shown}}
    assert validate(document) == []


@pytest.mark.parametrize("ordering", Ordering)
def test_the_documented_default_ladders_are_the_products(ordering: Ordering) -> None:
    """One block for each ordering, with its name in a comment above."""
    (shown,) = (read_documents(block)[0] for block in _BLOCKS if block.startswith(f"# {ordering}, without `retry`"))
    assert shown["retry"] == default_retry(ordering)
