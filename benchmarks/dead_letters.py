"""`python -m benchmarks.dead_letters`: how fast dead letters are found in a data folder, and with how much memory.

Folders of growing size, the largest with a million dead letters spread over 30 days, are searched by `chaski dead-letters
list` as a user runs it: one process a search, measured from its start to its end. `make bench` runs it last. It writes its
part of docs/performance.md.
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
from chaski_embedded.storage import dead_letters as storage
from chaski_runtime.process.clock import SystemClock

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
MONTH_MS = 30 * DAY_MS
MOST_SECONDS = 5.0  # limit for an hour of a month
MORE_MIB = 50.0  # limit of the additional memory of a search in a hundred times as many dead letters
BEGIN, END = "<!-- dead letters: written by make bench -->", "<!-- end of dead letters -->"
_DOCUMENT = ROOT / "docs" / "performance.md"
_SUBJECTS = 5_000
_IN_A_COMMIT = 5_000
_SEARCH_SECONDS = 300.0
_MEASURED = (
    "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:]).returncode; "
    "sys.stderr.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)); sys.exit(code)"
)


@dataclass(frozen=True, slots=True)
class Amount:
    """The size of the measurement."""

    sizes: Sequence[int]  # of the folders; the largest has a hundred times the first
    repetitions: int  # of each search; the quickest counts


FULL, QUICK = Amount((10_000, 100_000, 1_000_000), 3), Amount((1_000, 100_000), 1)


@dataclass(frozen=True, slots=True)
class Search:
    """One search of a folder."""

    question: str
    found: int
    seconds: float
    peak_mib: float


@dataclass(frozen=True, slots=True)
class FolderResult:
    """The searches of one folder."""

    dead_letters: int
    fill_seconds: float
    disk_mib: float
    searches: Sequence[Search]


def month(count: int, end_ms: int, route_key: str = "ns/r") -> Iterator[DeadLetter]:
    """`count` dead letters, spread evenly over the 30 days before `end_ms`."""
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
    """Creates a data folder with `count` dead letters."""

    def insert(chunk: Sequence[DeadLetter]) -> Callable[[UnitOfWork], None]:
        def run(session: UnitOfWork) -> None:
            for dead_letter in chunk:
                storage.insert(session.sql(), dead_letter)

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


async def run_search(question: str, *flags: str, environment: Mapping[str, str] | None = None) -> Search:
    """Runs `chaski dead-letters list` in a process of its own.

    Raises:
        BenchmarkError: the command failed.
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
        async with asyncio.timeout(_SEARCH_SECONDS):
            out, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise BenchmarkError(f"the search for {question} failed: {errors.decode()}")
    return Search(question, out.count(b"\n"), time.monotonic() - began, int(errors.split()[-1]) / 1024)


async def measure_folder(folder: Path, count: int, repetitions: int, say: Callable[[str], None]) -> FolderResult:
    """Fills a folder and runs every search."""
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
    searches = []
    for question, flags in questions.items():
        each_try = [await run_search(question, "--data", str(folder), *flags) for _ in range(repetitions)]
        searches.append(min(each_try, key=lambda each: each.seconds))
        say(f"{count:,} dead letters, {line(searches[-1])}")
    _check(count, searches)
    return FolderResult(count, fill_seconds, _disk_mib(folder), searches)


def _disk_mib(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.iterdir()) / 2**20


def _check(count: int, searches: Sequence[Search]) -> None:
    hour, subject, word, day = (each.found for each in searches)
    right = abs(hour - count / 720) <= 1 and subject == len(range(77, count, _SUBJECTS)) and word == 1
    if not right or abs(day - count / 30) > 1:
        raise BenchmarkError(f"of {count} dead letters these were found: {[each.found for each in searches]}")


async def measure(amount: Amount, say: Callable[[str], None]) -> list[FolderResult]:
    """Every size, one after the other."""
    results = []
    for count in amount.sizes:
        with tempfile.TemporaryDirectory(dir=ROOT, prefix=".bench-") as folder:
            results.append(await measure_folder(Path(folder) / "data", count, amount.repetitions, say))
    return results


def line(each: Search) -> str:
    """One search in a line."""
    return f"{each.question}: {each.found:,} found in {each.seconds:.2f} s, {each.peak_mib:.0f} MiB"


def faults(results: Sequence[FolderResult]) -> list[str]:
    """Passed limits: the time for an hour, or the additional memory of a search in the largest folder."""
    few, many = results[0], results[-1]
    found = []
    if many.searches[0].seconds >= MOST_SECONDS:
        found.append(
            f"an hour of {many.dead_letters:,} took {many.searches[0].seconds:.2f} s, the limit is {MOST_SECONDS:g} s"
        )
    for little, much in zip(few.searches, many.searches, strict=True):
        if much.peak_mib >= little.peak_mib + MORE_MIB:
            found.append(
                f"{much.question}: {much.peak_mib:.0f} MiB, but {little.peak_mib:.0f} MiB in a hundredth of the dead letters"
            )
    return found


def markdown(results: Sequence[FolderResult]) -> str:
    """The part of docs/performance.md."""
    head = ("dead letters over 30 days", "search", "found", "seconds", "peak RSS, MiB")
    rows = [
        (
            f"{each.dead_letters:,} ({each.disk_mib:,.0f} MiB)",
            one.question,
            f"{one.found:,}",
            f"{one.seconds:.2f}",
            f"{one.peak_mib:.0f}",
        )
        for each in results
        for one in each.searches
    ]
    machine = dict(facts(ROOT))
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d} ({machine['CPU']}, {machine['Python']}; {machine['busy before the start']} at the end). "
        f"The largest folder was filled in {results[-1].fill_seconds:.0f} s.\n\n{table(head, rows)}"
    )


def write(results: Sequence[FolderResult]) -> None:
    """Writes that part of docs/performance.md."""
    _DOCUMENT.write_text(
        replaced(_DOCUMENT.read_text(encoding="utf-8"), BEGIN, END, markdown(results)), encoding="utf-8"
    )


def as_json(results: Sequence[FolderResult]) -> list[dict[str, Any]]:
    """The results for `--json`."""
    return [asdict(each) for each in results]


def main() -> int:
    """Measures and prints; 1 if a limit was passed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dead_letters", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="small folders, once; prints, and does not write the document"
    )
    options = parser.parse_args()
    console = Console()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            amount = QUICK if options.quick else FULL
            results = runner.run(measure(amount, lambda text: console.print(f"[green]✓[/] {text}", highlight=False)))
    except BenchmarkError as error:
        console.print(f"[red]✗[/] {error}", highlight=False)
        return 1
    for fault in faults(results):
        console.print(f"[red]✗[/] {fault}", highlight=False)
    if not options.quick:
        write(results)
    return int(bool(faults(results)))


if __name__ == "__main__":
    sys.exit(main())
