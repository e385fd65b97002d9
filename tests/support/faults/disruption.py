"""Workers that are killed and paused while they work, and whether that explains their repeats."""

import asyncio
import itertools
import random
import signal
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import aiohttp
import orjson

from support.processes.dev import Seen
from support.processes.services import Service

REPEATS = "chaski_repeats_total"
SETTLED = "chaski_messages_settled_total"
_COUNT_SECONDS = 0.5  # a request is counted before it is made, so this is generous


@dataclass
class WorkerDisruption:
    """Kills some services and starts them again, pauses others and resumes them, every few seconds, until `stop`."""

    killed: Sequence[Service]
    paused: Sequence[Service]
    http: aiohttp.ClientSession
    longest_pause: float  # seconds: beyond the visibility timeout, so that others take over
    kills: list[tuple[float, float]] = field(default_factory=list)  # metrics read, killed: monotonic seconds
    pauses: list[tuple[float, float]] = field(default_factory=list)  # stopped, resumed
    counted: int = 0  # repeats counted by the killed ones when they were last scraped
    settled: int = 0  # accepted messages that they had settled when they were last scraped
    over: bool = False
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Disrupts; ends with all services running."""
        async with asyncio.TaskGroup() as doing:
            doing.create_task(self._kill_repeatedly())
            doing.create_task(self._pause_repeatedly())
        self.over = True

    def stop(self) -> None:
        """No further disruption; `over` when all services run."""
        self._stopping.set()

    async def _kill_repeatedly(self) -> None:
        while not await self._passes(random.uniform(2, 5)):
            counted, settled = await self.scraped(self.killed)
            read_at = time.monotonic()
            await asyncio.gather(*(each.kill() for each in self.killed))
            self.kills.append((read_at, time.monotonic()))
            self.counted += counted
            self.settled += settled
            await asyncio.gather(*(each.start() for each in self.killed))

    async def _pause_repeatedly(self) -> None:
        for length in itertools.cycle((self.longest_pause, 0.7)):
            if await self._passes(random.uniform(1, 3)):
                return
            began = time.monotonic()
            for each in self.paused:
                each.signal(signal.SIGSTOP)
            await asyncio.sleep(length)  # in full also after `stop`
            for each in self.paused:
                each.signal(signal.SIGCONT)
            self.pauses.append((began, time.monotonic()))

    async def _passes(self, seconds: float) -> bool:
        """Waits `seconds`; whether the disruption was stopped."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True

    async def scraped(self, services: Iterable[Service]) -> tuple[int, int]:
        """Repeats and settled accepted messages that these services have counted so far."""
        pages = [await page_of(each, self.http) for each in services]
        return sum(total(page, REPEATS) for page in pages), sum(
            total(page, SETTLED, 'origin="ingest"') for page in pages
        )

    def explains(self, earlier: Seen, later: Seen) -> bool:
        """Whether something was killed or paused between two requests of the same attempt."""
        spans = (*((at, at) for _, at in self.kills), *self.pauses)
        return any(began <= later.at and earlier.at <= ended for began, ended in spans)

    def uncounted(self, later: Seen) -> bool:
        """Whether a request was made after the last scrape of a service that was killed."""
        return any(read_at - _COUNT_SECONDS <= later.at <= at + _COUNT_SECONDS for read_at, at in self.kills)


async def page_of(service: Service, http: aiohttp.ClientSession) -> list[str]:
    """The lines of a service's /metrics."""
    async with http.get(service.ready["chaski.metrics.url"]) as got:
        return (await got.text()).splitlines()


def total(page: Iterable[str], name: str, label: str = "") -> int:
    """The sum of a metric's series, or of those with a label."""
    found = (line for line in page if line.startswith(f"{name}{{") and label in line)
    return sum(int(float(line.rpartition(" ")[2])) for line in found)


def surplus(requests: Iterable[Seen]) -> list[tuple[Seen, Seen]]:
    """Requests beyond the first of each attempt, each with the one before it."""
    attempts: dict[tuple[str, int], list[Seen]] = defaultdict(list)
    for seen in sorted(requests, key=lambda each: each.at):
        attempts[seen.label, seen.attempt].append(seen)
    return [pair for each in attempts.values() for pair in itertools.pairwise(each)]


async def check_surplus(requests: Sequence[Seen], disruption: WorkerDisruption, calm: Sequence[Service]) -> int:
    """Every surplus request is explained by a kill or pause, counted as a repeat, and none is a calm service's own.

    Returns:
        Their number.
    """
    more = surplus(requests)
    unexplained = [pair for pair in more if not disruption.explains(*pair)]
    assert not unexplained
    for service in calm:
        logged = [
            (entry["chaski.message.id"], entry["chaski.attempt.number"])
            for line in service.log.read_bytes().splitlines()
            if b'"delivery"' in line and (entry := orjson.loads(line)).get("event.action") == "delivery"
        ]
        assert len(logged) == len(set(logged))
    living = [*disruption.killed, *disruption.paused, *calm]
    counted = disruption.counted + (await disruption.scraped(living))[0]
    uncounted = sum(disruption.uncounted(later) for _, later in more)
    assert counted + uncounted >= len(more), f"{len(more)} surplus requests, {counted} counted"
    return len(more)
