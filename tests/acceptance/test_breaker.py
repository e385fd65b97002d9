"""Hosts that fail, with a real worker process on the SQS protocol: they are held, and everything is delivered once they recover."""

import asyncio
import json
import socket
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from support.aws.emulators import running_emulators
from support.processes.dev import RecordingTarget, recording_target, route, send_batch, wait_until
from support.processes.services import Cloud, Service

pytestmark = pytest.mark.landing

SUBJECTS, MESSAGES = 10, 5
THRESHOLD, PROBE, MAX_PROBE, TIMEOUT = 5, 1, 4, 3  # seconds but the first
OUTAGE = 25.0
RETRY = {  # of which an attempt for each second would leave nothing
    "rungs": [{"name": "fast", "delaySeconds": 1}],
    "ladders": [{"class": "any", "retriesPerRung": 3, "rungs": ["fast"]}],
}
BREAKER = {"consecutiveFailures": THRESHOLD, "probeSeconds": PROBE, "maxProbeSeconds": MAX_PROBE}


def messages(name: str, url: str, numbers: range = range(MESSAGES)) -> list[dict[str, Any]]:
    """Those of a host, number by number."""
    ids = [(f"{name}{subject}", f"{name}{subject}-{number}") for number in numbers for subject in range(SUBJECTS)]
    return [{"id": each, "subject": subject, "body": {"url": url}} for subject, each in ids]


def logged(logs: Sequence[Path], name: str) -> list[dict[str, Any]]:
    """The log lines of all attempts to a host."""
    texts = [log.read_text() for log in logs if log.exists()]
    lines = [json.loads(line) for text in texts for line in text.splitlines() if '"event.action":"delivery"' in line]
    return [line for line in lines if line["chaski.id"].startswith(name)]


def attempts(lines: Sequence[dict[str, Any]]) -> list[tuple[str, int]]:
    """Label and number of every attempt."""
    return [(str(line["chaski.id"]), int(line["chaski.attempt.number"])) for line in lines]


def charged_of(lines: Sequence[dict[str, Any]]) -> int:
    """How many attempts were charged: a probe of a held host is not, and the next attempt has its number again."""
    return sum(not line["chaski.next"].startswith("waits") for line in lines)


def assert_delivered_in_order(target: RecordingTarget, made: Sequence[tuple[str, int]], name: str) -> None:
    """Each message once with 200, the first attempts of a subject in order."""
    assert Counter(each.label for each in target.seen if each.status == 200) == Counter(
        each["id"] for each in messages(name, "")
    )
    for subject in range(SUBJECTS):
        labels = list(dict.fromkeys(label for label, _ in made if label.startswith(f"{name}{subject}-")))
        assert labels == [f"{name}{subject}-{number}" for number in range(MESSAGES)]


@pytest.mark.parametrize("ordering", ["Relaxed", "Strict"])
@pytest.mark.promise(2)
@pytest.mark.promise(3)
@pytest.mark.promise(4)
@pytest.mark.promise(9)
async def test_an_outage_of_three_hosts_loses_nothing(tmp_path: Path, ordering: str) -> None:
    """One refuses connections, one hangs, one answers 503, one asks to wait with 429; the fifth is well all the time."""
    down = True
    waiting = socket.socket()  # bound and not listening: connections are refused
    waiting.bind(("127.0.0.1", 0))
    refusing = RecordingTarget(lambda *_: (0.0, 200), url=f"http://127.0.0.1:{waiting.getsockname()[1]}/")
    runner = web.ServerRunner(web.Server(refusing.handle))
    await runner.setup()
    async with (
        running_emulators("embedded", tmp_path) as urls,
        recording_target(lambda *_: (60.0 if down else 0.0, 200)) as hanging,
        recording_target(lambda *_: (0.0, 503 if down else 200)) as failing,
        recording_target(lambda *_: (0.0, 429 if down else 200)) as busy,
        recording_target(lambda *_: (0.0, 200)) as well,
        aiohttp.ClientSession() as http,
    ):
        busy.headers_of_failures = {"Retry-After": "10"}
        hosts = {"refusing": refusing, "hanging": hanging, "failing": failing, "busy": busy, "well": well}
        rules = [{"name": name, "url": target.url} for name, target in hosts.items()]
        delivery = {"timeoutSeconds": TIMEOUT, "concurrencyPerPod": 32, "breaker": BREAKER}
        cloud = Cloud(*urls, tmp_path)
        await cloud.make(
            route("r", well.url, ordering=ordering, retry=RETRY, targets={"allow": rules}, delivery=delivery)
        )
        ingest = Service(
            cloud, tmp_path / "ingest.log", "chaski-ingest",
            "--auth", "none", "--routes", str(cloud.file), "--port", "0",
        )  # fmt: skip
        worker, retries = (
            Service(cloud, tmp_path / f"{command}.log", "chaski-worker", command, "--route", str(cloud.file))
            for command in ("consume", "retry")
        )
        workers = (worker, retries) if ordering == "Relaxed" else (worker,)
        try:
            await asyncio.gather(ingest.start(), *(each.start() for each in workers))
            url = str(ingest.ready["chaski.ingest.url"])
            began = time.monotonic()
            for name, target in hosts.items():
                await send_batch(http, url, "t/r", messages(name, target.url))
            await wait_until(lambda: len(well.seen) == SUBJECTS * MESSAGES, 60)
            await asyncio.sleep(OUTAGE)
            text = await (await http.get(worker.ready["chaski.metrics.url"])).text()
            made = {name: logged([worker.log, retries.log], name) for name in hosts}
            down, passed = False, time.monotonic() - began
            await web.SockSite(runner, waiting).start()
            await wait_until(
                lambda: all(sum(each.status == 200 for each in target.seen) == 50 for target in hosts.values()), 150
            )
            assert [await each.stop() for each in workers] == [0] * len(workers)
            assert await cloud.lying() == 0
            assert await cloud.dead_letters() == []
        finally:
            await asyncio.gather(worker.end(), retries.end(), ingest.end())
            await runner.cleanup()
            await cloud.close()
    held = [line for line in text.splitlines() if line.startswith("chaski_target_held{") and line.endswith(" 1.0")]
    for name in ("refusing", "hanging", "failing"):
        assert any(f'target="{name}"' in line and 'reason="Breaker"' in line for line in held)
        # For each process: of first attempts, and in Relaxed of retries.
        charged = (THRESHOLD - 1 + SUBJECTS) * len(workers)
        probes = (3 + (passed / MAX_PROBE)) * len(workers)
        assert THRESHOLD <= len(made[name]) <= charged + probes
        assert charged_of(made[name]) <= charged, "probes do not count"
    assert charged_of(made["busy"]) <= (SUBJECTS + passed / 10 + 1) * len(workers)
    for name, target in hosts.items():
        assert_delivered_in_order(target, attempts(logged([worker.log], name)), name)
