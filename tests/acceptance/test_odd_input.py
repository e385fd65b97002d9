"""Old and odd input, through real processes."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from chaski_core.ports import OutgoingMessage
from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_runtime.process.clock import SystemClock
from support.processes.dev import dead_letters, dev_server, recording_target, route, settled_total, wait_until
from support.worker.malformed_traffic import LIMIT, RETRY, answer, odd_messages, old_message, sized, unknown_fields


async def post(http: aiohttp.ClientSession, server_url: str, body: bytes) -> tuple[int, dict[str, Any]]:
    """Sends one message's bytes."""
    headers = {"Content-Type": "application/json"}
    async with http.post(f"{server_url}/v1/routes/t/odd/messages", data=body, headers=headers) as got:
        return got.status, orjson.loads(await got.read())


async def put_raw(data: Path, queue: str, bodies: list[bytes]) -> None:
    """Sends bytes to a queue without ingest, as another program or an older release would."""
    broker = await EmbeddedBroker.open(data, SystemClock())
    try:
        (url,) = [url for url in await broker.list_queues() if queue in url]
        for number, body in enumerate(bodies):
            await broker.queue(url).send([OutgoingMessage(body, f"raw{number}", f"raw-{queue}-{number}")])
    finally:
        await broker.close()


async def test_messages_that_are_on_the_queues_already(tmp_path: Path) -> None:
    """The predecessor's JSON is delivered; without metadata on a rung it is a dead letter; other bytes are `malformed`."""
    async with recording_target(answer) as target:
        target.keep_bodies = True
        document = route("odd", target.url, retry=RETRY, queues=[{"name": "messages", "partitions": 1}])
        async with dev_server(tmp_path, document) as server, aiohttp.ClientSession() as http:
            assert await server.stop() == 0
            old, second = (old_message(f"{target.url}200", content) for content in ("old", "2nd"))
            await put_raw(server.data, "-messages-", [old, b"\x00\xff garbage", b'{"subject": 1}', second])
            await put_raw(server.data, "-rung-fast", [old])
            await server.start()
            await settled(http, server.metrics_url, 5)
            assert await server.stop() == 0
            letters = await dead_letters(server.data)
    assert sorted(target.bodies.values()) == [b"2nd", b"old"]
    assert sorted(letter["reason"] for letter in letters) == ["malformed", "malformed", "no-metadata"]
    garbage = next(letter for letter in letters if "garbage" in letter.get("raw", ""))
    assert garbage["envelope"] is None
    assert garbage["subject"] == "raw1"
    lost = next(letter for letter in letters if letter["reason"] == "no-metadata")
    assert lost["envelope"] == orjson.loads(old)


async def settled(http: aiohttp.ClientSession, metrics_url: str, number: int) -> None:
    """Waits until `number` messages are settled."""
    async with asyncio.timeout(30):
        while await settled_total(http, metrics_url) < number:
            await asyncio.sleep(0.05)


@pytest.mark.promise(5)
async def test_unknown_fields_are_unchanged_after_a_retry(tmp_path: Path) -> None:
    """Fields that Chaski does not know, of all kinds, after a retry: unchanged in the dead letter."""
    async with recording_target(answer) as target:
        document = route("odd", target.url, retry=RETRY)
        message = unknown_fields(target.url)
        async with dev_server(tmp_path, document) as server, aiohttp.ClientSession() as http:
            status, answered = await post(http, server.url, json.dumps(message).encode())
            assert status == 202, answered
            await settled(http, server.metrics_url, 1)
            assert await server.stop() == 0
            (letter,) = await dead_letters(server.data)
    assert [seen.attempt for seen in target.seen] == [1, 2]
    kept = dict(letter["envelope"])
    kept.pop("metadata")
    assert kept == message


async def test_odd_subjects_and_bodies_arrive(tmp_path: Path) -> None:
    """Subjects with spaces, emoji, 500 characters, `constructor`; bodies of 0 bytes, the largest, base64, all JSON."""
    async with recording_target(answer) as target:
        target.keep_bodies = True
        async with (
            dev_server(tmp_path, route("odd", target.url, retry=RETRY)) as server,
            aiohttp.ClientSession() as http,
        ):
            sent: dict[str, bytes] = {}
            for name, message, expected in odd_messages(target.url):
                status, answered = await post(http, server.url, message)
                assert (status, answered["id"], answered["subject"]) == (202, name, orjson.loads(message)["subject"])
                sent[name] = expected
            assert len(sized(target.url, LIMIT)) == LIMIT
            status, answered = await post(http, server.url, sized(target.url, LIMIT + 1))
            assert status == 413
            assert "262144" in str(answered).replace(",", "")
            await wait_until(lambda: len(target.seen) >= len(sent), within=20)
            assert await server.stop() == 0
    assert target.bodies == sent
