"""The figures of worker and ingest as one picture."""

import statistics
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks.engine.results import TITLES, Engine, Load
from benchmarks.plot import CHASKI, FLOOR, INK, STYLE, tidy

_COLOURS = {"chaski": CHASKI, "floor": FLOOR, "naive": INK}


def draw(engine: Engine, file: Path) -> None:
    """Writes the plot: what a message costs each consumer, under each load."""
    with mpl.rc_context(STYLE):
        figure, panels = plt.subplots(1, len(engine.loads), figsize=(15.0, 2.9), layout="constrained")
        for axes, load in zip(panels, engine.loads, strict=True):
            _costs(axes, engine, load)
        figure.savefig(file, metadata={"Date": None}, facecolor="white")
        plt.close(figure)


def _costs(axes: Axes, engine: Engine, load: Load) -> None:
    costs = {kind: statistics.median(each.cpu for each in engine.of(kind, load.key)) for kind in reversed(TITLES)}
    bars = axes.barh(
        [TITLES[kind] for kind in costs], costs.values(), color=[_COLOURS[kind] for kind in costs], height=0.66
    )
    axes.bar_label(bars, [f"{cost:.2f}" for cost in costs.values()], padding=4, fontsize=9)
    axes.set_title(load.title[:1].upper() + load.title[1:], loc="left", fontsize=10, fontweight="bold")
    axes.set_xlabel("CPU-seconds per 1,000 messages")
    axes.set_xlim(0, max(costs.values()) * 1.2)
    axes.tick_params(axis="y", length=0)
    tidy(axes, grid="x")
