"""A `chaski console` process."""

import asyncio
import contextlib
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from support.processes.dev import CHASKI

WITHIN = 90.0


@dataclass
class ConsoleProcess:
    """A console that has logged that it is ready."""

    process: Process
    log: Path
    url: str = ""  # with a slash at the end
    metrics_url: str = ""  # if it serves metrics

    def lines(self, action: str) -> list[dict[str, Any]]:
        """Log lines with this `event.action`."""
        read = [orjson.loads(line) for line in self.log.read_bytes().splitlines() if line.endswith(b"}")]
        return [line for line in read if line.get("event.action") == action]

    async def wait_for_lines(self, action: str) -> list[dict[str, Any]]:
        """Waits until there are such lines: a log is written a moment after the action."""
        async with asyncio.timeout(WITHIN):
            while not (found := self.lines(action)):
                await asyncio.sleep(0.1)
        return found

    async def stop(self) -> int:
        """Sends SIGTERM; returns the exit code."""
        self.process.terminate()
        return await asyncio.wait_for(self.process.wait(), WITHIN)


@contextlib.asynccontextmanager
async def console_process(
    folder: Path, environment: Mapping[str, str], *arguments: object
) -> AsyncIterator[ConsoleProcess]:
    """A console on a free port, killed at the end."""
    log = folder / "console.log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            CHASKI, "console", *map(str, arguments), "--port", "0", "--log-format", "json",
            stdin=DEVNULL, stdout=out, stderr=out, env=environment,
        )  # fmt: skip
    running = ConsoleProcess(process, log)
    try:
        async with asyncio.timeout(WITHIN):
            while not (ready := running.lines("ready")):
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.1)
        running.url = ready[0]["chaski.console.url"]
        running.metrics_url = ready[0].get("chaski.metrics.url", "")
        yield running
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
