"""Skew as in the predecessor's load: one subject has most messages, and the others must not wait behind it.

Two concurrent processes get the same messages of other subjects at the same times; only one of them also has the hot
subject. Other load of the machine affects both, so the ratio shows the effect of the hot subject.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from support.processes.dev import DevServer, RecordingTarget, dev_server, recording_target, route

pytestmark = pytest.mark.landing

HOT_MESSAGES, OTHER_MESSAGES, OTHER_SUBJECTS = 5_938, 1_262, 200
HOT_ANSWER_SECONDS = 0.04
SENDING_SECONDS = 10.0


def percentile(values: list[float], share: float) -> float:
    """The value below which a share of the values is."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def answer(_path: str, message_id: str, _attempt: int) -> tuple[float, int]:
    """The hot subject's target takes 40 ms."""
    return (HOT_ANSWER_SECONDS if message_id.startswith("hot") else 0.0), 200


class Side:
    """One process, and its times of acceptance."""

    def __init__(self, server: DevServer, http: aiohttp.ClientSession, target: RecordingTarget) -> None:
        self._url = f"{server.url}/v1/routes/t/skew/messages"
        self._http = http
        self._target = target
        self._accepted: dict[str, float] = {}

    async def send(self, message_id: str, subject: str) -> None:
        """Sends one message and records the time of acceptance."""
        message = {"id": message_id, "subject": subject, "body": {"url": self._target.url}}
        async with self._http.post(self._url, json=message) as got:
            assert got.status == 202
        self._accepted[message_id] = time.monotonic()

    def waits(self) -> list[float]:
        """Seconds from acceptance to delivery, for delivered messages of other subjects."""
        return [
            seen.done - self._accepted[seen.label]
            for seen in self._target.seen
            if seen.label.startswith("other") and seen.label in self._accepted
        ]

    def delivered_hot(self) -> int:
        """Number of delivered messages of the hot subject."""
        return sum(seen.label.startswith("hot") for seen in self._target.seen)


async def make_side(stack: AsyncExitStack, folder: Path) -> Side:
    """A separate process with a separate target."""
    folder.mkdir()  # noqa: ASYNC240 - once, at the start of the test
    target = await stack.enter_async_context(recording_target(answer))
    document = route("skew", target.url, queues=[{"name": "messages", "partitions": 1}])
    server = await stack.enter_async_context(dev_server(folder, document))
    connector = aiohttp.TCPConnector(limit=50)
    return Side(server, await stack.enter_async_context(aiohttp.ClientSession(connector=connector)), target)


async def flood(side: Side) -> None:
    """Sends the hot subject's messages over the same time, in order."""
    began = time.monotonic()
    for number in range(HOT_MESSAGES):
        await side.send(f"hot-{number}", "hot")
        await asyncio.sleep(max(0.0, began + number * SENDING_SECONDS / HOT_MESSAGES - time.monotonic()))


async def send_others(quiet: Side, busy: Side) -> None:
    """Sends the other messages evenly to both sides and waits until all are delivered."""
    began = time.monotonic()
    async with asyncio.TaskGroup() as sending:
        for number in range(OTHER_MESSAGES):
            for side in (quiet, busy) if number % 2 else (busy, quiet):
                sending.create_task(side.send(f"other-{number}", f"s{number % OTHER_SUBJECTS}"))
            await asyncio.sleep(max(0.0, began + number * SENDING_SECONDS / OTHER_MESSAGES - time.monotonic()))
    async with asyncio.timeout(30):
        while min(len(quiet.waits()), len(busy.waits())) < OTHER_MESSAGES:
            await asyncio.sleep(0.05)


@pytest.mark.promise(9)
async def test_others_do_not_wait_behind_a_hot_subject(tmp_path: Path, report: Callable[[str], None]) -> None:
    """The p99 of 1,262 other messages from acceptance to delivery at most doubles with 5,938 messages of a hot subject."""
    async with AsyncExitStack() as stack:
        quiet, busy = await make_side(stack, tmp_path / "quiet"), await make_side(stack, tmp_path / "busy")
        flooding = asyncio.create_task(flood(busy))
        await send_others(quiet, busy)
        delivered_hot = busy.delivered_hot()
        await flooding

    assert len(quiet.waits()) == len(busy.waits()) == OTHER_MESSAGES
    assert delivered_hot < HOT_MESSAGES / 2  # it still had a backlog when the last of the others was delivered
    without, beside = percentile(quiet.waits(), 0.99), percentile(busy.waits(), 0.99)
    report(f"p99 {without * 1000:.1f} ms without and {beside * 1000:.1f} ms with the hot subject")
    assert beside / without <= 2
