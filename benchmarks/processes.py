"""The processes of a measurement: load generators, targets, and `chaski dev` itself, with what each has used."""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from benchmarks.plan import CONCURRENCY, PARTITIONS
from benchmarks.traffic import Job

ROOT = Path(__file__).resolve().parents[1]
_CHASKI = Path(sys.executable).with_name("chaski")
_START_SECONDS = 60.0
_STOP_SECONDS = 60.0
_POLL_SECONDS = 0.1


class BenchmarkError(Exception):
    """A measurement failed, so its figures are meaningless."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The result of a load generator."""

    seconds: float  # from its first request to its last answer
    cpu_seconds: float
    answer_seconds: list[float]  # per request, from when it was due or, without a rate, sent
    started_at: float  # monotonic, the same in every process of a machine


async def run_job(job: Job) -> Sent:
    """Runs a load generator. Raises BenchmarkError unless every message was accepted."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.load", job.as_json()), cwd=ROOT, stdin=DEVNULL, stdout=PIPE
    )
    try:
        out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise BenchmarkError(f"the load generator failed with exit code {process.returncode}")
    report = orjson.loads(out)
    if report["taken"] != job.messages:
        raise BenchmarkError(f"{report['taken']} of {job.messages} messages were accepted")
    seconds = report["ended_at"] - report["started_at"]
    return Sent(seconds, report["cpu_seconds"], report["answer_seconds"], report["started_at"])


@dataclass(frozen=True, slots=True)
class Target:
    """A running target."""

    url: str
    http: aiohttp.ClientSession

    async def report(self, *, latencies: bool = False) -> dict[str, Any]:
        """The report of `target.py`."""
        async with self.http.get(f"{self.url}report{'?latencies' if latencies else ''}") as answer:
            report: dict[str, Any] = orjson.loads(await answer.read())
            return report

    async def reset(self) -> None:
        """Resets the report."""
        async with self.http.post(f"{self.url}reset") as answer:
            answer.raise_for_status()

    async def wait_for(self, messages: int, within: float, kind: str = "other") -> dict[str, Any]:
        """Waits until `messages` different messages arrived. Raises BenchmarkError after `within` seconds."""
        report: dict[str, Any] = {}
        try:
            async with asyncio.timeout(within):
                while (report := await self.report())["counts"].get(kind, 0) < messages:  # noqa: ASYNC110 - of another process
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise BenchmarkError(f"{report['counts']} of {messages} messages arrived within {within:g} s") from None
        return report


@contextlib.asynccontextmanager
async def target(loop: str = "uvloop") -> AsyncIterator[Target]:
    """A target, which ends with the context."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.target", loop), cwd=ROOT, stdin=DEVNULL, stdout=PIPE
    )
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    try:
        async with asyncio.timeout(_START_SECONDS):
            url = (await process.stdout.readline()).decode().strip()
        if not url:
            raise BenchmarkError("the target did not start")
        async with aiohttp.ClientSession() as http:
            yield Target(url, http)
    finally:
        process.terminate()
        await process.wait()


class Dev:
    """A running `chaski dev`."""

    def __init__(self, process: Process, messages_url: str) -> None:
        self.messages_url = messages_url  # where messages are sent to
        self._process = process

    def cpu_seconds(self) -> float:
        """CPU time of all its threads, since its start."""
        # The command's name is in parentheses and may contain blanks; utime and stime are fields 14 and 15 (proc(5)).
        fields = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_rss_mib(self) -> float:
        """Its peak memory, in MiB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8")
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024


@contextlib.asynccontextmanager
async def dev(folder: Path, route: Mapping[str, Any]) -> AsyncIterator[Dev]:
    """`chaski dev` on a data folder, as a user starts it, with its JSON log in a file. Ended by SIGTERM."""
    file, log = folder / "route.yaml", folder / "dev.log"
    file.write_bytes(orjson.dumps(route))
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *(_CHASKI, "dev", file, "--data", folder / "data", "--log-format", "json"),
            *("--port", "0", "--metrics-port", "0"),
            stdin=DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        place = route["metadata"]
        ingest = await _ready(process, log)
        yield Dev(process, f"{ingest}/v1/routes/{place['namespace']}/{place['name']}/messages")
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(_STOP_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


async def _ready(process: Process, log: Path) -> str:
    async with asyncio.timeout(_START_SECONDS):
        while (url := _ready_url(log)) is None:
            if process.returncode is not None:
                raise BenchmarkError(f"chaski dev did not start; its log says:\n{_text(log)}")
            await asyncio.sleep(_POLL_SECONDS / 2)
    return url


def _ready_url(log: Path) -> str | None:
    for line in log.read_bytes().splitlines():
        if b'"event.action":"ready"' in line and line.endswith(b"}"):
            return str(orjson.loads(line)["chaski.ingest.url"])
    return None


def _text(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")


def route(name: str, target_url: str, *, ordering: str = "Relaxed", suspended: bool = False) -> dict[str, Any]:
    """The ChaskiRoute of a measurement: the default ladders, one target."""
    return {
        "apiVersion": "chaski.dev/v1alpha1",
        "kind": "ChaskiRoute",
        "metadata": {"name": name, "namespace": "bench"},
        "spec": {
            "ordering": ordering,
            "queues": [{"name": "messages", "partitions": PARTITIONS}],
            "targets": {"allow": [{"name": "target", "url": target_url}]},
            "delivery": {"concurrencyPerPod": CONCURRENCY},
            "suspend": {"delivery": suspended},
        },
    }
