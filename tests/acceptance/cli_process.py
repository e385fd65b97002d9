"""Runs the `chaski` command for acceptance tests, and a target that it can call."""

import asyncio
import contextlib
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import orjson
import pytest
from aiohttp import web

from support.serving import served_app

T = TypeVar("T")
CHASKI = Path(sys.executable).with_name("chaski")
START_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished command."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Standard output as one JSON value."""
        return orjson.loads(self.out)


async def chaski(
    *arguments: object,
    stdin: bytes | None = None,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Finished:
    """Runs a command to its end; `environment`: replaces that of this process."""
    process = await asyncio.create_subprocess_exec(
        CHASKI,
        *map(str, arguments),
        stdin=DEVNULL if stdin is None else PIPE,
        stdout=PIPE,
        stderr=PIPE,
        cwd=cwd,
        env=environment,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(stdin), START_SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Finished(process.returncode, out.decode(), err.decode())


@contextlib.asynccontextmanager
async def started(*arguments: object) -> AsyncIterator[Process]:
    """A running command with pipes; killed on exit if it is still running."""
    process = await asyncio.create_subprocess_exec(CHASKI, *map(str, arguments), stdin=PIPE, stdout=PIPE, stderr=PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@dataclass(frozen=True, slots=True)
class Dev:
    """A running `chaski dev`."""

    process: Process
    ingest: str
    metrics: str  # URL of /metrics
    log: Path

    def log_lines(self) -> list[dict[str, Any]]:
        """All log lines."""
        return [orjson.loads(line) for line in self.log.read_bytes().splitlines()]

    async def ended(self, seconds: float = 20.0) -> int:
        """Waits for the exit code."""
        return await asyncio.wait_for(self.process.wait(), seconds)


@contextlib.asynccontextmanager
async def dev(route: Path, data: Path, *arguments: str) -> AsyncIterator[Dev]:
    """Runs `chaski dev` on free ports; stopped with SIGTERM on exit, and killed if that fails."""
    log = data.parent / "dev.log"
    ports = ("--port", "0", "--metrics-port", "0", "--console-port", "0", "--log-format", "json")
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            CHASKI, "dev", route, "--data", data, *ports, *arguments, stdin=DEVNULL, stdout=out, stderr=out
        )
    try:

        async def poll() -> dict[str, Any] | None:
            return ready_line(process, log)

        ready = await eventually(poll, START_SECONDS)
        yield Dev(process, ready["chaski.ingest.url"], ready["chaski.metrics.url"], log)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), 20.0)
            except TimeoutError:
                process.kill()
                await process.wait()


def ready_line(process: Process, log: Path) -> dict[str, Any] | None:
    """The log line with the ports, or None."""
    text = log.read_bytes()
    if process.returncode is not None:
        pytest.fail(f"chaski dev ended with {process.returncode}: {text.decode()}")
    for line in text.splitlines():
        if b'"ready"' in line and line.endswith(b"}"):
            entry: dict[str, Any] = orjson.loads(line)
            return entry
    return None


async def eventually(poll: Callable[[], Awaitable[T | None]], seconds: float = 20.0) -> T:
    """Polls; returns the first value that is not None."""
    async with asyncio.timeout(seconds):
        while True:
            value = await poll()
            if value is not None:
                return value
            await asyncio.sleep(0.05)


@dataclass(slots=True)
class Target:
    """A server that responds as configured, and records requests."""

    url: str = ""
    status: int = 200
    hang: bool = False
    bodies: list[str] = field(default_factory=list)

    async def got(self, number: int) -> list[str]:
        """The bodies of all requests, once there are `number`."""

        async def poll() -> list[str] | None:
            return self.bodies if len(self.bodies) >= number else None

        return await eventually(poll)

    async def _answer(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.text())
        if self.hang:
            await asyncio.Event().wait()
        return web.Response(status=self.status, text="said the target")


@contextlib.asynccontextmanager
async def target() -> AsyncIterator[Target]:
    """Runs a target on a free port."""
    made = Target()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made._answer)
    async with served_app(app, cancel_handlers=True) as url:
        made.url = f"{url}/"
        yield made


def write_route(folder: Path, target_url: str, **spec: Any) -> Path:
    """A route file that allows the target; `spec` adds or replaces fields."""
    document = {
        "apiVersion": "chaski.dev/v1alpha1",
        "kind": "ChaskiRoute",
        "metadata": {"name": "first", "namespace": "default"},
        "spec": {
            "ordering": "Relaxed",
            "queues": [{"name": "messages", "partitions": 1}],
            "targets": {"allow": [{"name": "local", "url": target_url}]},
            "retry": {"rungs": [{"name": "fast", "delaySeconds": 1}], "ladders": []},
            **spec,
        },
    }
    path = folder / "route.yaml"
    path.write_bytes(orjson.dumps(document))
    return path


async def status_of(url: str) -> tuple[int, str]:
    """Status and text of a GET request."""
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return answer.status, await answer.text()
