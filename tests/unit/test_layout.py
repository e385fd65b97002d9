"""How large the parts of the product are: modules beside each other, lines of a module, lines of a function."""

import ast
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for path in ROOT.glob("*/chaski_*/**/*.py"))
MODULES_SIDE_BY_SIDE = 9
MODULE_LINES = 330
FUNCTION_LINES = 50


def shown(path: Path) -> str:
    """A path from the top folder on."""
    return path.relative_to(ROOT).as_posix()


def test_the_product_is_found() -> None:
    """Otherwise the limits below would hold for nothing."""
    assert {"core", "worker", "cli"} <= {path.relative_to(ROOT).parts[0] for path in SOURCES}


def test_no_package_has_more_modules_than_a_reader_takes_in() -> None:
    """Nine; a package with more of them is divided into sub-packages. `__init__` is not counted."""
    counts = Counter(shown(path.parent) for path in SOURCES if path.stem != "__init__")
    assert {package: count for package, count in counts.items() if count > MODULES_SIDE_BY_SIDE} == {}


def test_no_module_is_too_long() -> None:
    """330 lines; most have 150 to 300."""
    lengths = {shown(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {name: length for name, length in lengths.items() if length > MODULE_LINES} == {}


def test_no_function_is_too_long() -> None:
    """50 lines, from `def` to the last one."""
    lengths = {
        f"{shown(path)}:{node.lineno} {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: length for name, length in lengths.items() if length > FUNCTION_LINES} == {}
