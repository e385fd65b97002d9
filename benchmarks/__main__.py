"""`make bench`: measures Chaski on this machine beside a bare aiohttp pair, and writes docs/performance.md."""

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import orjson
import uvloop
from rich.console import Console

from benchmarks import figures, measure, plot
from benchmarks.machine import facts
from benchmarks.plan import FULL, QUICK, Plan
from benchmarks.processes import ROOT, BenchmarkError, target
from benchmarks.results import Calm, Floor, Results, Skew, Throughput
from benchmarks.skew import skew

_DOCUMENT = ROOT / "docs" / "performance.md"
_PLOT = ROOT / "docs" / "performance" / "throughput.svg"

T = TypeVar("T")


class Show:
    """Says what is being measured, and each figure as soon as it is known."""

    def __init__(self, console: Console) -> None:
        self._console = console

    async def measured(self, what: str, work: Awaitable[T]) -> T:
        """Waits for a measurement, and tells its figures."""
        with self._console.status(f"{what} …"):
            result = await work
        for line in _lines(result):
            self._console.print(f"[green]✓[/] {line}", highlight=False)
        return result


def _lines(result: object) -> list[str]:
    match result:
        case Floor():
            return [figures.floor_line(result)]
        case Throughput():
            return [figures.throughput_line(result)]
        case Calm():
            return [f"at {result.rate}/s: p50 {result.through.p50_ms:.1f} ms, p99 {result.through.p99_ms:.1f} ms"]
        case Skew():
            alone, beside = result.alone, result.beside
            return [f"skew: p99 {alone.p99_ms:.1f} ms alone, {beside.p99_ms:.1f} ms beside the hot subject"]
        case tuple() | list():
            return [line for each in result for line in _lines(each)]
        case _:
            return []


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
    return Results(
        plan.name, f"{datetime.now(UTC):%Y-%m-%d}", machine, floors, throughputs, calm, skewed, time.monotonic() - start
    )


def _write(results: Results, console: Console) -> None:
    _DOCUMENT.write_text(figures.replaced(_DOCUMENT.read_text(encoding="utf-8"), results), encoding="utf-8")
    _PLOT.parent.mkdir(exist_ok=True)
    plot.draw(results, _PLOT)
    for file in (_DOCUMENT, _PLOT):
        console.print(f"wrote {file.relative_to(ROOT)}", highlight=False)


def main() -> int:
    """Measures and reports; 1 where a measurement went wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under a minute; prints, and leaves the document alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured to FILE")
    options = parser.parse_args()
    console = Console()
    if not Path("/proc/self/stat").exists():
        console.print("CPU time and memory are read from /proc, so this needs Linux")
        return 1
    plan = QUICK if options.quick else FULL
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            results = runner.run(_run(plan, Show(console)))
    except BenchmarkError as error:
        console.print(f"[red]✗[/] {error}", highlight=False)
        return 1
    for line in figures.summary(results):
        console.print(line, highlight=False)
    if options.json:
        options.json.write_bytes(orjson.dumps(asdict(results), option=orjson.OPT_INDENT_2))
    if plan is FULL:
        _write(results, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
