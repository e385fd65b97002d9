"""The demo's two processes: the target and the real `chaski dev`."""

import asyncio
import contextlib
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from chaski_runtime.process.command_error import CommandError

_START_SECONDS = 30.0
_STOP_SECONDS = 15.0
_EXIT_SECONDS = 1.0  # a connection breaks shortly before its process ends
_LOG_TAIL_CHARACTERS = 2_000
_PYTHON = (sys.executable, "-P")  # -P: never imports from the working directory


@dataclass(frozen=True, slots=True)
class Dev:
    """A running `chaski dev`."""

    process: Process
    ingest: str  # base URL
    metrics: str  # URL of /metrics
    log: Path

    async def lost(self, reason: str) -> CommandError:
        """The error for a run that can't continue, with the end of the log; names the exit code if the process ended."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_EXIT_SECONDS):
                await self.process.wait()
        return failure(self.process, self.log, reason)


def failure(process: Process, log: Path, reason: str) -> CommandError:
    """The error for a failed `chaski dev`, with the end of its log."""
    if process.returncode is not None:
        reason = f"chaski dev ended early with exit code {process.returncode}"
    tail = log.read_text(errors="replace")[-_LOG_TAIL_CHARACTERS:].strip()
    return CommandError(
        f"{reason}; the end of its log:\n{tail}", next_step="keep messages and logs with: chaski demo --data DIR"
    )


@contextlib.asynccontextmanager
async def target_process() -> AsyncIterator[str]:
    """Runs the target; yields its base URL."""
    process = await asyncio.create_subprocess_exec(*_PYTHON, "-m", "chaski_cli.demo.target", stdin=PIPE, stdout=PIPE)
    try:
        async with asyncio.timeout(_START_SECONDS):
            line = await process.stdout.readline() if process.stdout else b""
        if not line:
            raise CommandError(f"the demo's target ended early with exit code {await process.wait()}")
        yield f"http://127.0.0.1:{orjson.loads(line)['port']}"
    finally:
        await _stop(process)


@contextlib.asynccontextmanager
async def dev_process(route: Path, data: Path, log: Path) -> AsyncIterator[Dev]:
    """Runs `chaski dev` on free ports, its log in a file; yields once it is ready."""
    command = ["dev", str(route), "--data", str(data), "--port", "0", "--metrics-port", "0", "--console-port", "0"]
    command += ["--log-format", "json"]
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *_PYTHON, "-m", "chaski_cli", *command, stdin=DEVNULL, stdout=out, stderr=out
        )
    try:
        ingest, metrics = await _addresses(process, log)
        yield Dev(process, ingest, metrics, log)
    finally:
        await _stop(process)


async def _addresses(process: Process, log: Path) -> tuple[str, str]:
    deadline = time.monotonic() + _START_SECONDS
    while process.returncode is None and time.monotonic() < deadline:
        for line in _lines(log):
            with contextlib.suppress(orjson.JSONDecodeError):
                entry = orjson.loads(line)
                if entry.get("event.action") == "ready":
                    return entry["chaski.ingest.url"], entry["chaski.metrics.url"]
        await asyncio.sleep(0.05)
    raise failure(process, log, f"chaski dev was not ready within {_START_SECONDS:g} s")


def _lines(log: Path) -> list[bytes]:
    return log.read_bytes().splitlines()


async def _stop(process: Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
