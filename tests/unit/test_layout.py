"""How many modules stand beside each other."""

from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for path in ROOT.glob("*/chaski_*/**/*.py"))
MODULES_SIDE_BY_SIDE = 9


def shown(path: Path) -> str:
    """A path from the top folder on."""
    return path.relative_to(ROOT).as_posix()


def test_the_product_is_found() -> None:
    """Otherwise the limit below would hold for nothing."""
    assert {"core", "worker", "cli"} <= {path.relative_to(ROOT).parts[0] for path in SOURCES}


def test_no_package_has_more_modules_than_a_reader_takes_in() -> None:
    """Nine; a package with more of them is divided into sub-packages. `__init__` is not counted."""
    counts = Counter(shown(path.parent) for path in SOURCES if path.stem != "__init__")
    assert {package: count for package, count in counts.items() if count > MODULES_SIDE_BY_SIDE} == {}
