"""The progress and the report of a run on a terminal, for `make campaign` and `make chaos`."""

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

T = TypeVar("T")
_SHOWN = 5  # violations of each kind that are shown with their timeline


async def with_progress(
    work: Coroutine[Any, Any, T], console: Console, total: float | None, state: Callable[[], tuple[str, float, str]]
) -> T:
    """The result of `work`; meanwhile a bar shows phase, completed steps of `total`, and details."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[detail]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("starting", total=total, detail="")
        running = asyncio.create_task(work)
        while not running.done():
            phase, completed, detail = state()
            bar.update(task, description=phase, completed=completed, detail=detail)
            await asyncio.wait({running}, timeout=0.5)
        return running.result()


def print_report(
    console: Console, title: str, report: Mapping[str, Any], sections: Sequence[str], lines: slice = slice(None)
) -> None:
    """Prints a report: its sections as a table, violations with these lines of their timelines, the command to repeat it."""
    table = Table("what", "number", title=title)
    table.columns[1].justify = "right"
    for name in (*sections, "found"):
        table.add_section()
        for what, number in report[name].items():
            style = "bold red" if name == "found" and number else ""
            table.add_row(f"{name}: {what}", str(number), style=style)
    console.print(table)
    shown: Counter[str] = Counter()
    for each in report["violations"]:
        shown[each["kind"]] += 1
        if shown[each["kind"]] <= _SHOWN:
            subject = each["what"] if "what" in each else each["token"]
            console.print(f"[bold red]{each['kind']}[/bold red] {subject}: {each['text']}", highlight=False)
            for line in each["timeline"][lines]:
                console.print(f"    {line}", highlight=False, markup=False)
    console.print(f"repeat: {report['repeat']}", highlight=False)
