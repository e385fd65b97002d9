"""Order, with real processes: 1,000 subjects of 20 messages each, random delays, random failures."""

import itertools
from pathlib import Path

import aiohttp
import pytest

from support.processes.dev import (
    RecordingTarget,
    dead_letters,
    dev_server,
    recording_target,
    route,
    send_batch,
    wait_until,
)
from support.worker.ordered_traffic import RETRY, OrderedTraffic, answer, by_subject

LOAD = OrderedTraffic(subjects=1_000, messages=20)
LINES_PER_REQUEST = 1_000


async def run(ordering: str, folder: Path, target: RecordingTarget) -> set[str]:
    """Sends all messages, waits until each has had all its attempts, and returns the ids of the dead letters."""
    name = ordering.lower()
    async with (
        dev_server(folder, route(name, target.url, ordering=ordering, retry=RETRY)) as server,
        aiohttp.ClientSession() as http,
    ):
        for lines in LOAD.chunks(LINES_PER_REQUEST, target.url):
            results = await send_batch(http, server.url, f"t/{name}", lines)
            assert {result["status"] for result in results} == {202}
        await wait_until(lambda: len(target.seen) >= LOAD.attempts, within=100)
        assert await server.stop() == 0
        return {letter["id"] for letter in await dead_letters(server.data)}


def check_attempts(target: RecordingTarget, kept: set[str]) -> None:
    """Every message had exactly the attempts of its ladder, and is a dead letter if and only if the last one failed."""
    attempts = {message_id: [seen.status for seen in seens] for message_id, seens in target.by_message().items()}
    assert attempts == LOAD.expected
    assert kept == LOAD.exhausted


@pytest.mark.promise(3)
async def test_strict_attempts_nothing_before_its_predecessor_is_settled(tmp_path: Path) -> None:
    """Strict: within a subject one request after the other, all attempts of a message before those of the next."""
    async with recording_target(answer) as target:
        check_attempts(target, await run("Strict", tmp_path, target))
    for requests in by_subject(target.seen).values():
        numbers = [int(seen.label.partition("-")[2]) for seen in requests]
        assert numbers == sorted(numbers)
        assert all(before.done <= after.at for before, after in itertools.pairwise(requests))


@pytest.mark.promise(3)
async def test_relaxed_first_attempts_do_not_overtake(tmp_path: Path) -> None:
    """Relaxed: within a subject the first attempts are in order and one at a time, and so is each retry number."""
    async with recording_target(answer) as target:
        check_attempts(target, await run("Relaxed", tmp_path, target))
    for requests in by_subject(target.seen).values():
        firsts = [seen for seen in requests if seen.attempt == 1]
        assert [int(seen.label.partition("-")[2]) for seen in firsts] == list(range(LOAD.messages))
        assert all(before.done <= after.at for before, after in itertools.pairwise(firsts))
