"""Draws the dashboards as images without Grafana: `python hack/dashboard_pictures.py PROMETHEUS_URL FOLDER [MINUTES]`.

Runs the queries of each panel on a Prometheus and draws the results with Matplotlib at the panel's place in the grid. For the
documentation, and to check a change of a dashboard.
"""

import json
import re
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")
import matplotlib.pyplot as plt  # the backend is chosen first

ROOT = Path(__file__).resolve().parents[1]
DASHBOARDS = ROOT / "charts" / "chaski" / "files" / "dashboards"
STEP_SECONDS = 5
INCHES_PER_ROW = 0.34  # height of a row of the grid
COLOURS = ["#7eb26d", "#eab839", "#6ed0e0", "#ef843c", "#e24d42", "#1f78c1", "#ba43a9", "#705da0", "#508642", "#cca300"]
UNITS = {"reqps": "/s", "s": " s", "short": ""}


class Prometheus:
    """Runs queries over the last minutes."""

    def __init__(self, url: str, minutes: float) -> None:
        self._url = url
        self._end = time.time()
        self._start = self._end - minutes * 60

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an expression, with all dashboard variables set to All."""
        for name in ("namespace", "route", "target"):
            expression = expression.replace(f"${name}", ".+")
        parameters = {
            "query": expression.replace("$__rate_interval", "30s"),
            "start": self._start,
            "end": self._end,
            "step": STEP_SECONDS,
        }
        with urllib.request.urlopen(f"{self._url}/api/v1/query_range?{urllib.parse.urlencode(parameters)}") as response:  # noqa: S310 - the URL is an argument
            series: list[dict[str, Any]] = json.load(response)["data"]["result"]
        return series


def legend(template: str, labels: dict[str, str]) -> str:
    """A legend with its labels filled in as by Grafana."""
    if template == "__auto":
        return ""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), template)


def formatted(value: float, unit: str) -> str:
    """A number with its unit."""
    if unit == "percentunit":
        return f"{value * 100:.3g}%"
    if unit == "bytes":
        return f"{value / 2**20:,.0f} MiB"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}{UNITS.get(unit, '')}"


def draw(axes: Any, panel: dict[str, Any], server: Prometheus) -> None:
    """Draws one panel."""
    unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit", "short")
    axes.set_title(panel["title"], loc="left", fontsize=8, color="#333", fontweight="bold")
    series = [(target, each) for target in panel["targets"] for each in server.query(target["expr"])]
    if panel["type"] == "stat":
        axes.axis("off")
        figures = [formatted(float(each["values"][-1][1]), unit) for _, each in series]
        axes.text(
            0.5, 0.45, figures[0] if figures else "no data", ha="center", va="center", fontsize=18, color="#37872d"
        )
        return
    if panel["type"] == "heatmap":
        draw_heatmap(axes, [each for _, each in series])
        return
    axes.tick_params(labelsize=6, length=2, colors="#666")
    axes.grid(visible=True, linewidth=0.4, color="#ddd")
    for spine in axes.spines.values():
        spine.set_visible(False)
    for number, (target, each) in enumerate(series):
        times = [(float(at) - server._end) / 60 for at, _ in each["values"]]  # noqa: SLF001 - of this file
        values = [float(value) for _, value in each["values"]]
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(times, values, color=colour, linewidth=0.9, label=legend(target["legendFormat"], each["metric"]))
        axes.fill_between(times, values, color=colour, alpha=0.08, linewidth=0)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: formatted(value, unit))
    if len(series) <= 12 and any(each["metric"] for _, each in series):
        axes.legend(fontsize=5, frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.1))


def draw_heatmap(axes: Any, series: Sequence[dict[str, Any]]) -> None:
    """Draws buckets by time; each series of a Prometheus histogram counts all observations below its bound."""
    rising = sorted(series, key=lambda each: float(each["metric"]["le"]))
    rows, below = [], None
    for each in rising:
        values = [float(value) for _, value in each["values"]]
        rows.append([here - before for here, before in zip(values, below or [0.0] * len(values), strict=False)])
        below = values
    axes.imshow(rows, aspect="auto", origin="lower", cmap="YlOrRd", interpolation="nearest")
    axes.set_yticks(range(len(rising)), [each["metric"]["le"] for each in rising], fontsize=5)
    axes.set_xticks([])


def picture(file: Path, server: Prometheus) -> Any:
    """The figure of a whole dashboard."""
    dashboard = json.loads(file.read_text(encoding="utf-8"))
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
    figure = plt.figure(figsize=(15, rows * INCHES_PER_ROW), facecolor="#f7f8fa")
    for panel in dashboard["panels"]:
        grid = panel["gridPos"]
        left, bottom = grid["x"] / 24, 1 - (grid["y"] + grid["h"]) / rows
        width, height = grid["w"] / 24, grid["h"] / rows
        if panel["type"] == "row":
            figure.text(left + 0.006, bottom + height / 2, panel["title"], fontsize=10, color="#111", va="center")
            continue
        figure.add_artist(
            mpl.patches.Rectangle(
                (left + 0.003, bottom + 0.08 / rows), width - 0.006, height - 0.16 / rows, facecolor="white",
                edgecolor="#ddd", linewidth=0.6, transform=figure.transFigure, zorder=-1,
            )
        )  # fmt: skip
        axes = figure.add_axes((left + 0.03, bottom + 1.6 / rows, width - 0.045, height - 2.7 / rows))
        axes.set_facecolor("white")
        draw(axes, panel, server)
    return figure


def main(url: str, folder: Path, minutes: float) -> None:
    """Draws every dashboard."""
    server = Prometheus(url, minutes)
    for file in sorted(DASHBOARDS.glob("*.json")):
        figure = picture(file, server)
        figure.savefig(folder / f"{file.stem}.png", dpi=90)
        plt.close(figure)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 10.0)
