"""Processes whose queue and table fail: nothing is lost, no process exits, order is kept, and they recover by themselves."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from support.aws.emulators import running_emulators
from support.faults.chaos import chaos
from support.faults.proxy import FaultProxy, cut
from support.processes.dev import RecordingTarget, recording_target, route, wait_until
from support.processes.services import Cloud, Cluster, cluster
from support.worker.ordered_traffic import RETRY, OrderedTraffic, answer, first_arrivals

pytestmark = pytest.mark.landing

LOAD = OrderedTraffic(subjects=40, messages=12)
HARMED_SECONDS = 15.0
SHARE = 0.15
HOLD_SECONDS = "10"
BOTH = pytest.mark.parametrize("ordering", ["Relaxed", "Strict"])
MET = {  # frequent calls of every run
    "Relaxed": {"SendMessageBatch", "ReceiveMessage", "DeleteMessageBatch"},
    "Strict": {"SendMessageBatch", "ReceiveMessage", "DeleteMessageBatch", "ChangeMessageVisibilityBatch", "PutItem"},
}


@dataclass
class Harmed:
    """The processes, with a proxy in front of the queues and one in front of the table."""

    cloud: Cloud
    running: Cluster
    http: aiohttp.ClientSession
    target: RecordingTarget
    queues: FaultProxy
    table: FaultProxy

    async def produce(self) -> None:
        """Sends all messages, those of a subject one after the other; each repeatedly until it is accepted."""
        async with asyncio.TaskGroup() as producers:
            for subject in range(40):
                producers.create_task(self._produce(f"s{subject}"))

    async def _produce(self, subject: str) -> None:
        url = f"{self.running.url}/v1/routes/t/harmed/messages"
        for number in range(LOAD.messages):
            message = {"id": f"{subject}-{number}", "subject": subject, "body": {"url": self.target.url}}
            status = 0
            while status != 202:
                async with self.http.post(url, json=message) as got:
                    status = got.status
                    assert status in {202, 503}, await got.text()
                await asyncio.sleep(random.random())

    async def finished(self, within: float) -> None:
        """Waits until all is done, and checks it; every process survived and exits with 0."""
        await wait_until(lambda: len(first_arrivals(self.target.arrived)) >= LOAD.attempts, within)
        async with asyncio.timeout(60):
            while await self.cloud.lying():
                await asyncio.sleep(0.2)
        assert [await service.stop() for service in self.running.services] == [0] * len(self.running.services)
        kept = {letter.id: letter for letter in await self.cloud.dead_letters()}
        unexpected = [
            (each, letter.reason, letter.detail) for each, letter in kept.items() if each not in LOAD.exhausted
        ]
        assert unexpected == []
        assert set(kept) == LOAD.exhausted
        assert all(letter.attempts == len(LOAD.expected[each]) for each, letter in kept.items())
        LOAD.check_attempts(self.target.arrived)

    async def health(self, name: str) -> int:
        """The status of a worker's `/healthz`."""
        url = self.running.workers[name].ready["chaski.metrics.url"].replace("/metrics", "/healthz")
        async with self.http.get(url) as got:
            return got.status


@contextlib.asynccontextmanager
async def harmed(folder: Path, ordering: str) -> AsyncIterator[Harmed]:
    """An ingest, two consumers and, in Relaxed, an error-consumer."""
    jobs = {"consume0": "consume", "consume1": "consume"} | ({"retry": "retry"} if ordering == "Relaxed" else {})
    async with contextlib.AsyncExitStack() as stack:
        urls = await stack.enter_async_context(running_emulators("embedded", folder))
        target = await stack.enter_async_context(recording_target(answer))
        target.count_arrivals = True
        cloud, proxies = Cloud(*urls, folder), [FaultProxy(url) for url in urls]
        delivery = {"timeoutSeconds": 6, "concurrencyPerPod": 64}
        await cloud.make(route("harmed", target.url, ordering=ordering, retry=RETRY, delivery=delivery))
        for proxy, name in zip(proxies, ("AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL_DYNAMODB"), strict=True):
            await proxy.start()
            stack.push_async_callback(proxy.close)
            cloud.environment[name] = proxy.url
        cloud.environment["CHASKI_VISIBILITY_SECONDS"] = HOLD_SECONDS
        running = await stack.enter_async_context(cluster(cloud, folder, **jobs))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        yield Harmed(cloud, running, http, target, *proxies)


@pytest.mark.timeout(300)
@pytest.mark.promise(2)
@pytest.mark.promise(3)
@pytest.mark.promise(10)
@BOTH
async def test_faults_of_all_kinds_at_every_call(tmp_path: Path, ordering: str, report: Callable[[str], None]) -> None:
    """A sixth of all calls is cut, refused, throttled, answered partially or not at all; entries fail inside a 200."""
    chance, met = random.Random(7), set[str]()
    async with harmed(tmp_path, ordering) as system:
        for proxy in (system.queues, system.table):
            proxy.set_lasting(chaos(SHARE, chance, met))
        producing = asyncio.create_task(system.produce())
        await asyncio.sleep(HARMED_SECONDS)
        for proxy in (system.queues, system.table):
            proxy.heal()
        await producing
        await system.finished(within=120)
    LOAD.check_order(ordering, system.target.arrived, system.target.seen)
    assert MET[ordering] <= met
    repeated = len(system.target.arrived) - LOAD.attempts
    report(f"{len(system.queues.seen) + len(system.table.seen)} calls, {repeated} attempts repeated, 0 lost")


@pytest.mark.timeout(300)
@pytest.mark.promise(1)
@pytest.mark.promise(10)
@pytest.mark.parametrize("ordering", [pytest.param("Relaxed", marks=pytest.mark.slow), "Strict"])
@pytest.mark.parametrize("seconds", [8, pytest.param(75, marks=pytest.mark.slow)])
@pytest.mark.parametrize("what", ["queues", "table"])
async def test_an_unavailable_queue_or_table_loses_nothing(
    tmp_path: Path, ordering: str, seconds: int, what: str
) -> None:
    """During an outage no call succeeds. All messages accepted before and after it are delivered; `/healthz` reports a long outage."""
    async with harmed(tmp_path, ordering) as system:
        proxy: FaultProxy = getattr(system, what)
        producing = asyncio.create_task(system.produce())
        await wait_until(lambda: len(system.target.arrived) >= 40, within=60)
        proxy.set_lasting(cut)
        await asyncio.sleep(seconds)
        polled = what == "table" or seconds < 60
        assert {await system.health(name) for name in system.running.workers} == {200 if polled else 503}
        proxy.heal()
        await producing
        await system.finished(within=120)
    LOAD.check_order(ordering, system.target.arrived, system.target.seen)
