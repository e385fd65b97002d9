"""`python -m benchmarks.memory`: the memory of ingest and a worker under full load, with a target that hangs.

Messages of 1 to 256 KiB are sent through `chaski-ingest` and `chaski-worker consume` on the embedded queues' SQS server,
as fast as they are accepted. A part of them is for a target that never responds. It writes docs/performance/memory.md and its
plot.
"""

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import matplotlib as mpl
import orjson
import uvloop
from aiohttp import web
from matplotlib import pyplot as plt

from benchmarks.engine.processes import chaski, measured, stop
from benchmarks.machine import facts
from benchmarks.plot import CHASKI, FLOOR, INK, STYLE, tidy
from benchmarks.processes import ROOT, BenchmarkError

CAPS_MIB = {"worker": 512, "ingest": 256}
_LARGEST = 262_144
_PARTITIONS = 4
_SENDERS = 24
_OUTSTANDING = {
    "hangs": 400,
    "answers": 400,
}  # messages on their way to each target, so that both always have a backlog
_ANSWER_SECONDS = 0.05
_TIMEOUT_SECONDS = 30
_SAMPLE_SECONDS = 1.0
_START_SECONDS = 60.0
_FOLDER = ROOT / "docs" / "performance"


@dataclass
class Traffic:
    """The messages sent and the requests that arrived."""

    sent: dict[str, int] = field(default_factory=lambda: {"hangs": 0, "answers": 0})
    come: dict[str, int] = field(default_factory=lambda: {"hangs": 0, "answers": 0})
    bytes_sent: int = 0

    def next_target(self) -> str | None:
        """The target whose backlog is not full; None if both are full."""
        missing = [name for name, most in _OUTSTANDING.items() if self.sent[name] - self.come[name] < most]
        return random.choice(missing) if missing else None


@dataclass
class Series:
    """Resident memory of one process over time."""

    name: str
    pid: int
    seconds: list[float] = field(default_factory=list)
    mib: list[float] = field(default_factory=list)

    def sample(self, at: float) -> None:
        """Takes one sample."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        self.seconds.append(at)
        self.mib.append(int(status.partition("VmRSS:")[2].split()[0]) / 1024)

    @property
    def most(self) -> float:
        """The peak, in MiB."""
        return max(self.mib)

    def last_thirds(self) -> tuple[float, float]:
        """The means of the second and the last third: unbounded growth is visible here."""
        third = len(self.mib) // 3
        middle, last = self.mib[third : 2 * third], self.mib[2 * third :]
        return sum(middle) / max(1, len(middle)), sum(last) / max(1, len(last))


@contextlib.asynccontextmanager
async def _queues(folder: Path) -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chaski_embedded", "--data", str(folder), "--port", "0"), stdin=DEVNULL, stdout=PIPE
    )
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    try:
        async with asyncio.timeout(_START_SECONDS):
            line = (await process.stdout.readline()).decode()
        if not line.startswith("SQS endpoint: "):
            raise BenchmarkError(f"the queue server printed {line!r}")
        yield line.split()[2]
    finally:
        await stop(process)


@contextlib.asynccontextmanager
async def _targets(traffic: Traffic) -> AsyncIterator[dict[str, str]]:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        name = request.path.strip("/")
        await request.read()
        traffic.come[name] += 1
        await asyncio.sleep(_ANSWER_SECONDS if name == "answers" else 10 * _TIMEOUT_SECONDS)
        return web.Response()

    runner = web.ServerRunner(web.Server(handle, handler_cancellation=True), shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield {name: f"{url}/{name}" for name in traffic.come}
    finally:
        await runner.cleanup()


async def _resolved(http: aiohttp.ClientSession, sqs_url: str, targets: dict[str, str]) -> dict[str, Any]:
    async def made(name: str, **attributes: str) -> str:
        asked = {
            "QueueName": name,
            "Attributes": {"FifoQueue": "true", "DeduplicationScope": "messageGroup"} | attributes,
        }
        headers = {"X-Amz-Target": "AmazonSQS.CreateQueue", "Content-Type": "application/x-amz-json-1.0"}
        async with http.post(sqs_url, data=orjson.dumps(asked), headers=headers) as answer:
            answer.raise_for_status()
            return str(orjson.loads(await answer.read())["QueueUrl"])

    urls = [await made(f"messages-{number}.fifo") for number in range(_PARTITIONS)]
    rung = await made("rung-slow.fifo", DelaySeconds="900")
    spec = {
        "queues": [{"name": "messages", "partitions": _PARTITIONS}],
        "targets": {"allow": [{"name": name, "url": url} for name, url in targets.items()]},
        "delivery": {"timeoutSeconds": _TIMEOUT_SECONDS, "concurrencyPerPod": 64},
        "retry": {
            "rungs": [{"name": "slow", "delaySeconds": 900}],
            "ladders": [{"class": "any", "retriesPerRung": 5, "rungs": ["slow"]}],
        },
    }
    route = {
        "apiVersion": "chaski.dev/v1alpha1",
        "kind": "ChaskiRoute",
        "metadata": {"name": "memory", "namespace": "bench"},
        "spec": spec,
    }
    return {
        "apiVersion": "chaski.dev/v1alpha1",
        "kind": "ResolvedRoute",
        "route": route,
        "resolved": {
            "generation": 1,
            "generations": [{"number": 1, "queues": [{"name": "messages", "urls": urls}]}],
            "rungs": [{"name": "slow", "delaySeconds": 900, "url": rung}],
            "retiredRungs": [],
            "deadLetterTable": "none",
        },
    }


async def _send(http: aiohttp.ClientSession, url: str, targets: dict[str, str], traffic: Traffic) -> None:
    """One producer: sends the next message after the response to the last one."""
    filler = "x" * _LARGEST
    while True:
        name = traffic.next_target()
        if name is None:
            await asyncio.sleep(0.01)
            continue
        traffic.sent[name] += 1
        message: dict[str, Any] = {"subject": f"{name}-{random.randrange(300)}", "body": {"url": targets[name]}}
        size = random.randrange(1_024, _LARGEST - 256)
        message["body"]["content"] = filler[:size]
        body = orjson.dumps(message)
        async with http.post(url, data=body, headers={"Content-Type": "application/json"}) as answer:
            await answer.read()
            if answer.status != 202:
                traffic.sent[name] -= 1
                await asyncio.sleep(0.5)
            else:
                traffic.bytes_sent += len(body)


async def measure(seconds: float, folder: Path) -> tuple[list[Series], Traffic]:
    """Runs the load for `seconds`."""
    traffic = Traffic()
    async with contextlib.AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        targets = await stack.enter_async_context(_targets(traffic))
        sqs_url = await stack.enter_async_context(_queues(folder / "queues"))
        file = folder / "resolved.yaml"
        file.write_bytes(orjson.dumps(await _resolved(http, sqs_url, targets)))  # JSON is YAML
        ingest = await stack.enter_async_context(
            measured(
                chaski("chaski-ingest", "--auth", "none", "--routes", str(file), "--port", "0"),
                sqs_url,
                folder / "ingest.log",
            )
        )
        worker = await stack.enter_async_context(
            measured(chaski("chaski-worker", "consume", "--route", str(file)), sqs_url, folder / "worker.log")
        )
        series = [Series("worker", worker.pid), Series("ingest", ingest.pid)]
        url = f"{ingest.ready['chaski.ingest.url']}/v1/routes/bench/memory/messages"
        senders = [asyncio.create_task(_send(http, url, targets, traffic)) for _ in range(_SENDERS)]
        began = time.monotonic()
        try:
            while (at := time.monotonic() - began) < seconds:
                for each in series:
                    each.sample(at)
                await asyncio.sleep(_SAMPLE_SECONDS)
        finally:
            for sender in senders:
                sender.cancel()
            outcomes = await asyncio.gather(*senders, return_exceptions=True)
    failed = [each for each in outcomes if not isinstance(each, asyncio.CancelledError)]
    if failed:
        raise BenchmarkError(f"a producer failed: {failed[0]!r}")
    return series, traffic


def draw(series: list[Series], file: Path) -> None:
    """The plot: each process's memory over time, and its cap."""
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(9, 3.8), layout="constrained")
        for each, colour in zip(series, (CHASKI, INK), strict=True):
            axes.plot([at / 60 for at in each.seconds], each.mib, color=colour, linewidth=1.6, label=each.name)
            cap = CAPS_MIB[each.name]
            axes.axhline(cap, color=colour, linewidth=0.9, linestyle=(0, (4, 3)))
            axes.text(0, cap + 4, f"cap of {each.name}", color=colour, fontsize=9, va="bottom")
        axes.set_ylim(0, max(CAPS_MIB.values()) * 1.12)
        axes.set_xlabel("minutes at full load")
        axes.set_ylabel("resident memory, MiB")
        axes.legend(frameon=False, loc="lower right")
        axes.axhline(0, color=FLOOR, linewidth=0.8)
        tidy(axes, grid="y")
        figure.savefig(file, metadata={"Date": None}, facecolor="white")
        plt.close(figure)


def text(series: list[Series], traffic: Traffic) -> str:
    """docs/performance/memory.md."""
    seconds = series[0].seconds[-1]
    rows = "\n".join(
        f"| {each.name} | {CAPS_MIB[each.name]} | {each.most:.0f} | {before:.0f} | {after:.0f} |"
        for each in series
        for before, after in (each.last_thirds(),)
    )
    machine = ", ".join(value for name, value in facts(ROOT) if name in {"CPU", "memory", "Python"})
    return f"""# Memory

`python -m benchmarks.memory` sends messages of 1 to 256 KiB through `chaski-ingest` and `chaski-worker consume` as fast as they
are accepted, on the embedded SQS server, with 4 partitions and 64 concurrent attempts. Half of the backlog is for a target that accepts a
request and never responds; each of these attempts takes {_TIMEOUT_SECONDS} seconds, and then its message climbs a rung.

![Resident memory of worker and ingest over the run, with their caps](memory.svg)

Measured on {datetime.now(UTC):%Y-%m-%d} for {seconds / 60:.0f} minutes ({machine}): {traffic.sent["hangs"] + traffic.sent["answers"]:,} messages,
{traffic.bytes_sent / 2**30:.1f} GiB; {traffic.come["hangs"]:,} requests went to the target that hangs, {traffic.come["answers"]:,} to the other.

| process | stated cap, MiB | peak, MiB | mean of the second third, MiB | of the last third, MiB |
| --- | ---: | ---: | ---: | ---: |
{rows}

Limits: a worker stops polling at twice as many lanes as attempts and at 64 MiB of held messages for each queue of its route;
polls in progress add at most four times ten messages for each partition. Ingest answers 503 above 128 MiB of
request bodies and 64 MiB of messages that wait for the queue's acknowledgement. A target's response is kept up to 64 KiB.
"""


def main() -> int:
    """Runs the measurement; 1 if a cap was exceeded."""
    parser = argparse.ArgumentParser("benchmarks.memory", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="default: 10")
    parser.add_argument("--no-docs", action="store_true", help="only print the measurements")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        series, traffic = runner.run(measure(given.minutes * 60, Path(folder)))
    for each in series:
        print(f"{each.name}: peak {each.most:.0f} MiB of {CAPS_MIB[each.name]}, thirds {each.last_thirds()}")
    print(traffic)
    if not given.no_docs:
        draw(series, _FOLDER / "memory.svg")
        (_FOLDER / "memory.md").write_text(text(series, traffic), encoding="utf-8")
    return int(any(each.most > CAPS_MIB[each.name] for each in series))


if __name__ == "__main__":
    sys.exit(main())
