"""The demo's two processes: the target and the real `chaski dev`."""

import asyncio
import contextlib
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from chaski_cli.errors import CommandError

_START_SECONDS = 30.0
_STOP_SECONDS = 15.0
_LOG_TAIL_CHARACTERS = 2_000
_PYTHON = (sys.executable, "-P")  # -P: a folder that happens to hold a `chaski_cli` of its own changes nothing


@dataclass(frozen=True, slots=True)
class Dev:
    """A running `chaski dev`."""

    process: Process
    ingest: str  # base URL
    metrics: str  # URL of /metrics
    log: Path

    def check_alive(self) -> None:
        """Raises CommandError with the end of its log if it has ended."""
        if self.process.returncode is not None:
            raise ended("chaski dev", self.process.returncode, self.log)


def ended(name: str, code: int, log: Path) -> CommandError:
    """The error for a process that ended on its own."""
    tail = log.read_text(errors="replace")[-_LOG_TAIL_CHARACTERS:].strip()
    return CommandError(f"{name} ended early with exit code {code}; its last words:\n{tail}")


@contextlib.asynccontextmanager
async def target_process() -> AsyncIterator[str]:
    """Runs the target; yields its base URL."""
    process = await asyncio.create_subprocess_exec(*_PYTHON, "-m", "chaski_cli.demo.target", stdin=PIPE, stdout=PIPE)
    try:
        line = await asyncio.wait_for(process.stdout.readline(), _START_SECONDS) if process.stdout else b""
        if not line:
            raise CommandError(f"the demo's target ended early with exit code {await process.wait()}")
        yield f"http://127.0.0.1:{orjson.loads(line)['port']}"
    finally:
        await _stop(process)


@contextlib.asynccontextmanager
async def dev_process(route: Path, data: Path, log: Path) -> AsyncIterator[Dev]:
    """Runs `chaski dev` on free ports, its log in a file; yields once it says that it is ready."""
    command = ["dev", str(route), "--data", str(data), "--port", "0", "--metrics-port", "0", "--log-format", "json"]
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *_PYTHON, "-m", "chaski_cli", *command, stdin=DEVNULL, stdout=out, stderr=out
        )
    try:
        async with asyncio.timeout(_START_SECONDS):
            ingest, metrics = await _addresses(process, log)
        yield Dev(process, ingest, metrics, log)
    except TimeoutError:
        raise CommandError(f"chaski dev was not ready within {_START_SECONDS:g} s; its log is {log}") from None
    finally:
        await _stop(process)


async def _addresses(process: Process, log: Path) -> tuple[str, str]:
    while True:
        ended_before = process.returncode is not None
        for line in _lines(log):
            with contextlib.suppress(orjson.JSONDecodeError):
                entry = orjson.loads(line)
                if entry.get("event.action") == "ready":
                    return entry["chaski.ingest.url"], entry["chaski.metrics.url"]
        if ended_before:
            raise ended("chaski dev", process.returncode or 0, log)
        await asyncio.sleep(0.05)


def _lines(log: Path) -> list[bytes]:
    return log.read_bytes().splitlines()


async def _stop(process: Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), _STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
