"""Sends the lines of a file or of standard input, in order, and reports what is left to resume."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from chaski_cli.output import emit_result, printable, stderr, stdout
from chaski_cli.sending.client import Destination, IngestClient, retry_printer
from chaski_cli.sending.input import Intake, LineInput, RequestFeed, find_unreadable, open_input
from chaski_cli.sending.lines import Accepted, ChunkResult, Line, Rejected, Selection, reject_all
from chaski_runtime.process.command_error import CommandError, ExitCode, wrong_input
from chaski_runtime.process.lifecycle import stop_on_signals

_SHOWN_REJECTIONS = 20


@dataclass(frozen=True, slots=True)
class FileOptions:
    """Which lines to send, and what to do with rejected ones."""

    selection: Selection
    skip_unreadable: bool = False
    rejected_to: Path | None = None
    output: str = "table"  # or json, or ndjson


@dataclass(slots=True)
class Tally:
    """The outcome of a file."""

    left: Selection  # lines that are not settled yet
    accepted: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    stopped: bool = False  # by a signal
    complete: bool = False  # every line was accepted, or rejected for its content

    def as_json(self) -> dict[str, Any]:
        """`{accepted, rejected, failures: [{line, status, reason}], run, complete, resume}`."""
        failures = [entry.as_json() for entry in self.rejected]
        return {
            "accepted": self.accepted,
            "rejected": len(self.rejected),
            "failures": failures,
            "run": self.left.run,
            "complete": self.complete,
            "resume": None if self.complete else self.left.flags,
        }


def new_run_id() -> str:
    """A random id; ids of lines derive from it."""
    return f"send-{os.urandom(8).hex()}"


def send_file(destination: Destination, name: str, options: FileOptions) -> ExitCode:
    """Sends the lines of a file, or of standard input if `name` is `-`.

    Raises:
        CommandError: a line of a file can't be read, and such lines are not to be skipped; nothing was sent.
    """
    started = time.monotonic()
    with open_input(name) as line_input:
        if not line_input.is_live and not options.skip_unreadable:
            _check(line_input, options.selection)
        tally = asyncio.run(_send_until_stopped(destination, line_input, options))
    if options.output == "json":
        emit_result(tally.as_json())
    else:
        _report(tally, time.monotonic() - started, options)
    if options.rejected_to is not None:
        _write_rejected(tally.rejected, options.rejected_to)
    if tally.stopped:
        return ExitCode.INTERRUPTED
    return ExitCode.OK if tally.complete and not tally.rejected else ExitCode.FAILED


def _write_rejected(rejected: Sequence[Rejected], path: Path) -> None:
    try:
        path.write_bytes(b"".join(entry.data + b"\n" for entry in rejected))
    except OSError as error:
        raise CommandError(f"--rejected {path}: {error.strerror}") from error


def _check(line_input: LineInput, selection: Selection) -> None:
    try:
        unreadable = find_unreadable(line_input, selection)
    except KeyboardInterrupt:
        raise CommandError("stopped: nothing was sent", exit_code=ExitCode.INTERRUPTED) from None
    if unreadable:
        shown = [f"line {entry.number}: {entry.reason}" for entry in unreadable[:_SHOWN_REJECTIONS]]
        more = len(unreadable) - len(shown)
        count = "1 line" if len(unreadable) == 1 else f"{len(unreadable)} lines"
        message = [f"{line_input.name}: {count} can't be read; nothing was sent", *shown]
        message += [f"... and {more} more"] * (more > 0)
        raise wrong_input("\n".join(message), "correct them, or send the other lines with --skip-unreadable")


async def _send_until_stopped(destination: Destination, line_input: LineInput, options: FileOptions) -> Tally:
    return await _send_lines(destination, line_input, options, stop_on_signals())


async def _send_lines(
    destination: Destination, line_input: LineInput, options: FileOptions, stop: asyncio.Event
) -> Tally:
    tally, console = Tally(options.selection), stderr()
    intake = Intake(options.selection, options.skip_unreadable, tally.rejected)
    feed = RequestFeed(line_input, intake, stop, keep_rest=options.rejected_to is not None)
    columns = (TextColumn("sending"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=line_input.is_live or not console.is_terminal) as bar:
        task = bar.add_task("sending", total=line_input.size)
        async with aiohttp.ClientSession(headers=destination.headers) as http:
            client = IngestClient(http, destination, retry_printer(console), stop)
            results = _Results(tally, options.output == "ndjson")

            def advance(sent: int, accepted: Sequence[Accepted]) -> None:
                bar.advance(task, sent)
                results.emit(accepted)

            unsent = await _send_requests(client, feed, tally, advance)
            results.emit(())
    tally.stopped = feed.interrupted or (unsent and stop.is_set())
    tally.complete = not (tally.stopped or unsent or intake.blocked_at)
    tally.rejected.sort(key=lambda entry: entry.number)
    return tally


@dataclass(slots=True)
class _Results:
    """Writes the result of each line as soon as it is known, if wanted."""

    tally: Tally
    wanted: bool
    emitted: int = 0  # of the rejected lines

    def emit(self, accepted: Sequence[Accepted]) -> None:
        if self.wanted:
            for result in [*(each.as_json() for each in accepted), *(each.as_json() for each in self._new_rejected())]:
                emit_result(result)

    def _new_rejected(self) -> Sequence[Rejected]:
        first, self.emitted = self.emitted, len(self.tally.rejected)
        return self.tally.rejected[first:]


async def _send_requests(
    client: IngestClient, feed: RequestFeed, tally: Tally, advance: Callable[[int, Sequence[Accepted]], None]
) -> bool:
    """Sends requests one after the other; returns whether lines are left that ingest did not accept in time."""
    failed = ""
    async with contextlib.aclosing(feed.requests()) as requests:
        async for request in requests:
            if failed:
                tally.rejected += reject_all(request, f"not sent: {failed}")
                continue
            result = await _send_chunk(client, request, tally)
            left, reason = result.unsettled, result.reason
            advance(sum(len(line.data) + 1 for line in request), result.accepted)
            tally.left = tally.left.after([line.number for line in request], [line.number for line in left])
            if left:  # to keep the order, nothing after these may be sent
                failed = reason
                tally.rejected += reject_all(left, reason)
                if feed.stop.is_set() or (feed.line_input.is_live and not feed.keep_rest):
                    break
    return bool(failed)


async def _send_chunk(client: IngestClient, chunk: list[Line], tally: Tally) -> ChunkResult:
    """Sends a request; after its unsettled lines nothing may be sent."""
    try:
        result = await client.send_chunk(chunk)
    except CommandError as error:
        if not tally.accepted:
            raise
        return ChunkResult((), (), tuple(chunk), str(error))  # lines that were accepted before must be reported
    tally.accepted += len(result.accepted)
    tally.rejected += result.rejected
    return result


def _report(tally: Tally, seconds: float, options: FileOptions) -> None:
    console, rejected_to = stderr(), options.rejected_to
    for entry in tally.rejected[:_SHOWN_REJECTIONS]:
        console.print(f"line {entry.number}: {entry.status} {printable(entry.reason)}", style="red", markup=False)
    more = len(tally.rejected) - _SHOWN_REJECTIONS
    if more > 0:
        console.print(f"... and {more} more; --output json lists them all", style="red")
    lines = tally.accepted + len(tally.rejected)
    summary = stderr() if options.output == "ndjson" else stdout()
    summary.print(f"accepted {tally.accepted} of {lines} lines in {seconds:.1f} s")
    if tally.rejected and rejected_to is not None:
        console.print(f"rejected lines were written to {rejected_to}: correct them and send that file", markup=False)
    if not tally.complete:
        state = "stopped" if tally.stopped else "not complete"
        resume = f"{state}: accepted {tally.accepted}; resume with the same command and {tally.left.flags}"
        console.print(resume, markup=False)
        hint = "resume within five minutes, so that lines whose responses were lost are deduplicated"
        console.print(hint, style="dim")
