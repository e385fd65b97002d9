"""Runs `chaski send`."""

import asyncio
import contextlib
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import aiohttp
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from chaski_cli.console import emit_json, printable, stderr, stdout
from chaski_cli.errors import CommandError, Exit, wrong_input
from chaski_cli.sending.client import IngestClient
from chaski_cli.sending.lines import Line, Rejected, chunks, give_up, prepare
from chaski_cli.sending.message import Flags, message
from chaski_core import ids, jsontext

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


@dataclass(slots=True)
class Tally:
    """What became of a file."""

    accepted: int = 0
    rejected: list[Rejected] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """`{accepted, rejected, failures: [{line, status, reason}]}`."""
        failures = [entry.as_json() for entry in self.rejected]
        return {"accepted": self.accepted, "rejected": len(self.rejected), "failures": failures}


def send_one(destination: Destination, flags: Flags, idempotency_key: str | None, *, as_json: bool) -> Exit:
    """Sends the message that the flags describe."""
    made = message(flags)
    if idempotency_key is None:
        made.setdefault("id", new_id())
    headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}

    async def run() -> dict[str, Any]:
        async with aiohttp.ClientSession(headers=destination.headers) as http:
            return await _client(http, destination, stderr()).send_one(jsontext.dumps(made), headers)

    accepted = asyncio.run(run())
    if as_json:
        emit_json(accepted)
    else:
        place = f"queue {accepted['queue']}, partition {accepted['partition']}"
        stdout().print(f"accepted {accepted['id']} ({place})")
        stderr().print(f"see what becomes of it: chaski trace {accepted['id']}", style="dim")
    return Exit.OK


def send_file(destination: Destination, source: str, rejected_to: Path | None, *, as_json: bool) -> Exit:
    """Sends every line of a file, or of standard input where `source` is `-`."""
    started = time.monotonic()
    tally = asyncio.run(_send_lines(destination, source))
    if rejected_to is not None:
        rejected_to.write_bytes(b"".join(entry.data + b"\n" for entry in tally.rejected))
    if as_json:
        emit_json(tally.as_json())
    else:
        _report(tally, time.monotonic() - started, rejected_to)
    return Exit.FAILED if tally.rejected else Exit.OK


def new_id() -> str:
    """A time-ordered id."""
    return ids.generate(time.time_ns() // 1_000_000, os.urandom(10))


def read_content(path: Path) -> bytes:
    """The bytes of `--content-file`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise wrong_input(f"--content-file {path}: {error.strerror}", "name a file that can be read") from error


async def _send_lines(destination: Destination, source: str) -> Tally:
    tally, console = Tally(), stderr()
    columns = (TextColumn("sending"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with _opened(source) as (stream, size), Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("sending", total=size)
        async with aiohttp.ClientSession(headers=destination.headers) as http:
            client = _client(http, destination, console)
            requests = chunks(_read(stream, tally))
            for chunk in requests:
                left, reason = await _send_chunk(client, chunk, tally)
                bar.advance(task, sum(len(line.data) + 1 for line in chunk))
                if left:  # order: nothing after these may be sent
                    tally.rejected += give_up(left, reason)
                    tally.rejected += give_up((line for rest in requests for line in rest), f"not sent: {reason}")
    tally.rejected.sort(key=lambda entry: entry.number)
    return tally


async def _send_chunk(client: IngestClient, chunk: list[Line], tally: Tally) -> tuple[Sequence[Line], str]:
    """The lines after which nothing can be sent, and why; none where all were accepted or rejected."""
    try:
        judged = await client.send_chunk(chunk)
    except CommandError as error:
        if not tally.accepted:
            raise
        return chunk, str(error)  # earlier lines were accepted, which must be told
    tally.accepted += len(judged.accepted)
    tally.rejected += judged.rejected
    return judged.again, judged.reason


def _client(http: aiohttp.ClientSession, destination: Destination, console: Console) -> IngestClient:
    def tell(reason: str) -> None:
        console.print(f"not accepted yet, trying again: {printable(reason)}", style="yellow", markup=False)

    return IngestClient(http, destination.to, destination.route, destination.retry_seconds, tell)


@contextlib.contextmanager
def _opened(source: str) -> Iterator[tuple[IO[bytes], int | None]]:
    if source == "-":
        yield sys.stdin.buffer, None
        return
    path = Path(source)
    try:
        stream = path.open("rb")
    except OSError as error:
        raise wrong_input(f"{source}: {error.strerror}", "name a file of one JSON message a line, or -") from error
    with stream:
        yield stream, path.stat().st_size


def _read(stream: IO[bytes], tally: Tally) -> Iterator[Line]:
    for number, data in enumerate(stream, start=1):
        if not data.strip():
            continue
        line = prepare(number, data, new_id)
        if isinstance(line, Rejected):
            tally.rejected.append(line)
        else:
            yield line


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
        console.print(f"the other lines are in {rejected_to}: mend them and send that file", markup=False)
