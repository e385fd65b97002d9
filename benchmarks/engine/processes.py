"""The processes of these measurements, each on its core, and their CPU time and memory."""

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from benchmarks.engine.traffic import ROUTE
from benchmarks.processes import ROOT, BenchmarkError
from benchmarks.processes import route as declared_route

_CORES = tuple(sorted(os.sched_getaffinity(0)))  # before anything is pinned
_CHASKI = Path(sys.executable).parent
_START_SECONDS = 60.0
_STOP_SECONDS = 60.0
_POLL_SECONDS = 0.02
_RUNGS = ("fast", "medium", "slow")


_MEASURED, _OTHERS = _CORES[-1:], _CORES[:-1] or _CORES  # where there is only one core, it is shared


@contextlib.contextmanager
def off_the_measured_core() -> Iterator[None]:
    """Keeps this process and its children off the core of `measured` processes."""
    with _on(_OTHERS):
        yield


@contextlib.contextmanager
def _on(cores: Iterable[int]) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def environment(sqs_url: str) -> dict[str, str]:
    """The environment of a consumer or an ingest on the stand-in."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "OTEL_"))}
    return own | {
        "AWS_ENDPOINT_URL_SQS": sqs_url,
        "AWS_ENDPOINT_URL_DYNAMODB": sqs_url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "CHASKI_ALLOW_LOOPBACK": "1",
    }


def resolved(sqs_url: str, target_url: str, partitions: int = 1) -> dict[str, Any]:
    """The resolved route: one queue, the default ladders."""
    declared = declared_route(ROUTE, target_url)
    declared["spec"]["queues"] = [{"name": "messages", "partitions": partitions}]
    rungs = [
        {"name": name, "delaySeconds": delay, "url": f"{sqs_url}{name}.fifo"}
        for name, delay in zip(_RUNGS, (5, 60, 900), strict=True)
    ]
    urls = [f"{sqs_url}messages{number or ''}.fifo" for number in range(partitions)]
    queues = [{"name": "messages", "urls": urls}]
    made = {"generation": 1, "generations": [{"number": 1, "queues": queues}], "rungs": rungs, "retiredRungs": []}
    return {
        "apiVersion": declared["apiVersion"],
        "kind": "ResolvedRoute",
        "route": declared,
        "resolved": made | {"deadLetterTable": "none"},
    }


class Measured:
    """A process whose cost is measured."""

    def __init__(self, process: Process, ready: dict[str, Any]) -> None:
        self.ready = ready  # its ready line
        self.pid = process.pid
        self._process = process

    def cpu_seconds(self) -> float:
        """CPU time of its threads, since its start."""
        tasks = Path(f"/proc/{self._process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def peak_rss_mib(self) -> float:
        """Its peak memory, in MiB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8")
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024


@contextlib.asynccontextmanager
async def measured(command: list[str], sqs_url: str, log: Path) -> AsyncIterator[Measured]:
    """A process on the measured core, with its output in a file. Ended by SIGTERM."""
    with log.open("wb") as out, _on(_MEASURED):  # inherited
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=ROOT,
            stdin=DEVNULL,
            stdout=out,
            stderr=out,
            env=environment(sqs_url),
        )
    try:
        yield Measured(process, await _ready(process, log))
    finally:
        await stop(process)


async def stop(process: Process) -> None:
    """Ends a process by SIGTERM, or by force where that takes too long."""
    if process.returncode is None:
        process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _ready(process: Process, log: Path) -> dict[str, Any]:
    async with asyncio.timeout(_START_SECONDS):
        while (report := _ready_line(log)) is None:
            if process.returncode is not None:
                raise BenchmarkError(f"a process did not start; its output:\n{_text(log)}")
            await asyncio.sleep(_POLL_SECONDS)
    return report


def _text(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")


def _ready_line(log: Path) -> dict[str, Any] | None:
    for line in log.read_bytes().splitlines():
        if b'"event.action":"ready"' in line and line.endswith(b"}"):
            report: dict[str, Any] = orjson.loads(line)
            return report
        if line.startswith(b"http"):
            return {"url": line.decode()}
    return None


def chaski(program: str, *arguments: str) -> list[str]:
    """One of Chaski's own commands, as a user starts it."""
    return [str(_CHASKI / program), *arguments, "--host", "127.0.0.1", "--metrics-port", "0"]


def script(name: str, *arguments: str) -> list[str]:
    """A program of this folder."""
    return [sys.executable, "-m", f"benchmarks.engine.{name}", *arguments]


class Standin:
    """A running stand-in; see `standin.py`."""

    def __init__(self, sqs_url: str, target_url: str, http: aiohttp.ClientSession) -> None:
        self.sqs_url = sqs_url
        self.target_url = target_url
        self._http = http

    async def load(
        self,
        messages: int,
        subjects: int,
        *,
        rate: float = 0.0,
        answer_seconds: float = 0.0,
        send_seconds: float = 0.0,
        hot_percent: int = 0,
    ) -> None:
        """Resets the report, and puts messages on the queue: all at once, or `rate` a second."""
        parameters = {
            "messages": messages,
            "subjects": subjects,
            "rate": rate,
            "answer_seconds": answer_seconds,
            "send_seconds": send_seconds,
            "hot_percent": hot_percent,
        }
        async with self._http.post(f"{self.target_url}load", data=orjson.dumps(parameters)) as answer:
            answer.raise_for_status()

    async def report(self, *, latencies: bool = False) -> dict[str, Any]:
        """The report about these messages."""
        async with self._http.get(f"{self.target_url}report{'?latencies' if latencies else ''}") as answer:
            report: dict[str, Any] = orjson.loads(await answer.read())
            return report

    async def wait_for(self, done: Callable[[dict[str, Any]], bool], within: float) -> dict[str, Any]:
        """Waits until the report satisfies `done`. Raises BenchmarkError after `within` seconds."""
        report: dict[str, Any] = {}
        try:
            async with asyncio.timeout(within):
                while not done(report := await self.report()):  # noqa: ASYNC110 - of another process
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            report.pop("seconds", None)
            raise BenchmarkError(f"it did not end within {within:g} s: {report}") from None
        return report


@contextlib.asynccontextmanager
async def standin() -> AsyncIterator[Standin]:
    """A stand-in, which ends with the context."""
    process = await asyncio.create_subprocess_exec(*script("standin"), cwd=ROOT, stdin=DEVNULL, stdout=PIPE)
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    try:
        async with asyncio.timeout(_START_SECONDS):
            sqs_url, target_url = (await process.stdout.readline()).decode().split()
        async with aiohttp.ClientSession() as http:
            yield Standin(sqs_url, target_url, http)
    finally:
        await stop(process)
