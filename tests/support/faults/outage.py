"""An outage of some hosts of one wildcard rule, beside hosts that are well: the processes of one route, its load and its records."""

import asyncio
import contextlib
import json
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import aiohttp

from support.aws.emulators import running_emulators
from support.processes.dev import Seen, route
from support.processes.named_hosts import SUFFIX, HostFault, NamedHost, named_hosts, with_names
from support.processes.services import BIN, Cloud, Service

HOSTS = 20
FAULTS = {3: HostFault.REFUSED, 8: HostFault.HANGING, 13: HostFault.UNAVAILABLE, 18: HostFault.ASKS_TO_WAIT}  # by host
THRESHOLD, PROBE, MAX_PROBE, TIMEOUT, RETRY_AFTER = 5, 1, 4, 2, 10  # seconds but the first
ANSWER_SECONDS = 0.01
VISIBILITY_SECONDS = 6
SLOTS = 64


@dataclass(frozen=True)
class Scale:
    """The size of a run. Times in seconds from its start."""

    messages: int
    subjects: int  # a multiple of the hosts
    sending: float
    begin: float  # of the outage
    end: float
    drain: float  # in which what has waited is delivered, once it goes on

    @property
    def subjects_of_host(self) -> int:
        """Each subject has one host."""
        return self.subjects // HOSTS


@dataclass(frozen=True)
class Logged:
    """An attempt by its log line. Times in epoch seconds."""

    began: float
    ended: float
    number: int
    failed: bool
    charged: bool


@dataclass
class Side:
    """Ingest, workers and targets of one route."""

    scale: Scale
    ordering: str
    hosts: list[NamedHost]
    cloud: Cloud
    ingest: Service
    workers: list[Service]
    http: aiohttp.ClientSession
    accepted: dict[str, float] = field(default_factory=dict)  # by label, monotonic
    starts: Counter[str] = field(default_factory=Counter)  # of workers, by name of the log

    async def send(self, number: int) -> None:
        """Sends one message until it is accepted; its subject and host follow from its number."""
        subject = number % self.scale.subjects
        host = self.hosts[subject % HOSTS]
        label = f"s{subject}-{number // self.scale.subjects}"
        url = f"{self.ingest.ready['chaski.ingest.url']}/v1/routes/t/outage/messages"
        async with self.http.post(
            url, json={"id": label, "subject": f"s{subject}", "body": {"url": host.url}}
        ) as response:
            assert response.status == 202, await response.text()
        self.accepted[label] = time.monotonic()

    def host_of(self, label: str) -> int:
        """The host of a message."""
        return int(label[1:].partition("-")[0]) % HOSTS

    def delivered(self) -> dict[str, float]:
        """When each message was delivered first, by label."""
        found: dict[str, float] = {}
        for host in self.hosts:
            for seen in host.target.seen:
                if seen.status == 200:
                    found[seen.label] = min(seen.done, found.get(seen.label, seen.done))
        return found

    def waits(self) -> list[float]:
        """Seconds from accept to delivery of the messages whose hosts are well all the time."""
        return sorted(
            done - self.accepted[label] for label, done in self.delivered().items() if self.host_of(label) not in FAULTS
        )

    def attempts(self) -> dict[str, list[Logged]]:
        """All attempts by label, from the workers' logs, in the order in which they began."""
        found: dict[str, list[Logged]] = defaultdict(list)
        for worker in self.workers:
            for line in worker.log.read_bytes().splitlines():
                if b'"event.action":"delivery"' not in line or not line.endswith(b"}"):
                    continue
                entry = json.loads(line)
                ended = datetime.fromisoformat(entry["@timestamp"]).timestamp()
                failed = entry["event.outcome"] == "failure"
                found[entry["chaski.id"]].append(
                    Logged(
                        ended - entry["event.duration"] / 1e9,
                        ended,
                        entry["chaski.attempt.number"],
                        failed,
                        failed and not entry["chaski.next"].startswith("waits"),
                    )
                )
        return {label: sorted(each, key=lambda one: one.began) for label, each in found.items()}

    async def fail(self, faults: Mapping[int, HostFault]) -> None:
        """Makes these hosts fail, and no others."""
        for index in FAULTS:
            await self.hosts[index].fail(faults.get(index))

    async def kill_and_start(self, worker: Service) -> None:
        """SIGKILL, and a new process."""
        await worker.kill()
        await self.start(worker)

    async def start(self, worker: Service) -> None:
        """Starts a worker."""
        self.starts[worker.log.name] += 1
        await worker.start()

    def starts_of(self, stage: str) -> int:
        """Number of processes of a stage so far."""
        return sum(number for name, number in self.starts.items() if name.startswith(stage))


def arrivals(host: NamedHost, begin: float = 0.0, end: float = float("inf")) -> list[Seen]:
    """What arrived at a host between two monotonic times, in order."""
    return sorted((each for each in host.target.arrived if begin <= each.at < end), key=lambda each: each.at)


@contextlib.asynccontextmanager
async def running_side(
    scale: Scale, ordering: str, folder: Path, *, consumers: int = 1, starts: int = 1
) -> AsyncIterator[Side]:
    """The processes of one route, with emulators of their own.

    Args:
        scale: of the run.
        ordering: of the route.
        folder: for files and logs.
        consumers: worker processes of first attempts; in Relaxed as many make retries.
        starts: of processes of a stage. Each may charge one message as often as it takes to hold the host.
    """
    folder.mkdir()  # noqa: ASYNC240 - once, at the start of the test
    async with AsyncExitStack() as stack:
        hosts = await stack.enter_async_context(named_hosts(HOSTS, answer_seconds=ANSWER_SECONDS))
        for index in FAULTS:
            hosts[index].retry_after_seconds = RETRY_AFTER
        cloud = Cloud(*await stack.enter_async_context(running_emulators("embedded", folder)), folder)
        stack.push_async_callback(cloud.close)
        cloud.environment["CHASKI_VISIBILITY_SECONDS"] = str(VISIBILITY_SECONDS)
        await cloud.make(_document(ordering, hosts[0].port, scale, starts))
        flags = ("--auth", "none", "--routes", str(cloud.file), "--port", "0")
        ingest = Service(cloud, folder / "ingest.log", "chaski-ingest", *flags)
        stages = ("consume", "retry") if ordering == "Relaxed" else ("consume",)
        names = folder / "hosts"
        workers = [
            Service(
                cloud, folder / f"{stage}{index}.log",
                *with_names(hosts, names, BIN / "chaski-worker", stage, "--route", cloud.file),
            )
            for stage in stages
            for index in range(consumers)
        ]  # fmt: skip
        connector = aiohttp.TCPConnector(limit=100)
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        side = Side(scale, ordering, hosts, cloud, ingest, workers, http)
        for each in (ingest, *workers):
            stack.push_async_callback(each.end)
        await asyncio.gather(ingest.start(), *(side.start(each) for each in workers))
        yield side


def _document(ordering: str, port: int, scale: Scale, starts: int) -> dict[str, object]:
    """The route: retries of a second each, which are used up within seconds of an outage where they are charged."""
    waits = round((scale.end - scale.begin) / RETRY_AFTER) + 5  # a host that asks to wait charges one message each time
    return route(
        "outage",
        "",
        ordering=ordering,
        retry={
            "rungs": [{"name": "fast", "delaySeconds": 1}],
            "ladders": [
                {"class": "429", "retriesPerRung": waits, "rungs": ["fast"]},
                {"class": "any", "retriesPerRung": 3 if starts == 1 else THRESHOLD * starts, "rungs": ["fast"]},
            ],
        },
        targets={"allow": [{"name": "all", "url": f"http://*.{SUFFIX}:{port}/"}]},
        delivery={
            "timeoutSeconds": TIMEOUT,
            "concurrencyPerPod": SLOTS,
            "breaker": {"consecutiveFailures": THRESHOLD, "probeSeconds": PROBE, "maxProbeSeconds": MAX_PROBE},
        },
    )


async def send_all(scale: Scale, sides: Sequence[Side]) -> None:
    """Sends the same messages to each side at the same time, evenly; those of a subject one after the other."""
    began = time.monotonic()

    async def produce(side: Side, first: int) -> None:
        for number in range(first, scale.messages, HOSTS):
            await asyncio.sleep(max(0.0, began + number * scale.sending / scale.messages - time.monotonic()))
            await side.send(number)

    async with asyncio.TaskGroup() as producing:
        for first in range(HOSTS):
            for side in sides if first % 2 else sides[::-1]:
                producing.create_task(produce(side, first))


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which a share of the values is."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
