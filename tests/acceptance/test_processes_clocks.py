"""Machines with wrong or jumping clocks accept and deliver messages, and stored times are right.

Like AWS, the queues and the table refuse a signature that is more than 15 minutes off.
"""

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import aiohttp
import orjson
import pytest

from support.aws.emulators import running_emulators
from support.faults.proxy import FaultProxy, keeping_time
from support.processes.dev import RecordingTarget, recording_target, route, send_batch, wait_until
from support.processes.services import Cloud, Cluster, cluster

pytestmark = pytest.mark.landing

HOUR, DAY = 3_600, 86_400
OFF = {"two hours behind": -2 * HOUR, "305 s ahead": 305, "20 days ahead": 20 * DAY, "400 days ahead": 400 * DAY}
RETRY = {
    "rungs": [{"name": "fast", "delaySeconds": 1}],
    "ladders": [{"class": "any", "retriesPerRung": 1, "rungs": ["fast"]}],
}
SECONDS = 5.0  # tolerance of a stored time

needs_faketime = pytest.mark.skipif(
    shutil.which("faketime") is None and os.environ.get("CI") != "true",
    reason="faketime (a Debian package), which sets the clock of a process, is not installed",
)


@dataclass
class System:
    """Ingest and workers on machines with the clock of the file `clock`, and AWS with the right clock."""

    cloud: Cloud
    running: Cluster
    http: aiohttp.ClientSession
    target: RecordingTarget
    clock: Path

    async def send(self, *names: str) -> None:
        """Sends messages with separate subjects; those named `bad...` are never delivered."""
        lines = [{"id": name, "subject": name, "body": {"url": f"{self.target.url}{name}"}} for name in names]
        results = await send_batch(self.http, self.running.url, "t/clocks", lines)
        assert [result["status"] for result in results] == [202] * len(names), results

    async def delivered(self, *names: str) -> None:
        """Waits until the target has accepted these messages."""
        wanted = {f"/{name}" for name in names}
        await wait_until(lambda: wanted <= {seen.path for seen in self.target.seen if seen.status == 200}, within=60)

    async def dead_lettered(self, name: str, began: float) -> None:
        """Waits for the dead letter of a message and checks that its times are AWS's."""
        async with asyncio.timeout(60):
            while not (found := [each for each in await self.cloud.dead_letters() if each.id == name]):
                await asyncio.sleep(0.2)
        (dead_letter,) = found
        assert dead_letter.envelope is not None
        accepted = dead_letter.envelope["metadata"]["acceptedAt"]
        at = accepted if isinstance(accepted, int | float) else _epoch_ms(accepted)
        assert began - SECONDS <= at / 1000 <= began + SECONDS
        assert began - SECONDS <= dead_letter.dead_lettered_at / 1000 <= time.time() + SECONDS
        for error in dead_letter.errors:
            assert began - SECONDS <= error.at / 1000 <= time.time() + SECONDS

    def set_clock(self, seconds: int) -> None:
        """Sets the offset of the machines' wall clock."""
        fresh = self.clock.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}\n")
        fresh.replace(self.clock)  # atomically

    async def offset(self) -> float:
        """Ingest's correction of its clock."""
        async with self.http.get(self.running.ingest.ready["chaski.metrics.url"]) as page:
            lines = (await page.text()).splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith("chaski_clock_offset_seconds "))


def _epoch_ms(text: str) -> float:
    return datetime.fromisoformat(text).timestamp() * 1000


def faketime_library() -> Path:
    """The library for LD_PRELOAD."""
    return next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))


@contextlib.asynccontextmanager
async def system(folder: Path, ordering: str, off: int) -> AsyncIterator[System]:
    """Runs the system on machines whose clock is off."""
    clock = folder / "clock"
    async with (
        running_emulators("embedded", folder) as urls,
        recording_target(
            lambda path, _, attempt: (0, 200 if not path.startswith("/bad") and attempt > 1 else 503)
        ) as target,
        aiohttp.ClientSession() as http,
    ):
        cloud = Cloud(*urls, folder)
        await cloud.make(route("clocks", target.url, retry=RETRY, ordering=ordering))
        proxies = [FaultProxy(url) for url in urls]
        for proxy, name in zip(proxies, ("SQS", "DYNAMODB"), strict=True):
            await proxy.start()
            proxy.set_lasting(keeping_time())
            cloud.environment[f"AWS_ENDPOINT_URL_{name}"] = proxy.url
        cloud.environment |= {
            "LD_PRELOAD": str(faketime_library()),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
        clock.write_text(f"{off:+d}\n")
        jobs = {"consume": "consume"} | ({"retry": "retry"} if ordering == "Relaxed" else {})
        try:
            async with cluster(cloud, folder, **jobs) as running:
                yield System(cloud, running, http, target, clock)
        finally:
            for proxy in proxies:
                await proxy.close()


@needs_faketime
@pytest.mark.promise(10)
@pytest.mark.parametrize("off", OFF.values(), ids=OFF)
async def test_a_machine_that_starts_with_a_wrong_clock_accepts_and_delivers(tmp_path: Path, off: int) -> None:
    """Stored times are AWS's from the first message on."""
    async with system(tmp_path, "Relaxed", off) as made:
        began = time.time()
        await made.send("first", "bad")
        await made.delivered("first")
        await made.dead_lettered("bad", began)
        assert abs(await made.offset() + off) <= SECONDS
        assert [await each.stop() for each in made.running.services] == [0, 0, 0]


@needs_faketime
@pytest.mark.promise(10)
async def test_a_clock_that_jumps_while_processes_run_delays_no_message(tmp_path: Path) -> None:
    """Forward and back, with heads that wait for their next attempt: none waits for days, none skips its delay."""
    async with system(tmp_path, "Strict", 0) as made:
        for number, off in enumerate([0, 20 * DAY, -2 * HOUR, 400 * DAY, 0]):
            made.set_clock(off)
            began = time.time()
            await made.send(f"good{number}", f"bad{number}")
            await made.delivered(f"good{number}")
            await made.dead_lettered(f"bad{number}", began)
            assert abs(await made.offset() + off) <= SECONDS
        logged = made.running.ingest.log.read_text().splitlines()
        messages = [each["message"] for each in map(orjson.loads, logged) if "AWS's" in each.get("message", "")]
        assert [("check its NTP" in each, "agrees" in each) for each in messages] == [(True, False), (False, True)]
        assert [await each.stop() for each in made.running.services] == [0, 0]
