"""Chaski's ingest before the stand-in, beside a bare aiohttp handler that answers 202 without a queue."""

import sys
from pathlib import Path

import orjson

from benchmarks.engine.processes import Measured, Standin, chaski, measured, resolved
from benchmarks.engine.results import Ingested
from benchmarks.engine.traffic import NAMESPACE, ROUTE
from benchmarks.plan import SUBJECTS
from benchmarks.processes import Sent, run_job
from benchmarks.results import percentile
from benchmarks.traffic import Job

SEND_SECONDS = 0.01  # until the stand-in acknowledges: about that of SQS in the same region
_CONNECTIONS = 200
_PARTITIONS = 4  # one queue takes about 7,000 messages a second with its calls in flight: less than an ingest accepts
_WARM = 1_000


async def bare_handler(requests: int, server: Standin, folder: Path) -> Ingested:
    """A handler that reads a 1 KiB POST and answers 202."""
    command = [sys.executable, "-m", "benchmarks.target", "uvloop"]
    async with measured(command, server.sqs_url, folder / "handler.log") as process:
        url = str(process.ready["url"])
        await run_job(Job(url, _WARM, _CONNECTIONS, SUBJECTS, kind="warm"))
        before = process.cpu_seconds()
        sent = await run_job(Job(url, requests, _CONNECTIONS, SUBJECTS))
        return _ingested("handler", "bare aiohttp handler", requests, sent, process.cpu_seconds() - before)


async def our_ingest(requests: int, server: Standin, folder: Path, rate: float = 0.0) -> Ingested:
    """`chaski-ingest`, every 202 after the stand-in's acknowledgement; at a rate, or as fast as it goes."""
    file = folder / "routes.yaml"
    file.write_bytes(orjson.dumps(resolved(server.sqs_url, server.target_url, _PARTITIONS)))
    command = chaski("chaski-ingest", "--auth", "none", "--routes", str(file), "--port", "0")
    async with measured(command, server.sqs_url, folder / "ingest.log") as process:
        await server.load(0, 1, send_seconds=SEND_SECONDS)
        await run_job(_job(process, server, _WARM, 0.0))
        await server.load(0, 1, send_seconds=SEND_SECONDS)
        before = process.cpu_seconds()
        sent = await run_job(_job(process, server, requests, rate))
        used = process.cpu_seconds() - before
        report = await server.report()
        title = f"chaski-ingest at {rate:,.0f}/s" if rate else "chaski-ingest"
        entries = requests / max(1, sum(report["sends"].values()))
        return _ingested("chaski", title, requests, sent, used, (entries, requests - report["came"]))


def _job(process: Measured, server: Standin, requests: int, rate: float) -> Job:
    url = f"{process.ready['chaski.ingest.url']}/v1/routes/{NAMESPACE}/{ROUTE}/messages"
    return Job(url, requests, _CONNECTIONS, SUBJECTS, target_url=server.target_url, rate=rate)


def _ingested(
    kind: str, title: str, requests: int, sent: Sent, used: float, queue: tuple[float, int] = (0.0, 0)
) -> Ingested:
    return Ingested(
        kind=kind,
        title=title,
        requests=requests,
        seconds=sent.seconds,
        cpu=used * 1000 / requests,
        p50_ms=percentile(sent.answer_seconds, 0.5) * 1000,
        p99_ms=percentile(sent.answer_seconds, 0.99) * 1000,
        fastest_ms=min(sent.answer_seconds) * 1000,
        entries=queue[0],
        missing=queue[1],
    )
