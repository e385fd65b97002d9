"""Messages that share an id are accepted, delivered and dead-lettered separately."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from support.aws.emulators import running_emulators
from support.processes.dev import RecordingTarget, recording_target, route, wait_until
from support.processes.services import Cloud, Service

pytestmark = pytest.mark.landing

BILLING, ATTACKER = "a key of billing, thirty-two bytes", "a key of the attacker, 32 bytes.."
BOTH = pytest.mark.parametrize("ordering", ["Relaxed", "Strict"])
RETRY = {
    "rungs": [{"name": "fast", "delaySeconds": 1}],
    "ladders": [{"class": "any", "retriesPerRung": 1, "rungs": ["fast"]}],
}


@dataclass
class Shared:
    """A route with two producers."""

    cloud: Cloud
    target: RecordingTarget
    url: str
    http: aiohttp.ClientSession

    async def send(self, key: str, message: Mapping[str, Any], **headers: str) -> dict[str, Any]:
        """Sends a message, which must be accepted; returns the response."""
        headers |= {"Authorization": f"Bearer {key}"}
        async with self.http.post(f"{self.url}/v1/routes/t/shared/messages", json=message, headers=headers) as got:
            assert got.status == 202, await got.text()
            answer: dict[str, Any] = await got.json()
            return answer

    def message(self, path: str, subject: str = "customer-9", **fields: Any) -> dict[str, Any]:
        """A message to one path of the target."""
        return {"subject": subject, "body": {"url": f"{self.target.url}{path}", "content": path}, **fields}

    async def settled(self, requests: int) -> Counter[str]:
        """Waits for a number of requests and for empty queues; returns the requests by path."""
        await wait_until(lambda: len(self.target.seen) >= requests, within=40)
        async with asyncio.timeout(20):
            while await self.cloud.lying():
                await asyncio.sleep(0.2)
        return Counter(seen.path.strip("/") for seen in self.target.seen)


@asynccontextmanager
async def shared(folder: Path, ordering: str, status: int) -> AsyncIterator[Shared]:
    """Runs ingest and a worker of each kind; the target responds with one status."""
    async with (
        running_emulators("embedded", folder) as urls,
        recording_target(lambda *_: (0.0, status)) as target,
        aiohttp.ClientSession() as http,
    ):
        cloud = Cloud(*urls, folder)
        producers = [{"apiKeySha256": [hashlib.sha256(key.encode()).hexdigest()]} for key in (BILLING, ATTACKER)]
        await cloud.make(route("shared", target.url, ordering=ordering, retry=RETRY, producers=producers))
        ingest = Service(
            cloud, folder / "ingest.log", "chaski-ingest", "--auth", "keys", "--routes", str(cloud.file), "--port", "0"
        )
        workers = [
            Service(cloud, folder / f"{job}.log", "chaski-worker", job, "--route", str(cloud.file))
            for job in ("consume", "retry")
        ]
        services = [ingest, *workers]
        try:
            await asyncio.gather(*(service.start() for service in services))
            yield Shared(cloud, target, str(ingest.ready["chaski.ingest.url"]), http)
        finally:
            await asyncio.gather(*(service.end() for service in services))
            await cloud.close()


@BOTH
@pytest.mark.timeout(170)
@pytest.mark.promise(2)
@pytest.mark.promise(14)
async def test_a_producer_that_guesses_an_id_suppresses_no_message(tmp_path: Path, ordering: str) -> None:
    """The attacker uses ids and keys first, billing uses the same ones later: all four messages arrive."""
    async with shared(tmp_path, ordering, 200) as made:
        for key, path in ((ATTACKER, "attacker"), (BILLING, "victim")):
            await made.send(key, made.message(path, id="invoice-4711-paid"))
            await made.send(key, made.message(f"{path}2"), **{"Idempotency-Key": "order-1"})
        assert await made.settled(4) == {"attacker": 1, "attacker2": 1, "victim": 1, "victim2": 1}


@BOTH
@pytest.mark.timeout(170)
@pytest.mark.promise(2)
async def test_only_a_repeat_is_the_same_message(tmp_path: Path, ordering: str) -> None:
    """A repeated request gets the same identity; another body or subject with the same id gets another one."""
    async with shared(tmp_path, ordering, 200) as made:
        first = await made.send(BILLING, made.message("one", id="order-7"))
        repeat = await made.send(BILLING, dict(reversed(made.message("one", id="order-7").items())))
        body = await made.send(BILLING, made.message("two", id="order-7"))
        subject = await made.send(BILLING, made.message("three", subject="customer-8", id="order-7"))
        assert repeat == first
        assert len({each["messageId"] for each in (first, body, subject)}) == 3
        assert {each["id"] for each in (first, body, subject)} == {"order-7"}
        assert await made.settled(3) == {"one": 1, "two": 1, "three": 1}
        seen = {each.path.strip("/"): (each.label, each.identity) for each in made.target.seen}
        assert seen == {
            "one": ("order-7", first["messageId"]),
            "two": ("order-7", body["messageId"]),
            "three": ("order-7", subject["messageId"]),
        }


@BOTH
@pytest.mark.timeout(170)
@pytest.mark.promise(2)
@pytest.mark.promise(4)
async def test_failing_messages_that_share_an_id_are_retried_and_dead_lettered_separately(
    tmp_path: Path, ordering: str
) -> None:
    """Two attempts each, as the ladder declares, and a dead letter each."""
    async with shared(tmp_path, ordering, 400) as made:
        answers = [
            await made.send(key, made.message(path, subject=subject, id="order-7"))
            for key, path, subject in (
                (BILLING, "a", "customer-9"),
                (BILLING, "b", "customer-9"),
                (BILLING, "c", "customer-8"),
                (ATTACKER, "d", "customer-9"),
            )
        ]
        assert await made.settled(8) == dict.fromkeys("abcd", 2)
        dead_letters = await made.cloud.dead_letters()
        assert {each.message_id for each in dead_letters} == {answer["messageId"] for answer in answers}
        assert [(each.id, each.attempts) for each in dead_letters] == [("order-7", 2)] * 4
