"""A `chaski dev` process that a test can kill and restart on the same data, and a target that records requests."""

import asyncio
import contextlib
import json
import os
import signal
import ssl
import sys
import time
from asyncio.subprocess import DEVNULL, Process
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp import web

CHASKI = Path(sys.executable).with_name("chaski")
START_SECONDS = 90.0


def ready_entry(log: bytes) -> dict[str, Any] | None:
    """The log line with which a process says that it is ready; None while there is none."""
    for line in log.splitlines():
        if b'"ready"' in line and line.endswith(b"}"):
            entry: dict[str, Any] = orjson.loads(line)
            return entry
    return None


class DevServer:
    """`chaski dev` on one data folder. Its ports stay the same over restarts, so that producers find it again."""

    def __init__(
        self,
        folder: Path,
        *routes: Mapping[str, Any],
        through: Sequence[str] = (),
        options: Sequence[str | Path] = (),
    ) -> None:
        """`through`: a wrapper command, for example one that sets limits; `options`: additional flags."""
        self.folder = folder
        self._through = tuple(through)
        self._options = tuple(options)
        self.data = folder / "data"
        self.log = folder / "dev.log"
        self.kills = 0
        self._files = [folder / f"route{index}.yaml" for index in range(len(routes))]
        for file, route in zip(self._files, routes, strict=True):
            file.write_bytes(orjson.dumps(route))
        self._ports = ["0", "0"]
        self._process: Process | None = None
        self.url = ""
        self.metrics_url = ""
        self.console_url = ""

    async def start(self) -> None:
        """Starts the process and waits until it is ready."""
        begin = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as out:
            self._process = await asyncio.create_subprocess_exec(
                *self._through, CHASKI, "dev", *self._files, "--data", self.data, "--log-format", "json",
                "--port", self._ports[0], "--metrics-port", self._ports[1], "--console-port", "0",
                *self._options,
                stdin=DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip
        async with asyncio.timeout(START_SECONDS):
            while not (ready := self._ready(begin)):
                await asyncio.sleep(0.02)
        self.url, self.metrics_url = ready["chaski.ingest.url"], ready["chaski.metrics.url"]
        self.console_url = ready["chaski.console.url"]
        self._ports = [self.url.rpartition(":")[2], self.metrics_url.rpartition(":")[2].partition("/")[0]]

    async def kill(self) -> None:
        """Sends SIGKILL."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()
        self.kills += 1

    def signal(self, number: int) -> None:
        """Sends a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def stop(self, within: float = 30.0) -> int:
        """Sends SIGTERM; returns the exit code."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self._process.wait(), within)

    async def end(self) -> None:
        """Kills the process if it is running."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _ready(self, begin: int) -> dict[str, Any] | None:
        assert self._process is not None
        text = self.log.read_bytes()[begin:]
        assert self._process.returncode is None, text.decode()
        return ready_entry(text)


@contextlib.asynccontextmanager
async def dev_server(folder: Path, *routes: Mapping[str, Any]) -> AsyncIterator[DevServer]:
    """A running server, killed on exit."""
    server = DevServer(folder, *routes)
    await server.start()
    try:
        yield server
    finally:
        await server.end()


def route(name: str, target_url: str, **spec: Any) -> dict[str, Any]:
    """A ChaskiRoute in namespace `t` that allows one target; `spec` replaces parts of it."""
    return {
        "apiVersion": "chaski.dev/v1alpha1",
        "kind": "ChaskiRoute",
        "metadata": {"name": name, "namespace": "t"},
        "spec": {
            "ordering": "Relaxed",
            "queues": [{"name": "messages", "partitions": 2}],
            "targets": {"allow": [{"name": "target", "url": target_url}]},
            "delivery": {"timeoutSeconds": 10, "concurrencyPerPod": 64},
            "retry": {
                "rungs": [{"name": "fast", "delaySeconds": 1}, {"name": "medium", "delaySeconds": 2}],
                "ladders": [
                    {"class": "4xx", "retriesPerRung": 1, "rungs": ["fast", "medium"]},
                    {"class": "5xx", "retriesPerRung": 2, "rungs": ["fast"]},
                    {"class": "connection", "retriesPerRung": 5, "rungs": ["fast"]},
                ],
            },
            **spec,
        },
    }


@dataclass(frozen=True, slots=True)
class Seen:
    """One request at the target."""

    at: float  # time.monotonic() at its start
    done: float
    path: str
    label: str  # Chaski-Id; the identity if the message has none
    identity: str  # Chaski-Message-Id
    attempt: int
    status: int


@dataclass
class RecordingTarget:
    """A target that responds as the test decides, and records every request."""

    answer: Callable[[str, str, int], tuple[float, int]]  # path, label, attempt -> seconds to wait, status
    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    bodies: dict[str, bytes] = field(default_factory=dict)
    keep_bodies: bool = False
    count_arrivals: bool = False
    arrived: list[Seen] = field(default_factory=list)  # if counted: at their start, with status 0
    headers_of_failures: dict[str, str] = field(default_factory=dict)  # of responses from status 400 on

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Responds to one request."""
        at = time.monotonic()
        identity = request.headers.get("Chaski-Message-Id", "")
        label = request.headers.get("Chaski-Id", identity)
        attempt = int(request.headers.get("Chaski-Attempt", "0"))
        body = await request.read()
        if self.keep_bodies:
            self.bodies[label] = body
        if self.count_arrivals:
            self.arrived.append(Seen(at, at, request.path, label, identity, attempt, 0))
        seconds, status = self.answer(request.path, label, attempt)
        if seconds:
            await asyncio.sleep(seconds)
        self.seen.append(Seen(at, time.monotonic(), request.path, label, identity, attempt, status))
        return web.Response(status=status, headers=self.headers_of_failures if status >= 400 else None)

    def by_message(self) -> dict[str, list[Seen]]:
        """Requests by label, in order of their start."""
        found: dict[str, list[Seen]] = defaultdict(list)
        for each in sorted(self.seen, key=lambda seen: seen.at):
            found[each.label].append(each)
        return found


@contextlib.asynccontextmanager
async def recording_target(
    answer: Callable[[str, str, int], tuple[float, int]], tls: ssl.SSLContext | None = None
) -> AsyncIterator[RecordingTarget]:
    """Runs a target on a free port of 127.0.0.1."""
    target = RecordingTarget(answer)
    runner = web.ServerRunner(web.Server(target.handle, handler_cancellation=True), shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024, ssl_context=tls)
    await site.start()
    target.url = f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}/"
    try:
        yield target
    finally:
        await runner.cleanup()


async def send_batch(
    http: aiohttp.ClientSession, server: str, route_key: str, lines: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Sends NDJSON; returns the result lines."""
    body = b"\n".join(orjson.dumps(line) for line in lines)
    headers = {"Content-Type": "application/x-ndjson"}
    async with http.post(f"{server}/v1/routes/{route_key}/messages:batch", data=body, headers=headers) as answer:
        text = await answer.read()
        assert answer.status == 200, text
        return [orjson.loads(line) for line in text.splitlines()]


async def wait_until(condition: Callable[[], bool], within: float) -> None:
    """Polls until the condition is true."""
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.05)


async def dead_letters(data: Path) -> list[dict[str, Any]]:
    """Every dead letter, from `chaski dead-letters list`."""
    process = await asyncio.create_subprocess_exec(
        CHASKI, "dead-letters", "list", "--oldest-first", "--data", data, "--output", "ndjson", "--limit", "1000000",
        stdin=DEVNULL, stdout=asyncio.subprocess.PIPE, env=dict(os.environ),
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode == 0
    return [json.loads(line) for line in out.splitlines()]  # exact for integers of any size, which orjson is not


async def settled_total(http: aiohttp.ClientSession, metrics_url: str) -> int:
    """Messages delivered and dead-lettered since the process started, from its metrics."""
    async with http.get(metrics_url) as answer:
        text = await answer.text()
    names = ("chaski_messages_delivered_total{", "chaski_dead_letters_total{")
    return sum(int(float(line.rpartition(" ")[2])) for line in text.splitlines() if line.startswith(names))


async def queued_total(http: aiohttp.ClientSession, metrics_url: str) -> int | None:
    """Messages on all queues, from the gauges; None while they are unknown."""
    async with http.get(metrics_url) as answer:
        text = await answer.text()
    values = [
        int(float(line.rpartition(" ")[2])) for line in text.splitlines() if line.startswith("chaski_queue_messages{")
    ]
    return sum(values) if values else None
