"""Skew in the predecessor's shape: one subject holds most messages, and the others must not wait behind it."""

import asyncio
import itertools
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from support.devs import dev_server, recording_target, route

HOT_MESSAGES, OTHER_MESSAGES, OTHER_SUBJECTS = 5_938, 1_262, 200
HOT_ANSWER_SECONDS = 0.04
SENDING_SECONDS = 12.0


def percentile(values: list[float], share: float) -> float:
    """The value below which that share of the values lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def answer(_path: str, message_id: str, _attempt: int) -> tuple[float, int]:
    """The hot subject's target takes 40 ms."""
    return (HOT_ANSWER_SECONDS if message_id.startswith("hot") else 0.0), 200


@pytest.mark.promise(9)
async def test_others_do_not_wait_behind_a_hot_subject(tmp_path: Path, report: Callable[[str], None]) -> None:
    """The 1,262 others: accept-to-delivery p99 with and without the hot subject's 5,938 within a factor of two."""
    accepted: dict[str, float] = {}
    async with (
        recording_target(answer) as target,
        dev_server(tmp_path, route("skew", target.url, queues=[{"name": "messages", "partitions": 1}])) as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=50)) as http,
    ):
        url = f"{server.url}/v1/routes/t/skew/messages"

        async def send(message_id: str, subject: str) -> None:
            async with http.post(url, json={"id": message_id, "subject": subject, "body": {"url": target.url}}) as got:
                assert got.status == 202
            accepted[message_id] = time.monotonic()

        async def others(phase: str) -> list[float]:
            """Sends the others evenly; their seconds from acceptance to the target's answer."""
            tasks = []
            for number in range(OTHER_MESSAGES):
                tasks.append(asyncio.create_task(send(f"{phase}-{number}", f"s{number % OTHER_SUBJECTS}")))
                await asyncio.sleep(SENDING_SECONDS / OTHER_MESSAGES)
            await asyncio.gather(*tasks)
            async with asyncio.timeout(30):
                while sum(seen.message_id.startswith(phase) for seen in target.seen) < OTHER_MESSAGES:
                    await asyncio.sleep(0.05)
            return [seen.done - accepted[seen.message_id] for seen in target.seen if seen.message_id.startswith(phase)]

        async def hot() -> None:
            for number in itertools.islice(itertools.count(), HOT_MESSAGES):
                await send(f"hot-{number}", "hot")

        alone = await others("alone")
        flood = asyncio.create_task(hot())
        beside = await others("beside")
        await flood
        delivered_hot = sum(seen.message_id.startswith("hot") for seen in target.seen)

    assert len(alone) == len(beside) == OTHER_MESSAGES
    assert delivered_hot < HOT_MESSAGES - 500  # it still had a backlog when the last of the others was delivered
    quiet, busy = percentile(alone, 0.99), percentile(beside, 0.99)
    report(
        f"p99 {quiet * 1000:.1f} ms alone, {busy * 1000:.1f} ms beside the hot subject; {delivered_hot} of it delivered"
    )
    assert busy / quiet <= 2
