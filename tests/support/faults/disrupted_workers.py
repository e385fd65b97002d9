"""Three sets of workers of one route; one is killed and one is paused repeatedly."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from chaski_core.dead_letter import DeadLetter
from support.aws.emulators import running_emulators
from support.dead_letters.ledgers import ledger_by_ids, write_ids
from support.faults.disruption import WorkerDisruption, check_surplus
from support.processes.dev import RecordingTarget, wait_until
from support.processes.services import Cloud, Cluster, Service, cluster

# ElasticMQ keeps both cores busy while a receive waits on a FIFO queue, so its runs are `slow`: by themselves.
MAKERS = pytest.mark.parametrize("maker", ["embedded", pytest.param("elasticmq", marks=pytest.mark.slow)])
VISIBILITY_SECONDS = 6  # instead of a minute, so that others soon receive the messages of a killed worker
PAUSE_SECONDS = 8.0
DISRUPTED_SECONDS = {"embedded": 25.0, "elasticmq": 600.0}  # a shorter test is disrupted to its end
SETTLE_SECONDS = 60.0


@dataclass
class DisruptedCluster:
    """A cluster and its disruption."""

    cloud: Cloud
    running: Cluster
    http: aiohttp.ClientSession
    disruption: WorkerDisruption
    calm: Sequence[Service]

    async def finished(
        self, target: RecordingTarget, complete: Callable[[], bool], within: float, accepted: Iterable[str]
    ) -> str:
        """Waits until all is done, ends the disruption, and checks everything but the order.

        Args:
            target: received the messages.
            complete: whether it has received everything.
            within: seconds.
            accepted: ids that ingest answered with 202.

        Returns:
            A summary.
        """
        await wait_until(complete, within)
        self.disruption.stop()
        async with asyncio.timeout(SETTLE_SECONDS):
            while not self.disruption.over or await self.cloud.lying():
                await asyncio.sleep(0.2)
        more = await check_surplus(target.arrived, self.disruption, self.calm)
        living = (await self.disruption.scraped(self.running.workers.values()))[1]
        assert await asyncio.gather(*(each.stop() for each in self.running.services)) == [0] * len(
            self.running.services
        )
        assert self.disruption.kills
        assert self.disruption.pauses
        ids = sorted(set(accepted))
        by_metrics = len(ids) - self.disruption.settled - living
        assert by_metrics >= -more, f"{-by_metrics} counted twice, but {more} delivered again"
        summary = await self._ledger(ids, target, by_metrics)
        return (
            f"{len(self.disruption.kills)} kills and {len(self.disruption.pauses)} pauses, {len(target.arrived)} "
            f"requests, {more} of them repeats; {summary}"
        )

    async def _ledger(self, accepted: Sequence[str], target: RecordingTarget, by_metrics: int) -> str:
        """Nothing is unaccounted by the workers' logs, but what was delivered as its worker was killed; that the target has.

        By metrics as much is missing as the killed ones settled since they were read for the last time. What was delivered
        again may be there twice: a worker that was paused before its delete gets a success, also where another
        one had deleted the message meanwhile.
        """
        took = {seen.label: seen.done for seen in target.seen if seen.status < 300}
        taken = self.cloud.file.with_name("taken.txt")
        await asyncio.to_thread(write_ids, taken, took)
        logs = [service.log for service in self.running.workers.values()]
        by_logs = await ledger_by_ids(self.cloud, accepted, *logs)
        for missing in by_logs["notFound"]:  # a line waits some milliseconds to be written, and dies with its process
            assert any(abs(took[missing] - killed) < 1 for _, killed in self.disruption.kills), missing
        whole = await ledger_by_ids(self.cloud, accepted, *logs, taken)
        assert (whole["accepted"], whole["unaccounted"], whole["onQueues"]) == (len(accepted), 0, 0), whole
        return (
            f"of {len(accepted)} accepted {by_metrics} unaccounted by metrics, {by_logs['unaccounted']} by logs, "
            "0 with the target's own list"
        )

    async def dead_letters(self) -> dict[str, DeadLetter]:
        """By id; each is kept once."""
        letters = await self.cloud.dead_letters()
        by_id = {letter.id: letter for letter in letters}
        assert len(by_id) == len(letters)
        return by_id


@asynccontextmanager
async def disrupted_cluster(
    queue_maker: str, folder: Path, document: Mapping[str, Any]
) -> AsyncIterator[DisruptedCluster]:
    """An ingest and the three sets, disrupted from the start."""
    jobs = ("consume",) if document["spec"].get("ordering") == "Strict" else ("consume", "retry")
    async with running_emulators(queue_maker, folder) as urls, aiohttp.ClientSession() as http:
        cloud = Cloud(*urls, folder)
        cloud.environment["CHASKI_VISIBILITY_SECONDS"] = str(VISIBILITY_SECONDS)
        await cloud.make(document)
        names = {f"{name}-{job}": job for name in ("killed", "paused", "calm") for job in jobs}
        async with cluster(cloud, folder, **names) as running:
            killed, paused, calm = (
                [running.workers[f"{name}-{job}"] for job in jobs] for name in ("killed", "paused", "calm")
            )
            disruption = WorkerDisruption(killed, paused, http, PAUSE_SECONDS)
            seconds = DISRUPTED_SECONDS[queue_maker]
            disrupting = asyncio.create_task(disruption.run())
            asyncio.get_running_loop().call_later(seconds, disruption.stop)
            try:
                yield DisruptedCluster(cloud, running, http, disruption, calm)
            finally:
                disrupting.cancel()
                outcome = (await asyncio.gather(disrupting, return_exceptions=True))[0]
        assert outcome is None or isinstance(outcome, asyncio.CancelledError), outcome
