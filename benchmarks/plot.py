"""The figures as one picture."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from benchmarks.results import Results, Skew

FLOOR, CHASKI, _HOT, INK, _GRID = "#c3ccd6", "#1f6f8b", "#d1603d", "#2b3440", "#e4e8ec"
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": _GRID,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.hashsalt": "chaski",  # the same figures make the same file
}


def draw(results: Results, file: Path) -> None:
    """Writes the plot: throughput beside the floor, and the skew's latencies."""
    with mpl.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 4.6), width_ratios=(1.15, 1), layout="constrained")
        _bars(left, results)
        _latencies(right, results.skew)
        figure.savefig(file, metadata={"Date": None}, facecolor="white")
        plt.close(figure)


def _bars(axes: Axes, results: Results) -> None:
    rows = [(floor.title, floor.per_second, FLOOR) for floor in results.floors]
    rows += [(each.title, each.per_second, CHASKI) for each in results.throughputs]
    titles, rates, colours = zip(*reversed(rows), strict=True)
    bars = axes.barh(titles, rates, color=colours, height=0.66)
    axes.bar_label(bars, [f"{rate:,.0f}" for rate in rates], padding=4, fontsize=9)
    axes.set_title("Per second, 1 KiB: bare aiohttp (grey) and Chaski", loc="left", fontsize=11, fontweight="bold")
    axes.set_xlim(0, max(rates) * 1.16)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    tidy(axes, grid="x")


def _latencies(axes: Axes, skew: Skew) -> None:
    for values, colour, name in (
        (skew.alone_ms, CHASKI, "the others alone"),
        (skew.beside_ms, _HOT, f"beside one subject's {skew.hot_sent:,}"),
    ):
        shares = [(index + 1) / len(values) * 100 for index in range(len(values))]
        axes.step(values, shares, where="post", color=colour, linewidth=2, label=name)
    axes.axhline(99, color=INK, linewidth=0.8, linestyle=(0, (2, 3)))
    axes.text(0.99, 97.6, "99 %", transform=axes.get_yaxis_transform(), ha="right", va="top", fontsize=9)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("milliseconds from the producer's request to the target")
    axes.set_ylabel("messages, %")
    axes.set_ylim(0, 101)
    axes.set_title("Skew: latency of the others", loc="left", fontsize=11, fontweight="bold")
    axes.legend(frameon=False, loc="center right")
    tidy(axes, grid="both")


def tidy(axes: Axes, *, grid: str) -> None:
    """Removes decoration of the axes."""
    axes.grid(visible=True, axis=grid, color=_GRID, linewidth=0.8)  # type: ignore[arg-type]  # its stub wants a literal
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
