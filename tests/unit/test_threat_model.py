"""The tables of attacks name tests that exist, so that none of them promises what is not tested."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ADVISORIES, TENANTS = "docs/threat-model.md", "SECURITY.md"
DOCUMENTS = (ADVISORIES, TENANTS, "docs/security.md")
GOALS = ("read", "send", "replay", "stop", "forge", "exhaust", "squat")


def references(text: str) -> list[str]:
    """Files, folders and functions of tests that a text names."""
    return re.findall(r"`((?:tests/[\w/.]+|test_\w+\.py)(?:::\w+)?)`", text)


@cache
def functions(file: Path) -> frozenset[str]:
    """The tests of a module."""
    nodes = ast.walk(ast.parse(file.read_text("utf-8")))
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def exists(reference: str) -> bool:
    """Whether a reference is to something in the tree."""
    path, _, function = reference.partition("::")
    files = [ROOT / path] if "/" in path else list((ROOT / "tests").rglob(path))
    return any(each.exists() and (not function or function in functions(each)) for each in files)


def rows(document: str, heading: str) -> list[list[str]]:
    """The cells of each row of the table below a heading."""
    section = (ROOT / document).read_text("utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_test_that_is_named_exists(document: str) -> None:
    """A test that is renamed or removed is followed here."""
    named = references((ROOT / document).read_text("utf-8"))
    assert len(named) > 20
    assert [each for each in named if not exists(each)] == []


def test_each_kind_from_advisories_names_its_tests() -> None:
    """By function: the file alone would not show that the kind is tried."""
    found = rows(ADVISORIES, "Kinds from public advisories")
    assert len(found) == 15
    assert [kind for kind, _, tests in found if not references(tests) or "::" not in references(tests)[0]] == []


def test_each_goal_of_a_tenant_against_another_names_its_tests() -> None:
    """And every goal is there."""
    found = rows(TENANTS, "Tenant A against tenant B")
    assert {goal.split()[0] for goal, *_ in found} == set(GOALS)
    assert [row for row in found if not references(row[-1]) or "::" not in references(row[-1])[0]] == []
