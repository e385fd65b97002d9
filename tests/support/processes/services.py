"""The processes of a cluster on this machine: an ingest and workers, on stand-ins for SQS and DynamoDB."""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import orjson

from chaski_aws.dynamodb.store import DynamoDeadLetters
from chaski_aws.http.endpoints import DYNAMODB, SQS, Endpoint
from chaski_aws.http.transport import AwsTransport
from chaski_aws.sqs.queue import SqsQueue
from chaski_core.dead_letter import DeadLetter, DeadLetterFilter
from chaski_core.ports import OutgoingMessage, Sent
from chaski_core.route.loading import load_route
from chaski_core.route.resolved_document import resolved_yaml
from chaski_runtime.process.clock import SystemClock
from support.aws.adapters import FixedCredentials
from support.operator.provisioning import boto, provision

BIN = Path(sys.executable).parent
START_SECONDS = 90.0  # seven processes start at once, on two cores that others use as well


class Cloud:
    """Queues and a table on two stand-ins, made for one route."""

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
        """Makes what the route needs, and writes its resolved document."""
        made = await asyncio.to_thread(provision, self._aws, load_route(dict(document)))
        self._table = str(made.resolved.dead_letter_table)
        lists = [urls for generation in made.resolved.generations for urls in generation.queues.values()]
        urls = [*(url for each in lists for url in each), *(rung.url for rung in made.resolved.rungs)]
        self.queues = {url.rpartition("/")[2]: url for url in urls}
        await asyncio.to_thread(self.file.write_text, resolved_yaml([made.resolved]))

    async def dead_letters(self) -> list[DeadLetter]:
        """Everything that is in the table."""
        store = DynamoDeadLetters(self._dynamodb, self._table, 30, SystemClock())
        return [letter async for letter in store.find(DeadLetterFilter())]

    async def keep(self, letter: DeadLetter) -> None:
        """Puts a dead letter into the table."""
        await DynamoDeadLetters(self._dynamodb, self._table, 30, SystemClock()).put(letter)

    async def lying(self) -> int:
        """Messages on all queues, held and delayed ones too."""
        counts = await asyncio.gather(*(SqsQueue(self._sqs, url).counts() for url in self.queues.values()))
        return sum(each.total for each in counts)

    async def put(self, queue: str, bodies: Sequence[bytes]) -> None:
        """Puts bytes on the queue whose name has that part, each in a group of its own, as another program would."""
        (url,) = [url for name, url in self.queues.items() if queue in name]
        messages = [OutgoingMessage(body, f"raw{n}", f"raw-{queue}-{n}") for n, body in enumerate(bodies)]
        sent = await SqsQueue(self._sqs, url).send(messages)
        assert all(isinstance(each, Sent) for each in sent)

    async def close(self) -> None:
        """Closes the connections."""
        await self._sqs.close()
        await self._dynamodb.close()


class Surroundings(Protocol):
    """What a process is started with."""

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
        """Starts it and waits until it says that it is ready."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        begin = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as out:
            self._process = await asyncio.create_subprocess_exec(
                BIN / self._command[0], *self._command[1:], "--host", "127.0.0.1", "--metrics-port", "0",
                stdin=DEVNULL, stdout=out, stderr=out, env=environment | self._cloud.environment,
            )  # fmt: skip
        async with asyncio.timeout(START_SECONDS):
            while not (ready := self._said(begin)):
                await asyncio.sleep(0.05)
        self.ready = ready

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> int:
        """SIGTERM; its exit code."""
        assert self._process is not None
        self._process.terminate()
        return await self.ended()

    async def ended(self) -> int:
        """Waits for its end, which was asked for; its exit code."""
        assert self._process is not None
        return await asyncio.wait_for(self._process.wait(), 40)

    async def end(self) -> None:
        """Ends it whatever it does."""
        if self._process is not None and self._process.returncode is None:
            await self.kill()

    def _said(self, begin: int) -> dict[str, Any] | None:
        assert self._process is not None
        text = self.log.read_bytes()[begin:]
        assert self._process.returncode is None, text.decode()
        for line in text.splitlines():
            if b'"ready"' in line and line.endswith(b"}"):
                entry: dict[str, Any] = orjson.loads(line)
                return entry
        return None


@dataclass(frozen=True)
class Cluster:
    """An ingest, and workers by name."""

    ingest: Service
    workers: dict[str, Service]

    @property
    def services(self) -> list[Service]:
        """All of them."""
        return [self.ingest, *self.workers.values()]

    @property
    def url(self) -> str:
        """Where messages are taken."""
        return str(self.ingest.ready["chaski.ingest.url"])


@contextlib.asynccontextmanager
async def cluster(cloud: Cloud, folder: Path, **jobs: str) -> AsyncIterator[Cluster]:
    """A running ingest and workers: `name="consume"` or `name="retry"`."""
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
