"""Runs `chaski send`."""

import asyncio
import contextlib
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from chaski_cli.errors import CommandError, Exit, wrong_input
from chaski_cli.output import emit_json, printable, stderr, stdout
from chaski_cli.sending.client import IngestClient
from chaski_cli.sending.lines import Line, Rejected, give_up
from chaski_cli.sending.message import Flags, message
from chaski_cli.sending.resuming import Selection
from chaski_cli.sending.source import Feed, Intake, Source, opened, unreadable
from chaski_core import json_codec
from chaski_core.message import labels
from chaski_runtime.process.signals import stop_on_signals

_SHOWN_REJECTIONS = 20
_ROUTE = re.compile(r"[a-z0-9.-]+/[a-z0-9.-]+\Z")


@dataclass(frozen=True, slots=True)
class Destination:
    """Where to send, and how patiently."""

    to: str
    route: str
    retry_seconds: float
    headers: dict[str, str] = field(default_factory=dict)  # for ingest itself, such as Authorization

    def __post_init__(self) -> None:
        if not _ROUTE.match(self.route):
            raise wrong_input(f'--route: "{self.route}" is no namespace/name', "write it like --route default/first")


@dataclass(frozen=True, slots=True)
class Lines:
    """Which lines of a file are sent, and what becomes of the others."""

    selection: Selection
    skip_unreadable: bool = False
    rejected_to: Path | None = None


@dataclass(slots=True)
class Tally:
    """What became of a file."""

    left: Selection  # what is not settled yet
    accepted: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    stopped: bool = False  # by a signal
    complete: bool = False  # every line was accepted, or rejected for what is in it

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


def send_one(destination: Destination, flags: Flags, idempotency_key: str | None, *, as_json: bool) -> Exit:
    """Sends the message that the flags describe."""
    made = message(flags)
    if idempotency_key is None:
        made.setdefault("id", new_id())
    headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}

    async def run() -> dict[str, Any]:
        async with aiohttp.ClientSession(headers=destination.headers) as http:
            return await _client(http, destination, stderr()).send_one(json_codec.dumps(made), headers)

    try:
        accepted = asyncio.run(run())
    except KeyboardInterrupt:
        again = f"--id {made['id']}" if idempotency_key is None else f"--idempotency-key {idempotency_key}"
        raise CommandError(
            "stopped: it is not known whether the message was accepted",
            next_step=f"send it again within five minutes with {again}: then it is one message",
            exit_code=Exit.INTERRUPTED,
        ) from None
    if as_json:
        emit_json(accepted)
    else:
        place = f"queue {accepted['queue']}, partition {accepted['partition']}"
        stdout().print(f"accepted {accepted['id']} ({place})")
        stderr().print(f"see what becomes of it: chaski trace {accepted['id']}", style="dim")
    return Exit.OK


def send_file(destination: Destination, name: str, lines: Lines, *, as_json: bool) -> Exit:
    """Sends the lines of a file, or of standard input where `name` is `-`.

    Raises:
        CommandError: a line of the file can't be read, and such lines are not to be skipped; nothing was sent.
    """
    started = time.monotonic()
    with opened(name) as source:
        if not source.is_live and not lines.skip_unreadable:
            _check(source, lines.selection)
        tally = asyncio.run(_send_until_stopped(destination, source, lines))
    if as_json:
        emit_json(tally.as_json())
    else:
        _report(tally, time.monotonic() - started, lines.rejected_to)
    if lines.rejected_to is not None:
        _keep(tally.rejected, lines.rejected_to)
    if tally.stopped:
        return Exit.INTERRUPTED
    return Exit.OK if tally.complete and not tally.rejected else Exit.FAILED


def _keep(rejected: Sequence[Rejected], path: Path) -> None:
    try:
        path.write_bytes(b"".join(entry.data + b"\n" for entry in rejected))
    except OSError as error:
        raise CommandError(f"--rejected {path}: {error.strerror}") from error


def new_id() -> str:
    """A time-ordered id."""
    return labels.generate(time.time_ns() // 1_000_000, os.urandom(10))


def new_run() -> str:
    """The name of a run that sends a file; ids of its lines are made of it."""
    return f"send-{os.urandom(8).hex()}"


def read_content(path: Path) -> bytes:
    """The bytes of `--content-file`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise wrong_input(f"--content-file {path}: {error.strerror}", "name a file that can be read") from error


def _check(source: Source, selection: Selection) -> None:
    try:
        wrong = unreadable(source, selection)
    except KeyboardInterrupt:
        raise CommandError("stopped: nothing was sent", exit_code=Exit.INTERRUPTED) from None
    if wrong:
        shown = [f"line {entry.number}: {entry.reason}" for entry in wrong[:_SHOWN_REJECTIONS]]
        more = len(wrong) - len(shown)
        count = "1 line" if len(wrong) == 1 else f"{len(wrong)} lines"
        raise wrong_input(
            "\n".join(
                [
                    f"{source.name}: {count} can't be read; nothing was sent",
                    *shown,
                    *([f"... and {more} more"] * (more > 0)),
                ]
            ),
            "correct them, or send the other lines with --skip-unreadable",
        )


async def _send_until_stopped(destination: Destination, source: Source, lines: Lines) -> Tally:
    return await _send_lines(destination, source, lines, stop_on_signals())


async def _send_lines(destination: Destination, source: Source, lines: Lines, stop: asyncio.Event) -> Tally:
    tally, console = Tally(lines.selection), stderr()
    intake = Intake(lines.selection, lines.skip_unreadable, tally.rejected)
    feed = Feed(source, intake, stop, keep_rest=lines.rejected_to is not None)
    columns = (TextColumn("sending"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=source.is_live or not console.is_terminal) as bar:
        task = bar.add_task("sending", total=source.size)
        async with aiohttp.ClientSession(headers=destination.headers) as http:
            client = _client(http, destination, console, stop)
            unsent = await _send_requests(client, feed, tally, lambda sent: bar.advance(task, sent))
    tally.stopped = feed.interrupted or (unsent and stop.is_set())
    tally.complete = not (tally.stopped or unsent or intake.blocked_at)
    tally.rejected.sort(key=lambda entry: entry.number)
    return tally


async def _send_requests(client: IngestClient, feed: Feed, tally: Tally, advance: Callable[[int], None]) -> bool:
    """Sends one request after the other; returns whether lines are left that ingest did not take in time."""
    failed = ""
    async with contextlib.aclosing(feed.requests()) as requests:
        async for request in requests:
            if failed:
                tally.rejected += give_up(request, f"not sent: {failed}")
                continue
            left, reason = await _send_chunk(client, request, tally)
            advance(sum(len(line.data) + 1 for line in request))
            tally.left = tally.left.after([line.number for line in request], [line.number for line in left])
            if left:  # order: nothing after these may be sent
                failed = reason
                tally.rejected += give_up(left, reason)
                if feed.stop.is_set() or (feed.source.is_live and not feed.keep_rest):
                    break
    return bool(failed)


async def _send_chunk(client: IngestClient, chunk: list[Line], tally: Tally) -> tuple[Sequence[Line], str]:
    """The lines after which nothing can be sent, and why; none where all were accepted or rejected."""
    try:
        judged = await client.send_chunk(chunk)
    except CommandError as error:
        if not tally.accepted:
            raise
        return chunk, str(error)  # earlier lines were accepted, which must be reported
    tally.accepted += len(judged.accepted)
    tally.rejected += judged.rejected
    return judged.again, judged.reason


def _client(
    http: aiohttp.ClientSession, destination: Destination, console: Console, stop: asyncio.Event | None = None
) -> IngestClient:
    def tell(reason: str) -> None:
        console.print(f"not accepted yet, trying again: {printable(reason)}", style="yellow", markup=False)

    return IngestClient(http, destination.to, destination.route, destination.retry_seconds, tell, stop)


def _report(tally: Tally, seconds: float, rejected_to: Path | None) -> None:
    console = stderr()
    for entry in tally.rejected[:_SHOWN_REJECTIONS]:
        console.print(f"line {entry.number}: {entry.status} {printable(entry.reason)}", style="red", markup=False)
    unseen = len(tally.rejected) - _SHOWN_REJECTIONS
    if unseen > 0:
        console.print(f"... and {unseen} more; --output json lists them all", style="red")
    lines = tally.accepted + len(tally.rejected)
    stdout().print(f"accepted {tally.accepted} of {lines} lines in {seconds:.1f} s")
    if tally.rejected and rejected_to is not None:
        console.print(f"the other lines are in {rejected_to}: correct them and send that file", markup=False)
    if not tally.complete:
        how = "stopped" if tally.stopped else "not complete"
        console.print(
            f"{how}: accepted {tally.accepted}; continue with the same command and {tally.left.flags}", markup=False
        )
        console.print(
            "within five minutes, so that a line whose answer did not come is taken for a repeat", style="dim"
        )
