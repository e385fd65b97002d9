"""Three sets of workers of one route, of which one is killed and one is paused again and again."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from chaski_core.dead_letter import DeadLetter
from support.aws.emulators import standins
from support.dead_letters.ledgers import ledger_by_ids, write_ids
from support.faults.injection import Disturbance, check_surplus
from support.processes.dev import RecordingTarget, wait_until
from support.processes.services import Cloud, Cluster, Service, cluster

# ElasticMQ keeps both cores busy while anybody waits for messages of a FIFO queue, so its runs are `slow`: by themselves.
MAKERS = pytest.mark.parametrize("maker", ["embedded", pytest.param("elasticmq", marks=pytest.mark.slow)])
HOLD_SECONDS = 6  # instead of a minute, so that what a kill left is soon had by others
PAUSE_SECONDS = 8.0
DISTURBED_SECONDS = {"embedded": 25.0, "elasticmq": 600.0}  # a shorter test is disturbed to its end
SETTLE_SECONDS = 60.0


@dataclass
class DisturbedCluster:
    """What runs, and what is done to it."""

    cloud: Cloud
    running: Cluster
    http: aiohttp.ClientSession
    disturbance: Disturbance
    calm: Sequence[Service]

    async def finished(
        self, target: RecordingTarget, complete: Callable[[], bool], within: float, accepted: Iterable[str]
    ) -> str:
        """Waits until all is done, ends the disturbance, and checks what came of it but the order.

        Args:
            target: what got the messages.
            complete: whether it has got all that it must.
            within: seconds.
            accepted: ids that ingest answered with 202.

        Returns:
            What happened, in words.
        """
        await wait_until(complete, within)
        self.disturbance.stop()
        async with asyncio.timeout(SETTLE_SECONDS):
            while not self.disturbance.over or await self.cloud.lying():
                await asyncio.sleep(0.2)
        more = await check_surplus(target.arrived, self.disturbance, self.calm)
        living = (await self.disturbance.scraped(self.running.workers.values()))[1]
        assert await asyncio.gather(*(each.stop() for each in self.running.services)) == [0] * len(
            self.running.services
        )
        assert self.disturbance.kills
        assert self.disturbance.pauses
        ids = sorted(set(accepted))
        by_metrics = len(ids) - self.disturbance.settled - living
        assert by_metrics >= -more, f"{-by_metrics} counted twice, but {more} delivered again"
        told = await self._ledger(ids, target, by_metrics)
        return (
            f"{len(self.disturbance.kills)} kills and {len(self.disturbance.pauses)} pauses, {len(target.arrived)} "
            f"requests, {more} of them repeats; {told}"
        )

    async def _ledger(self, accepted: Sequence[str], target: RecordingTarget, by_metrics: int) -> str:
        """Nothing is unaccounted by the workers' logs, but what was delivered as its worker was killed; that the target has.

        By metrics as much is missing as the killed ones settled since they were read for the last time. What was delivered
        again may be there twice: a worker that was paused before its delete is told that it succeeded, also where another
        one had deleted the message meanwhile.
        """
        took = {seen.label: seen.done for seen in target.seen if seen.status < 300}
        taken = self.cloud.file.with_name("taken.txt")
        await asyncio.to_thread(write_ids, taken, took)
        logs = [service.log for service in self.running.workers.values()]
        by_logs = await ledger_by_ids(self.cloud, accepted, *logs)
        for missing in by_logs["notFound"]:  # a line waits some milliseconds to be written, and dies with its process
            assert any(abs(took[missing] - killed) < 1 for _, killed in self.disturbance.kills), missing
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
async def disturbed_cluster(
    queue_maker: str, folder: Path, document: Mapping[str, Any]
) -> AsyncIterator[DisturbedCluster]:
    """An ingest and the three sets, disturbed from the start."""
    jobs = ("consume",) if document["spec"].get("ordering") == "Strict" else ("consume", "retry")
    async with standins(queue_maker, folder) as urls, aiohttp.ClientSession() as http:
        cloud = Cloud(*urls, folder)
        cloud.environment["CHASKI_VISIBILITY_SECONDS"] = str(HOLD_SECONDS)
        await cloud.make(document)
        names = {f"{name}-{job}": job for name in ("killed", "paused", "calm") for job in jobs}
        async with cluster(cloud, folder, **names) as running:
            killed, paused, calm = (
                [running.workers[f"{name}-{job}"] for job in jobs] for name in ("killed", "paused", "calm")
            )
            disturbance = Disturbance(killed, paused, http, PAUSE_SECONDS)
            seconds = DISTURBED_SECONDS[queue_maker]
            disturbing = asyncio.create_task(disturbance.run())
            asyncio.get_running_loop().call_later(seconds, disturbance.stop)
            try:
                yield DisturbedCluster(cloud, running, http, disturbance, calm)
            finally:
                disturbing.cancel()
                outcome = (await asyncio.gather(disturbing, return_exceptions=True))[0]
        assert outcome is None or isinstance(outcome, asyncio.CancelledError), outcome
