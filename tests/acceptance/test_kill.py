"""SIGKILL at random times, repeatedly, while sending and while delivering."""

import asyncio
import contextlib
import functools
import itertools
import random
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from chaski_embedded.storage.reader import open_reader
from support.processes.dev import DevServer, Seen, dead_letters, dev_server, recording_target, route, wait_until

KILLS = 24
SUBJECTS = 20
ORDERINGS = ("relaxed", "strict")
RETRIES = {404: 2, 503: 2}  # of the route's ladders


@functools.cache
def answer(_path: str, message_id: str, attempt: int) -> tuple[float, int]:
    """Responds within 60 ms; a sixth of the attempts fail: at random, but the same for the same attempt."""
    chance = random.Random(f"{message_id}/{attempt}")
    status = chance.choice([503, 404]) if chance.random() < 1 / 6 else 200
    return chance.random() * 0.06, status


class Producer:
    """Sends the messages of one subject one after the other: the next only after a 202, the same one until then."""

    def __init__(self, ordering: str, subject: str) -> None:
        self.ordering = ordering
        self.subject = f"{ordering}.{subject}"
        self.accepted: list[str] = []

    async def run(self, server: DevServer, http: aiohttp.ClientSession, target_url: str, stop: asyncio.Event) -> None:
        """Sends until `stop`."""
        while not stop.is_set():
            message_id = f"{self.subject}-{len(self.accepted)}"
            message = {"id": message_id, "subject": self.subject, "body": {"url": target_url}}
            while not await self._try(server, http, message):
                await asyncio.sleep(0.05)
            self.accepted.append(message_id)
            await asyncio.sleep(random.random() * 0.3)

    async def _try(self, server: DevServer, http: aiohttp.ClientSession, message: dict[str, object]) -> bool:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with http.post(f"{server.url}/v1/routes/t/{self.ordering}/messages", json=message) as got:
                assert got.status in {202, 503}, await got.text()
                return got.status == 202
        return False


async def kill_repeatedly(server: DevServer) -> None:
    """Kills it at random times, sometimes before it is ready."""
    for _ in range(KILLS):
        await asyncio.sleep(random.random() * 1.0)
        await server.kill()
        await server.start()


@functools.cache
def needed(message_id: str) -> list[int]:
    """The target's status for each attempt that the ladder requires."""
    statuses = [answer("/", message_id, 1)[1]]
    while statuses[-1] != 200 and len(statuses) <= RETRIES[statuses[0]]:
        statuses.append(answer("/", message_id, len(statuses) + 1)[1])
    return statuses


def settled_at(message_id: str, requests: list[Seen]) -> float:
    """When the target had responded to every required attempt at least once."""
    done: dict[int, float] = {}
    for seen in requests:
        done[seen.attempt] = min(done.get(seen.attempt, seen.done), seen.done)
    return max(done[number + 1] for number in range(len(needed(message_id))))


def check_repeats(producer: Producer, requests: dict[str, list[Seen]]) -> None:
    """A first attempt that a kill repeats belongs to one of the subject's last ten messages."""
    firsts = sorted(
        (seen.at, number)
        for number, message_id in enumerate(producer.accepted)
        for seen in requests[message_id]
        if seen.attempt == 1
    )
    newest = -1
    for _, number in firsts:
        assert newest - number < 10, (producer.subject, newest, number)
        newest = max(newest, number)


def check_order(producer: Producer, requests: dict[str, list[Seen]]) -> None:
    """Strict: a message begins after its predecessor was settled. Relaxed: after it was attempted."""
    for before, after in itertools.pairwise(producer.accepted):
        begun = min(seen.at for seen in requests[after] if seen.attempt == 1)
        if producer.ordering == "strict":
            assert settled_at(before, requests[before]) <= begun, (before, after)
        else:
            assert min(seen.at for seen in requests[before]) <= begun, (before, after)


@pytest.mark.promise(1)
@pytest.mark.promise(2)
@pytest.mark.promise(3)
@pytest.mark.promise(4)
@pytest.mark.timeout(300)
async def test_nothing_accepted_is_lost_and_order_is_kept_over_kills(
    tmp_path: Path, report: Callable[[str], None]
) -> None:
    """SIGKILL 24 times: every accepted message is delivered or dead-lettered, in order, and no ladder is cut short."""
    producers = [Producer(ordering, f"s{number}") for ordering in ORDERINGS for number in range(SUBJECTS)]
    stop = asyncio.Event()
    async with recording_target(answer) as target:
        routes = [route(name, target.url, ordering=name.capitalize()) for name in ORDERINGS]
        async with (
            dev_server(tmp_path, *routes) as server,
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http,
        ):
            sending = [asyncio.create_task(each.run(server, http, target.url, stop)) for each in producers]
            await kill_repeatedly(server)
            stop.set()
            await asyncio.gather(*sending)
            accepted = {message_id for producer in producers for message_id in producer.accepted}

            def complete() -> bool:
                seen = {(each.label, each.attempt) for each in target.seen}
                return all((each, number + 1) in seen for each in accepted for number in range(len(needed(each))))

            await wait_until(complete, within=60)
            await asyncio.sleep(0.5)
            assert await server.stop() == 0
        kept = {letter["id"]: letter for letter in await dead_letters(server.data)}
        with open_reader(server.data) as reader:
            accounts = reader.ledger()

    requests = target.by_message()
    assert (accounts.accepted, accounts.pending, accounts.unaccounted) == (len(accepted), 0, 0)
    assert accounts.dead_lettered == len(kept)
    assert set(requests) == accepted
    assert set(kept) == {each for each in accepted if needed(each)[-1] != 200}
    assert all(letter["attempts"] == len(needed(each)) for each, letter in kept.items())
    assert all({seen.attempt for seen in requests[each]} == set(range(1, len(needed(each)) + 1)) for each in accepted)
    for producer in producers:
        check_order(producer, requests)
        check_repeats(producer, requests)
    repeats = len(target.seen) - sum(len(needed(each)) for each in accepted)
    assert server.kills == KILLS
    report(
        f"{KILLS} kills, {len(accepted)} messages accepted, {len(kept)} dead letters, 0 lost, 0 out of order, "
        f"{repeats} attempts repeated"
    )
