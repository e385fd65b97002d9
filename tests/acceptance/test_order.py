"""Order, with real processes: 1,000 subjects of 20 messages each, random delays, random failures."""

import functools
import itertools
import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from support.devs import (
    RecordingTarget,
    Seen,
    dead_letters,
    dev_server,
    recording_target,
    route,
    send_batch,
    wait_until,
)

SUBJECTS, MESSAGES = 1_000, 20
LINES_PER_REQUEST = 1_000
RETRY = {
    "rungs": [{"name": "fast", "delaySeconds": 1}],
    "ladders": [
        {"class": "4xx", "retriesPerRung": 1, "rungs": ["fast"]},
        {"class": "5xx", "retriesPerRung": 2, "rungs": ["fast"]},
    ],
}
RETRIES = {404: 1, 503: 2}


@functools.cache
def answer(_path: str, message_id: str, attempt: int) -> tuple[float, int]:
    """A delay of up to 30 ms, and one failure in twelve; by chance, but the same for the same attempt."""
    chance = random.Random(f"{message_id}/{attempt}")
    status = chance.choice([503, 404]) if chance.random() < 1 / 12 else 200
    return chance.random() * 0.03, status


def expected_statuses(message_id: str) -> list[int]:
    """What the target answers to each attempt that the ladder demands."""
    statuses = [answer("/", message_id, 1)[1]]
    while statuses[-1] != 200 and len(statuses) <= RETRIES[statuses[0]]:
        statuses.append(answer("/", message_id, len(statuses) + 1)[1])
    return statuses


EXPECTED = {
    message_id: expected_statuses(message_id)
    for message_id in (f"s{subject}-{number}" for subject in range(SUBJECTS) for number in range(MESSAGES))
}


def chunks() -> Iterator[list[tuple[str, str]]]:
    """Ids and subjects in the order they are sent: number by number, all subjects in turn."""
    order = ((f"s{subject}-{number}", f"s{subject}") for number in range(MESSAGES) for subject in range(SUBJECTS))
    while chunk := list(itertools.islice(order, LINES_PER_REQUEST)):
        yield chunk


async def run(ordering: str, folder: Path, target: RecordingTarget) -> set[str]:
    """Sends all messages, waits until each has had all its attempts, and gives the ids of the dead letters."""
    name = ordering.lower()
    async with (
        dev_server(folder, route(name, target.url, ordering=ordering, retry=RETRY)) as server,
        aiohttp.ClientSession() as http,
    ):
        for chunk in chunks():
            lines = [{"id": each, "subject": subject, "body": {"url": target.url}} for each, subject in chunk]
            results = await send_batch(http, server.url, f"t/{name}", lines)
            assert {result["status"] for result in results} == {202}
        total = sum(len(statuses) for statuses in EXPECTED.values())
        await wait_until(lambda: len(target.seen) >= total, within=100)
        assert await server.stop() == 0
        return {letter["id"] for letter in await dead_letters(server.data)}


def by_subject(target: RecordingTarget) -> dict[str, list[Seen]]:
    """Requests of each subject in the order they began."""
    found: dict[str, list[Seen]] = defaultdict(list)
    for seen in sorted(target.seen, key=lambda each: each.at):
        found[seen.message_id.partition("-")[0]].append(seen)
    return found


def check_attempts(target: RecordingTarget, kept: set[str]) -> None:
    """Every message got exactly the attempts of its ladder, and is a dead letter exactly if the last one failed."""
    attempts = {message_id: [seen.status for seen in seens] for message_id, seens in target.by_message().items()}
    assert attempts == EXPECTED
    assert kept == {message_id for message_id, statuses in EXPECTED.items() if statuses[-1] != 200}


@pytest.mark.promise(3)
async def test_strict_attempts_nothing_before_its_predecessor_is_settled(tmp_path: Path) -> None:
    """Strict: within a subject one request after the other, all attempts of a message before those of the next."""
    async with recording_target(answer) as target:
        check_attempts(target, await run("Strict", tmp_path, target))
    for requests in by_subject(target).values():
        numbers = [int(seen.message_id.partition("-")[2]) for seen in requests]
        assert numbers == sorted(numbers)
        assert all(before.done <= after.at for before, after in itertools.pairwise(requests))


@pytest.mark.promise(3)
async def test_relaxed_first_attempts_do_not_overtake(tmp_path: Path) -> None:
    """Relaxed: within a subject the first attempts are in order and one at a time, and so is each retry number."""
    async with recording_target(answer) as target:
        check_attempts(target, await run("Relaxed", tmp_path, target))
    for requests in by_subject(target).values():
        firsts = [seen for seen in requests if seen.attempt == 1]
        assert [int(seen.message_id.partition("-")[2]) for seen in firsts] == list(range(MESSAGES))
        assert all(before.done <= after.at for before, after in itertools.pairwise(firsts))
