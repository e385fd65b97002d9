"""The processes of a cluster on this machine: ingest and workers, with emulators of SQS and DynamoDB."""

import asyncio
import contextlib
import itertools
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from chaski_aws.dynamodb.store import DynamoDeadLetters
from chaski_aws.http.endpoints import DYNAMODB, SQS, Endpoint
from chaski_aws.http.transport import AwsTransport
from chaski_aws.sqs.queue import SqsQueue
from chaski_core.dead_letter import DeadLetter, DeadLetterFilter
from chaski_core.ports import MAX_BATCH_ENTRIES, OutgoingMessage, Sent
from chaski_core.route.loading import load_route
from chaski_core.route.resolved_document import resolved_yaml
from chaski_runtime.process.clock import SystemClock
from support.aws.adapters import FixedCredentials
from support.operator.provisioning import boto, provision
from support.processes.dev import ready_entry

BIN = Path(sys.executable).parent
START_SECONDS = 90.0  # seven processes start at once on two busy cores


class Cloud:
    """Queues and a table of one route on two emulators."""

    def __init__(self, sqs_url: str, dynamodb_url: str, folder: Path) -> None:
        self._sqs = AwsTransport(Endpoint(SQS, sqs_url, "us-east-1"), FixedCredentials())
        self._dynamodb = AwsTransport(Endpoint(DYNAMODB, dynamodb_url, "us-east-1"), FixedCredentials())
        self._aws = boto(sqs_url, dynamodb_url)
        self._table = ""
        self.file = folder / "resolved.yaml"
        self.queues: dict[str, str] = {}  # URL by name
        self.environment = {
            "AWS_ENDPOINT_URL_SQS": sqs_url,
            "AWS_ENDPOINT_URL_DYNAMODB": dynamodb_url,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
            "CHASKI_ALLOW_LOOPBACK": "1",
        }

    async def make(self, document: Mapping[str, Any]) -> None:
        """Provisions the route, and writes its resolved document."""
        outcome = await asyncio.to_thread(provision, self._aws, load_route(dict(document)))
        self._table = str(outcome.resolved.dead_letter_table)
        lists = [urls for generation in outcome.resolved.generations for urls in generation.queues.values()]
        urls = [*(url for each in lists for url in each), *(rung.url for rung in outcome.resolved.rungs)]
        self.queues = {url.rpartition("/")[2]: url for url in urls}
        await asyncio.to_thread(self.file.write_text, resolved_yaml([outcome.resolved]))

    async def dead_letters(self) -> list[DeadLetter]:
        """All dead letters of the table."""
        store = DynamoDeadLetters(self._dynamodb, self._table, 30, SystemClock())
        return [each async for each in store.find(DeadLetterFilter())]

    async def keep(self, dead_letter: DeadLetter) -> None:
        """Puts a dead letter into the table."""
        await DynamoDeadLetters(self._dynamodb, self._table, 30, SystemClock()).put(dead_letter)

    async def lying(self) -> int:
        """Messages on all queues, including those in flight and delayed ones."""
        counts = await asyncio.gather(*(SqsQueue(self._sqs, url).counts() for url in self.queues.values()))
        return sum(each.total for each in counts)

    async def put(self, queue: str, bodies: Sequence[bytes]) -> None:
        """Sends raw bodies to the queue whose name contains `queue`, each in its own group, like another program."""
        await self.send(queue, [OutgoingMessage(body, f"raw{n}", f"raw-{queue}-{n}") for n, body in enumerate(bodies)])

    async def send(self, queue: str, messages: Iterable[OutgoingMessage]) -> None:
        """Sends messages to the queue whose name contains `queue`, eight batches at once: each subject in order within a batch."""
        (url,) = [url for name, url in self.queues.items() if queue in name]
        sqs, left = SqsQueue(self._sqs, url), iter(messages)
        while batches := [batch for _ in range(8) if (batch := list(itertools.islice(left, MAX_BATCH_ENTRIES)))]:
            for sent in await asyncio.gather(*map(sqs.send, batches)):
                assert all(isinstance(each, Sent) for each in sent)

    async def close(self) -> None:
        await self._sqs.close()
        await self._dynamodb.close()


class Surroundings(Protocol):
    """The environment of a process."""

    environment: dict[str, str]


class Service:
    """One process: `chaski-ingest` or `chaski-worker`."""

    def __init__(self, cloud: Surroundings, log: Path, *command: str) -> None:
        self._cloud = cloud
        self.log = log
        self._command = command
        self._process: Process | None = None
        self.ready: dict[str, Any] = {}

    async def start(self) -> None:
        """Starts the process and waits until it logs that it is ready."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        begin = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as out:
            self._process = await asyncio.create_subprocess_exec(
                BIN / self._command[0], *self._command[1:], "--host", "127.0.0.1", "--metrics-port", "0",
                stdin=DEVNULL, stdout=out, stderr=out, env=environment | self._cloud.environment,
            )  # fmt: skip
        async with asyncio.timeout(START_SECONDS):
            while not (ready := self._ready(begin)):
                await asyncio.sleep(0.05)
        self.ready = ready

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        """Sends SIGKILL."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> int:
        """Sends SIGTERM; returns the exit code."""
        assert self._process is not None
        self._process.terminate()
        return await self.ended()

    async def ended(self) -> int:
        """Waits for the process to exit; returns the exit code."""
        assert self._process is not None
        return await asyncio.wait_for(self._process.wait(), 40)

    async def end(self) -> None:
        """Kills the process if it is running."""
        if self._process is not None and self._process.returncode is None:
            await self.kill()

    def _ready(self, begin: int) -> dict[str, Any] | None:
        assert self._process is not None
        text = self.log.read_bytes()[begin:]
        assert self._process.returncode is None, text.decode()
        return ready_entry(text)


@dataclass(frozen=True)
class Cluster:
    """An ingest process, and worker processes by name."""

    ingest: Service
    workers: dict[str, Service]

    @property
    def services(self) -> list[Service]:
        return [self.ingest, *self.workers.values()]

    @property
    def url(self) -> str:
        """The base URL of ingest."""
        return str(self.ingest.ready["chaski.ingest.url"])


@contextlib.asynccontextmanager
async def cluster(cloud: Cloud, folder: Path, **jobs: str) -> AsyncIterator[Cluster]:
    """Running ingest and workers; `jobs`: `name="consume"` or `name="retry"`."""
    ingest = Service(
        cloud, folder / "ingest.log", "chaski-ingest", "--auth", "none", "--routes", str(cloud.file), "--port", "0"
    )
    workers = {
        name: Service(cloud, folder / f"{name}.log", "chaski-worker", job, "--route", str(cloud.file))
        for name, job in jobs.items()
    }
    running = Cluster(ingest, workers)
    try:
        await asyncio.gather(*(service.start() for service in running.services))
        yield running
    finally:
        await asyncio.gather(*(service.end() for service in running.services))
        await cloud.close()
