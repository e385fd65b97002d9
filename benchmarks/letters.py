"""`python -m benchmarks.letters`: how quickly dead letters are found in a data folder, and in how much memory.

Folders of growing size, the largest with a million dead letters spread over 30 days, are searched by `chaski dead-letters
list` as a user runs it: a process for each search, from its start to its end. `make bench` runs it last. It writes its part
of docs/performance.md.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console

from benchmarks.machine import facts
from benchmarks.markdown import replaced, table
from benchmarks.processes import ROOT, BenchmarkError, route
from chaski_core.dead_letter import DeadLetter, DeadLetterFilter
from chaski_core.retry.ladder import ErrorNote, Reason
from chaski_core.route.loading import load_route
from chaski_core.timestamps import timestamp
from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_embedded.broker.unit_of_work import UnitOfWork
from chaski_embedded.provision import resolve
from chaski_embedded.storage import dead_letters as letters
from chaski_runtime.process.clock import SystemClock

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
MONTH_MS = 30 * DAY_MS
MOST_SECONDS = 5.0  # that an hour of a month may take
MORE_MIB = 50.0  # that a hundred times as many dead letters may add to the memory of a search
BEGIN, END = "<!-- dead letters: written by make bench -->", "<!-- end of dead letters -->"
_DOCUMENT = ROOT / "docs" / "performance.md"
_SUBJECTS = 5_000
_IN_A_COMMIT = 5_000
_PATIENCE_SECONDS = 300.0
_MEASURED = (
    "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:]).returncode; "
    "sys.stderr.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)); sys.exit(code)"
)


@dataclass(frozen=True, slots=True)
class Amount:
    """How much is measured."""

    sizes: Sequence[int]  # of the folders; the largest has a hundred times the first
    looks: int  # for each question; the quickest counts


FULL, QUICK = Amount((10_000, 100_000, 1_000_000), 3), Amount((1_000, 100_000), 1)


@dataclass(frozen=True, slots=True)
class Look:
    """One search."""

    question: str
    found: int
    seconds: float
    peak_mib: float


@dataclass(frozen=True, slots=True)
class Searched:
    """One folder."""

    letters: int
    fill_seconds: float
    disk_mib: float
    looks: Sequence[Look]


def month(count: int, end_ms: int, route_key: str = "ns/r") -> Iterator[DeadLetter]:
    """So many dead letters, spread evenly over the 30 days before."""
    for number in range(count):
        at = end_ms - MONTH_MS + number * MONTH_MS // count
        subject = f"pc_send_{number % _SUBJECTS}"
        error = ErrorNote("503", at, "HTTP 503", "upstream is not there")
        body = {"url": "https://t.example/in", "content": {"text": f"message {number}.", "filler": "x" * 200}}
        yield DeadLetter(
            route_key,
            f"m{number:08}",
            f"m{number:08}",
            subject,
            at,
            Reason.EXHAUSTED,
            "503",
            "t",
            "https://t.example/in",
            1,
            (error,),
            {"subject": subject, "body": body, "metadata": {"id": f"m{number:08}", "route": route_key}},
        )


async def fill(folder: Path, count: int, end_ms: int) -> None:
    """Makes a data folder with so many dead letters."""

    def insert(chunk: Sequence[DeadLetter]) -> Callable[[UnitOfWork], None]:
        def run(session: UnitOfWork) -> None:
            for letter in chunk:
                letters.insert(session.sql(), letter)

        return run

    broker = await EmbeddedBroker.open(folder, SystemClock())
    await resolve(broker, load_route(route("r", "https://t.example/")))
    made = month(count, end_ms, "bench/r")
    while chunk := list(islice(made, _IN_A_COMMIT)):
        await broker.run(insert(chunk))
    await broker.close()


def the_hour(end_ms: int) -> DeadLetterFilter:
    """The hour that ended ten days before."""
    until = end_ms - 10 * DAY_MS
    return DeadLetterFilter(since=until - HOUR_MS, until=until)


def hour_flags(end_ms: int) -> tuple[str, ...]:
    """That hour on the command line."""
    until = end_ms - 10 * DAY_MS
    return ("--since", timestamp(until - HOUR_MS), "--until", timestamp(until))


async def look(question: str, *flags: str, environment: Mapping[str, str] | None = None) -> Look:
    """Runs `chaski dead-letters list` in a process of its own.

    Raises:
        BenchmarkError: it failed.
    """
    command = (str(Path(sys.executable).with_name("chaski")), "dead-letters", "list", *flags, "--limit", "1000000")
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _MEASURED, *command, "--output", "ndjson"),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        env={**os.environ, **(environment or {})},
    )
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            out, told = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise BenchmarkError(f"the search for {question} failed: {told.decode()}")
    return Look(question, out.count(b"\n"), time.monotonic() - began, int(told.split()[-1]) / 1024)


async def search(folder: Path, count: int, tries: int, say: Callable[[str], None]) -> Searched:
    """Fills a folder and asks it everything."""
    end_ms = SystemClock().now_ms()
    began = time.monotonic()
    await fill(folder, count, end_ms)
    fill_seconds = time.monotonic() - began
    day = ("--since", timestamp(end_ms - 11 * DAY_MS), "--until", timestamp(end_ms - 10 * DAY_MS))
    word = f"message {count * 39 // 60}."  # in the middle of that day
    questions = {
        "an hour": hour_flags(end_ms),
        "a subject, in 30 days": ("--subject", "pc_send_77"),
        "a word in the content, in a day": (*day, "--text", word),
        "a day": day,
    }
    looks = []
    for question, flags in questions.items():
        each_try = [await look(question, "--data", str(folder), *flags) for _ in range(tries)]
        looks.append(min(each_try, key=lambda each: each.seconds))
        say(f"{count:,} dead letters, {line(looks[-1])}")
    _check(count, looks)
    return Searched(count, fill_seconds, _disk_mib(folder), looks)


def _disk_mib(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.iterdir()) / 2**20


def _check(count: int, looks: Sequence[Look]) -> None:
    hour, subject, word, day = (each.found for each in looks)
    right = abs(hour - count / 720) <= 1 and subject == len(range(77, count, _SUBJECTS)) and word == 1
    if not right or abs(day - count / 30) > 1:
        raise BenchmarkError(f"of {count} dead letters there were found: {[each.found for each in looks]}")


async def measure(amount: Amount, say: Callable[[str], None]) -> list[Searched]:
    """Every size, one after the other."""
    searched = []
    for count in amount.sizes:
        with tempfile.TemporaryDirectory(dir=ROOT, prefix=".bench-") as folder:
            searched.append(await search(Path(folder) / "data", count, amount.looks, say))
    return searched


def line(each: Look) -> str:
    """One search in a line."""
    return f"{each.question}: {each.found:,} found in {each.seconds:.2f} s, {each.peak_mib:.0f} MiB"


def faults(searched: Sequence[Searched]) -> list[str]:
    """What is not as it must be: an hour takes too long, or a search of many takes more memory than one of few."""
    few, many = searched[0], searched[-1]
    found = []
    if many.looks[0].seconds >= MOST_SECONDS:
        found.append(f"an hour of {many.letters:,} took {many.looks[0].seconds:.2f} s, {MOST_SECONDS:g} s are the most")
    for little, much in zip(few.looks, many.looks, strict=True):
        if much.peak_mib >= little.peak_mib + MORE_MIB:
            found.append(f"{much.question}: {much.peak_mib:.0f} MiB, and {little.peak_mib:.0f} MiB of a hundredth")
    return found


def markdown(searched: Sequence[Searched]) -> str:
    """The part of docs/performance.md."""
    head = ("dead letters over 30 days", "looked for", "found", "seconds", "peak RSS, MiB")
    rows = [
        (
            f"{each.letters:,} ({each.disk_mib:,.0f} MiB)",
            one.question,
            f"{one.found:,}",
            f"{one.seconds:.2f}",
            f"{one.peak_mib:.0f}",
        )
        for each in searched
        for one in each.looks
    ]
    machine = dict(facts(ROOT))
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d} ({machine['CPU']}, {machine['Python']}; {machine['busy before the start']} at the end). "
        f"The largest folder was filled in {searched[-1].fill_seconds:.0f} s.\n\n{table(head, rows)}"
    )


def write(searched: Sequence[Searched]) -> None:
    """Writes that part of docs/performance.md."""
    _DOCUMENT.write_text(
        replaced(_DOCUMENT.read_text(encoding="utf-8"), BEGIN, END, markdown(searched)), encoding="utf-8"
    )


def as_json(searched: Sequence[Searched]) -> list[dict[str, Any]]:
    """For `--json`."""
    return [asdict(each) for each in searched]


def main() -> int:
    """Measures and reports; 1 where something is not as it must be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.letters", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few of them, once; prints, and leaves the document alone")
    options = parser.parse_args()
    console = Console()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            amount = QUICK if options.quick else FULL
            searched = runner.run(measure(amount, lambda told: console.print(f"[green]✓[/] {told}", highlight=False)))
    except BenchmarkError as error:
        console.print(f"[red]✗[/] {error}", highlight=False)
        return 1
    for fault in faults(searched):
        console.print(f"[red]✗[/] {fault}", highlight=False)
    if not options.quick:
        write(searched)
    return int(bool(faults(searched)))


if __name__ == "__main__":
    sys.exit(main())
