"""SIGTERM: attempts in flight finish, the rest is visible to others at once, and the process exits within its grace period."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from support.aws.emulators import running_emulators
from support.faults.proxy import FaultProxy, delay, swallow
from support.processes.dev import RecordingTarget, recording_target, route, send_batch, wait_until
from support.processes.services import Cloud, Cluster, cluster
from support.worker.ordered_traffic import first_arrivals

pytestmark = pytest.mark.landing

SUBJECTS, MESSAGES = 5, 6
TIMEOUT_SECONDS = 2
SOON = 40.0  # seconds: below the visibility timeout of a minute, enough for a busy machine
RETRY = {
    "rungs": [{"name": "fast", "delaySeconds": 1}],
    "ladders": [{"class": "any", "retriesPerRung": 1, "rungs": ["fast"]}],
}


@dataclass
class System:
    """An ingest and one consumer, with a proxy in front of the queues."""

    cloud: Cloud
    running: Cluster
    http: aiohttp.ClientSession
    target: RecordingTarget
    proxy: FaultProxy

    async def fill(self) -> None:
        """Sends all messages, number by number."""
        for number in range(MESSAGES):
            ids = [(f"s{subject}-{number}", f"s{subject}") for subject in range(SUBJECTS)]
            lines = [{"id": each, "subject": subject, "body": {"url": self.target.url}} for each, subject in ids]
            results = await send_batch(self.http, self.running.url, "t/stop", lines)
            assert {result["status"] for result in results} == {202}


@contextlib.asynccontextmanager
async def system(
    folder: Path, answer: Callable[[str, str, int], tuple[float, int]], **spec: Any
) -> AsyncIterator[System]:
    """A system with a visibility timeout of a minute, as in a cluster."""
    async with (
        running_emulators("embedded", folder) as urls,
        recording_target(answer) as target,
        aiohttp.ClientSession() as http,
    ):
        target.count_arrivals = True
        cloud, proxy = Cloud(*urls, folder), FaultProxy(urls[0])
        await cloud.make(route("stop", target.url, retry=RETRY, **spec))
        await proxy.start()
        cloud.environment["AWS_ENDPOINT_URL_SQS"] = proxy.url
        try:
            async with cluster(cloud, folder, consume="consume") as running:
                yield System(cloud, running, http, target, proxy)
        finally:
            await proxy.close()


@pytest.mark.promise(11)
@pytest.mark.parametrize("ordering", ["Relaxed", "Strict"])
async def test_attempts_in_flight_finish_and_the_rest_is_visible_at_once(tmp_path: Path, ordering: str) -> None:
    """A consumer is stopped during deliveries: nothing is repeated, and the next one continues long before a visibility timeout."""
    async with system(tmp_path, lambda *_: (1.0, 200), ordering=ordering) as made:
        consumer = made.running.workers["consume"]
        await made.fill()
        await wait_until(lambda: len(made.target.arrived) > SUBJECTS, within=60)
        assert await consumer.stop() == 0
        arrived = len(made.target.arrived)
        assert len(made.target.seen) == arrived < SUBJECTS * MESSAGES
        assert await made.cloud.lying() == SUBJECTS * MESSAGES - arrived
        await consumer.start()
        await wait_until(lambda: len(made.target.seen) >= SUBJECTS * MESSAGES, within=SOON)
        assert await consumer.stop() == 0
        assert await made.cloud.lying() == 0
    assert len(made.target.arrived) == SUBJECTS * MESSAGES
    for subject in range(SUBJECTS):
        order = [each for each, _ in first_arrivals(made.target.arrived) if each.startswith(f"s{subject}-")]
        assert order == [f"s{subject}-{number}" for number in range(MESSAGES)]


@pytest.mark.promise(11)
@pytest.mark.parametrize(
    "unavailable", [False, True], ids=["target hangs", "target hangs and the queue is unavailable"]
)
async def test_a_consumer_ends_whatever_hangs(
    tmp_path: Path, report: Callable[[str], None], *, unavailable: bool
) -> None:
    """The process exits with 0 although a target, or also the queue, never responds."""
    delivery = {"timeoutSeconds": TIMEOUT_SECONDS, "concurrencyPerPod": 64}
    async with system(tmp_path, lambda *_: (3_600.0, 200), delivery=delivery) as made:
        await made.fill()
        await wait_until(lambda: len(made.target.arrived) >= SUBJECTS, within=60)
        if unavailable:
            made.proxy.set_lasting(swallow)
        began = time.monotonic()
        assert await made.running.workers["consume"].stop() == 0
        report(f"ended after {time.monotonic() - began:.1f} s; its grace period is {TIMEOUT_SECONDS + 15} s")
        made.proxy.heal()
        lying = await made.cloud.lying()
    assert lying == SUBJECTS * MESSAGES


@pytest.mark.promise(1)
@pytest.mark.promise(11)
async def test_an_ingest_finishes_requests_under_way_and_accepts_no_more(tmp_path: Path) -> None:
    """Stopped while the queue is slow: 202 for messages that it acknowledges, and no further connection."""
    async with system(tmp_path, lambda *_: (0.0, 200)) as made:
        made.proxy.set_lasting(delay(2.0), "SendMessageBatch")
        url = f"{made.running.url}/v1/routes/t/stop/messages"
        asking = asyncio.create_task(
            made.http.post(url, json={"id": "m", "subject": "s", "body": {"url": made.target.url}})
        )
        await wait_until(lambda: "SendMessageBatch" in made.proxy.seen, within=30)
        made.running.ingest.signal(signal.SIGTERM)
        async with await asking as answered:
            assert answered.status == 202
        assert await made.running.ingest.ended() == 0
        async with aiohttp.ClientSession() as other:
            with pytest.raises(aiohttp.ClientConnectorError):
                await other.post(url, json={})
        await wait_until(lambda: [each.label for each in made.target.seen] == ["m"], within=30)
