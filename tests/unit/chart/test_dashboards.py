"""The dashboards' files."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / "charts" / "chaski" / "files" / "dashboards").glob("*.json"))


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    """hack/dashboards.py."""
    spec = importlib.util.spec_from_file_location("dashboards", ROOT / "hack" / "dashboards.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_files_match_their_source(builder: ModuleType) -> None:
    """To update them: python hack/dashboards.py."""
    assert {file.name: file.read_text(encoding="utf-8") for file in FILES} == builder.dashboards()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_panels_fill_a_grid_and_have_titles(file: Path) -> None:
    """Panels do not overlap and are not wider than the page."""
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(file.read_text(encoding="utf-8"))["panels"]:
        grid = panel["gridPos"]
        cells = {(grid["x"] + x, grid["y"] + y) for x in range(grid["w"]) for y in range(grid["h"])}
        assert panel["title"]
        assert not taken & cells
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_dashboards_use_documented_metrics_only() -> None:
    """A renamed metric would leave its panel empty."""
    documented = set(re.findall(r"`(chaski_\w+)", (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")))
    used = {
        re.sub(r"_(bucket|count|sum)$", "", name)
        for file in FILES
        for panel in json.loads(file.read_text(encoding="utf-8"))["panels"]
        for target in panel.get("targets", [])
        for name in re.findall(r"\bchaski_\w+", target["expr"])
    }
    assert used - documented - {"chaski_"} == set()
