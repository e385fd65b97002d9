"""Consumers side by side: Chaski's, the bare floor, and the naive loop, each measured under the same load."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson

from benchmarks.engine.processes import Measured, Standin, chaski, measured, resolved, script
from benchmarks.engine.results import FLOOR, OURS, Consumed, Load
from benchmarks.plan import CONCURRENCY
from benchmarks.results import percentile

_WARM_MESSAGES, _WARM_SUBJECTS = 500, 100
_LATE_SECONDS = 120.0


@asynccontextmanager
async def _consumer(kind: str, server: Standin, folder: Path) -> AsyncIterator[Measured]:
    log = folder / f"{kind}.log"
    if kind == OURS:
        file = folder / "resolved.yaml"
        file.write_bytes(orjson.dumps(resolved(server.sqs_url, server.target_url)))
        command = chaski("chaski-worker", "consume", "--route", str(file))
    else:
        command = script("floor", str(CONCURRENCY)) if kind == FLOOR else script("naive")
    async with measured(command, server.sqs_url, log) as process:
        yield process


async def consume(kind: str, load: Load, server: Standin, folder: Path) -> Consumed:
    """One consumer under one load: its cost from the first message sent to the last one deleted."""
    async with _consumer(kind, server, folder) as process:
        warm = min(_WARM_MESSAGES, load.messages)
        await server.load(warm, _WARM_SUBJECTS)
        await server.wait_for(lambda report: report["deleted"] >= warm, _LATE_SECONDS)
        before = process.cpu_seconds()
        await server.load(
            load.messages,
            load.subjects,
            rate=load.rate,
            answer_seconds=load.answer_ms / 1000,
            hot_percent=load.hot_percent,
        )
        within = _LATE_SECONDS + (load.messages / load.rate if load.rate else 0.0)
        await server.wait_for(lambda report: report["deleted"] >= load.messages, within)
        used = process.cpu_seconds() - before
        report = await server.report(latencies=True)
        hot = load.hot_messages
        return Consumed(
            kind=kind,
            load=load.key,
            messages=load.messages,
            seconds=report["last_at"] - report["first_at"],
            cpu=used * 1000 / load.messages,
            calls=sum(report["calls"].values()) / load.messages,
            peak_rss_mib=process.peak_rss_mib(),
            p50_ms=percentile(report["seconds"], 0.5) * 1000,
            p99_ms=percentile(report["seconds"], 0.99) * 1000,
            missing=load.messages - report["came"],
            repeated=report["repeated"],
            out_of_order=report["out_of_order"],
            hot_ms=(report["hot_deleted_at"] - report["first_at"]) * 1000 / hot if hot else 0.0,
        )
