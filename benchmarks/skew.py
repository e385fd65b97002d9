"""Skew as at the predecessor: most messages are of one subject, whose target is slow."""

import asyncio

from benchmarks.measure import data_folder
from benchmarks.plan import CONNECTIONS, HOT_BATCH_LINES, OTHER_SUBJECTS, Plan
from benchmarks.processes import Dev, Target, dev, route, run_job
from benchmarks.results import Skew, latency
from benchmarks.traffic import Job

_LATE_SECONDS = 120.0


async def skew(plan: Plan, server: Target) -> Skew:
    """The others alone, then the same beside the hot subject; it ends when the last of the others is delivered."""
    alone, _, _ = await _run(plan, server, hot=False)
    beside, hot_delivered, peak = await _run(plan, server, hot=True)
    return Skew(
        hot_sent=plan.hot,
        hot_delivered=hot_delivered,
        alone=latency("the others alone", alone),
        beside=latency("beside the hot subject", beside),
        alone_ms=sorted(round(seconds * 1000, 3) for seconds in alone),
        beside_ms=sorted(round(seconds * 1000, 3) for seconds in beside),
        peak_rss_mib=peak,
    )


async def _run(plan: Plan, server: Target, *, hot: bool) -> tuple[list[float], int, float]:
    """Seconds from sent to the target for each of the others, hot messages delivered by then, peak MiB."""
    await server.reset()
    with data_folder() as folder:
        async with dev(folder, route("skew", server.url)) as running, asyncio.TaskGroup() as sending:
            if hot:
                sending.create_task(run_job(_hot(plan, running, server)))
            sending.create_task(run_job(_others(plan, running, server)))
            report = await server.wait_for(plan.others, plan.skew_seconds + _LATE_SECONDS)
            peak = running.peak_rss_mib()
        report = await server.report(latencies=True) | {"counts": report["counts"]}
    return report["seconds"]["other"], report["counts"].get("hot", 0), peak


def _others(plan: Plan, running: Dev, server: Target) -> Job:
    rate = plan.others / plan.skew_seconds
    url = running.messages_url
    return Job(url, plan.others, CONNECTIONS, OTHER_SUBJECTS, target_url=server.url, rate=rate)


def _hot(plan: Plan, running: Dev, server: Target) -> Job:
    rate = plan.hot / plan.skew_seconds
    url = running.messages_url
    return Job(url, plan.hot, 1, 1, kind="hot", target_url=server.url, lines=HOT_BATCH_LINES, rate=rate)
