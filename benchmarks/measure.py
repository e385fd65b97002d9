"""The measurements, one function each. Each checks that no message was lost, repeated or out of order."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.plan import BATCH_CONNECTIONS, BATCH_LINES, CONCURRENCY, CONNECTIONS, SUBJECTS, Plan
from benchmarks.processes import ROOT, BenchmarkError, Dev, Sent, Target, dev, route, run_job, target
from benchmarks.results import HANDLER, OTHER_LOOP, PAIR, Calm, Floor, Throughput, latency, percentile
from benchmarks.traffic import Job

_DRAIN_SECONDS = 180.0


@contextmanager
def data_folder() -> Iterator[Path]:
    """A folder on the disk that the checkout is on: one for temporary files may be in memory, where no sync costs."""
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=ROOT) as folder:
        yield Path(folder)


async def floors(plan: Plan) -> list[Floor]:
    """The bare aiohttp pair on both event loops, and the bare handler alone under the lean load generator."""
    return [
        await _floor(plan, PAIR, "bare aiohttp pair", loop="uvloop", client="aiohttp"),
        await _floor(plan, OTHER_LOOP, "the same on asyncio's loop", loop="asyncio", client="aiohttp"),
        await _floor(plan, HANDLER, "bare aiohttp handler", loop="uvloop", client="lean"),
    ]


async def _floor(plan: Plan, key: str, title: str, *, loop: str, client: str) -> Floor:
    connections = CONCURRENCY if client == "aiohttp" else CONNECTIONS
    async with target(loop) as server:
        warm = _direct(server, connections, connections * 20, loop=loop, client=client)
        await run_job(warm)
        await server.reset()
        sent = await run_job(_direct(server, connections, plan.floor_requests, loop=loop, client=client))
        report = await server.report()
    requests = plan.floor_requests
    per_thousand = 1000 / requests
    return Floor(
        key, title, requests, sent.seconds, sent.cpu_seconds * per_thousand, report["cpu_seconds"] * per_thousand
    )


def _direct(server: Target, connections: int, messages: int, *, loop: str, client: str) -> Job:
    return Job(server.url, messages, connections, subjects=connections, client=client, loop=loop)


async def backlog(plan: Plan, ordering: str, *, batches: bool, server: Target) -> tuple[Throughput, Throughput]:
    """Messages are accepted while delivery is suspended, then all of them are drained."""
    await server.reset()
    with data_folder() as folder:
        name = ordering.lower()
        async with dev(folder, route(name, server.url, ordering=ordering, suspended=True)) as running:
            accepted = await _accept(plan, running, server, batches=batches)
        async with dev(folder, route(name, server.url, ordering=ordering)) as running:
            drained = await _drain(plan, running, ordering, server)
    return accepted, drained


async def _accept(plan: Plan, running: Dev, server: Target, *, batches: bool) -> Throughput:
    connections = BATCH_CONNECTIONS if batches else CONNECTIONS
    lines = BATCH_LINES if batches else 1
    job = Job(running.messages_url, plan.backlog, connections, SUBJECTS, target_url=server.url, lines=lines)
    before = running.cpu_seconds()
    sent = await run_job(job)
    key = "batch" if batches else "single"
    title = f"accepted, NDJSON of {lines}" if batches else "accepted, one by one"
    return _throughput(f"accepted-{key}", title, plan.backlog, sent, running, before)


def _throughput(key: str, title: str, messages: int, sent: Sent, running: Dev, cpu_before: float) -> Throughput:
    return Throughput(
        key,
        title,
        messages,
        sent.seconds,
        (running.cpu_seconds() - cpu_before) * 1000 / messages,
        running.peak_rss_mib(),
        percentile(sent.answer_seconds, 0.5) * 1000,
        percentile(sent.answer_seconds, 0.99) * 1000,
    )


async def _drain(plan: Plan, running: Dev, ordering: str, server: Target) -> Throughput:
    begun = await server.wait_for(1, _DRAIN_SECONDS)
    cpu, already = running.cpu_seconds(), begun["counts"]["other"]  # without the start of the process
    report = _checked(await server.wait_for(plan.backlog, _DRAIN_SECONDS))
    used = (running.cpu_seconds() - cpu) * 1000 / max(1, plan.backlog - already)
    seconds = report["last_at"] - report["first_at"]
    title = f"drained, {ordering}"
    return Throughput(f"drained-{ordering.lower()}", title, plan.backlog, seconds, used, running.peak_rss_mib())


def _checked(report: dict[str, Any]) -> dict[str, Any]:
    if report["repeated"] or report["out_of_order"]:
        raise BenchmarkError(f"{report['repeated']} messages arrived twice, {report['out_of_order']} out of order")
    return report


async def together(plan: Plan, ordering: str, server: Target) -> Throughput:
    """Accepted and delivered at the same time: from the first request to the last delivery."""
    await server.reset()
    name = ordering.lower()
    with data_folder() as folder:
        async with dev(folder, route(name, server.url, ordering=ordering)) as running:
            before = running.cpu_seconds()
            sent = await run_job(Job(running.messages_url, plan.together, CONNECTIONS, SUBJECTS, target_url=server.url))
            report = _checked(await server.wait_for(plan.together, _DRAIN_SECONDS))
            whole = Sent(report["last_at"] - sent.started_at, sent.cpu_seconds, sent.answer_seconds, sent.started_at)
            return _throughput(f"together-{name}", f"both at once, {ordering}", plan.together, whole, running, before)


async def calm(plan: Plan, server: Target) -> Calm:
    """Latency at a low rate: the target called directly, then through Chaski."""
    await server.reset()
    direct = Job(server.url, plan.calm_messages, CONNECTIONS, CONNECTIONS, rate=plan.calm_rate)
    await run_job(direct)
    directly = (await server.report(latencies=True))["seconds"]["other"]
    await server.reset()
    with data_folder() as folder:
        async with dev(folder, route("calm", server.url)) as running:
            before = running.cpu_seconds()
            await run_job(
                Job(
                    *(running.messages_url, plan.calm_messages, CONNECTIONS, SUBJECTS),
                    target_url=server.url,
                    rate=plan.calm_rate,
                )
            )
            _checked(await server.wait_for(plan.calm_messages, _DRAIN_SECONDS))
            used = (running.cpu_seconds() - before) * 1000 / plan.calm_messages
            through = (await server.report(latencies=True))["seconds"]["other"]
    return Calm(plan.calm_rate, latency("called directly", directly), latency("through Chaski", through), used)
