"""`make bench`: measures Chaski on this machine beside the least code that could do the same, and writes docs/performance.md.

First `chaski dev` with its embedded backend, then worker and ingest as a cluster runs them, on a stand-in for SQS; last, how
quickly dead letters are found (`dead_letters.py`).
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import orjson
import uvloop
from rich.console import Console

from benchmarks import dead_letters, figures, measure, plot
from benchmarks.engine import figures as engine_figures
from benchmarks.engine import plot as engine_plot
from benchmarks.engine.measure import engine
from benchmarks.engine.results import Consumed, Ingested, verdicts
from benchmarks.machine import facts
from benchmarks.markdown import replaced
from benchmarks.plan import FULL, QUICK, Plan
from benchmarks.processes import ROOT, BenchmarkError, target
from benchmarks.results import Calm, Floor, Results, Skew, Throughput
from benchmarks.skew import skew

_DOCUMENT = ROOT / "docs" / "performance.md"
_PLOT = ROOT / "docs" / "performance" / "throughput.svg"
_ENGINE_PLOT = _PLOT.with_name("engine.svg")

T = TypeVar("T")


class Show:
    """Shows the measurement in progress, and each figure as soon as it is known."""

    def __init__(self, console: Console) -> None:
        self._console = console

    async def measured(self, what: str, work: Awaitable[T]) -> T:
        """Waits for a measurement, and prints its figures."""
        with self._console.status(f"{what} …"):
            result = await work
        for line in _lines(result):
            self._console.print(f"[green]✓[/] {line}", highlight=False)
        return result


_LINE_OF: dict[type, Callable[[Any], str]] = {
    Floor: figures.floor_line,
    Throughput: figures.throughput_line,
    Calm: figures.calm_line,
    Skew: figures.skew_line,
    Consumed: engine_figures.consumed_line,
    Ingested: engine_figures.ingested_line,
}


def _lines(result: object) -> list[str]:
    if isinstance(result, tuple | list):
        return [line for each in result for line in _lines(each)]
    return [_LINE_OF[type(result)](result)]


async def _run(plan: Plan, show: Show) -> Results:
    machine, start = facts(ROOT), time.monotonic()
    floors = await show.measured("the floor: bare aiohttp", measure.floors(plan))
    async with target() as server:
        throughputs = [
            *await show.measured(
                "accepted one by one, drained in Relaxed",
                measure.backlog(plan, "Relaxed", batches=False, server=server),
            ),
            *await show.measured(
                "accepted in batches, drained in Strict", measure.backlog(plan, "Strict", batches=True, server=server)
            ),
            await show.measured("both at once, Relaxed", measure.together(plan, "Relaxed", server)),
            await show.measured("both at once, Strict", measure.together(plan, "Strict", server)),
        ]
        calm = await show.measured("latency at a low rate", measure.calm(plan, server))
        skewed = await show.measured(f"skew: {plan.hot + plan.others:,} messages", skew(plan, server))
    on_sqs = await engine(plan.engine, show.measured)
    day, seconds = f"{datetime.now(UTC):%Y-%m-%d}", time.monotonic() - start
    return Results(plan.name, day, machine, floors, throughputs, calm, skewed, on_sqs, seconds)


def _write(results: Results, console: Console) -> None:
    _DOCUMENT.write_text(
        replaced(_DOCUMENT.read_text(encoding="utf-8"), figures.BEGIN, figures.END, figures.markdown(results)),
        encoding="utf-8",
    )
    _PLOT.parent.mkdir(exist_ok=True)
    plot.draw(results, _PLOT)
    engine_plot.draw(results.engine, _ENGINE_PLOT)
    for file in (_DOCUMENT, _PLOT, _ENGINE_PLOT):
        console.print(f"wrote {file.relative_to(ROOT)}", highlight=False)


def main() -> int:
    """Measures and prints; 1 if a measurement failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about a minute; prints, and does not write the document")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all measurements to FILE")
    options = parser.parse_args()
    console = Console()
    if not Path("/proc/self/stat").exists():
        console.print("CPU time and memory are read from /proc, so this needs Linux")
        return 1
    plan = QUICK if options.quick else FULL
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            results = runner.run(_run(plan, Show(console)))
            amount = dead_letters.FULL if plan is FULL else dead_letters.QUICK
            searched = runner.run(
                dead_letters.measure(amount, lambda text: console.print(f"[green]✓[/] {text}", highlight=False))
            )
    except BenchmarkError as error:
        console.print(f"[red]✗[/] {error}", highlight=False)
        return 1
    for line in [*figures.summary(results), *dead_letters.faults(searched)]:
        console.print(line, highlight=False)
    if options.json:
        document = asdict(results) | {"verdicts": [asdict(each) for each in verdicts(results.engine)]}
        document["letters"] = dead_letters.as_json(searched)
        options.json.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    if plan is FULL:
        dead_letters.write(searched)
        _write(results, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
