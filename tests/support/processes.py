"""The processes of a cluster on this machine: an ingest and workers, on stand-ins for SQS and DynamoDB."""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import orjson

from chaski_aws.dynamodb import DynamoDeadLetters
from chaski_aws.endpoints import DYNAMODB, SQS, Endpoint
from chaski_aws.transport import AwsTransport
from chaski_core.deadletter import DeadLetter, DeadLetterFilter
from chaski_core.route.loading import load_route
from chaski_core.route.resolved_document import resolved_yaml
from chaski_runtime.clock import SystemClock
from support.aws import FixedCredentials
from support.provisioning import boto, provision

BIN = Path(sys.executable).parent
START_SECONDS = 30.0


class Cloud:
    """Queues and a table on two stand-ins, made for one route."""

    def __init__(self, sqs_url: str, dynamodb_url: str, folder: Path) -> None:
        self._sqs = AwsTransport(Endpoint(SQS, sqs_url, "us-east-1"), FixedCredentials())
        self._dynamodb = AwsTransport(Endpoint(DYNAMODB, dynamodb_url, "us-east-1"), FixedCredentials())
        self._aws = boto(sqs_url, dynamodb_url)
        self._table = ""
        self.file = folder / "resolved.yaml"
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
        await asyncio.to_thread(self.file.write_text, resolved_yaml([made.resolved]))

    async def dead_letters(self) -> list[DeadLetter]:
        """Everything that is in the table."""
        store = DynamoDeadLetters(self._dynamodb, self._table, 30, SystemClock())
        return [letter async for letter in store.find(DeadLetterFilter())]

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
        self._log = log
        self._command = command
        self._process: Process | None = None
        self.ready: dict[str, Any] = {}

    async def start(self) -> None:
        """Starts it and waits until it says that it is ready."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        begin = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as out:
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
        return await asyncio.wait_for(self._process.wait(), 40)

    async def end(self) -> None:
        """Ends it whatever it does."""
        if self._process is not None and self._process.returncode is None:
            await self.kill()

    def _said(self, begin: int) -> dict[str, Any] | None:
        assert self._process is not None
        text = self._log.read_bytes()[begin:]
        assert self._process.returncode is None, text.decode()
        for line in text.splitlines():
            if b'"ready"' in line and line.endswith(b"}"):
                entry: dict[str, Any] = orjson.loads(line)
                return entry
        return None


@contextlib.asynccontextmanager
async def cluster(cloud: Cloud, folder: Path) -> AsyncIterator[tuple[Service, list[Service]]]:
    """An ingest and three workers: two consumers and one error-consumer."""
    route = ("--route", str(cloud.file))
    ingest = Service(
        cloud, folder / "ingest.log", "chaski-ingest", "--auth", "none", "--routes", str(cloud.file), "--port", "0"
    )
    workers = [
        Service(cloud, folder / "consume0.log", "chaski-worker", "consume", *route),
        Service(cloud, folder / "consume1.log", "chaski-worker", "consume", *route),
        Service(cloud, folder / "retry.log", "chaski-worker", "retry", *route),
    ]
    try:
        await asyncio.gather(*(service.start() for service in (ingest, *workers)))
        yield ingest, workers
    finally:
        await asyncio.gather(*(service.end() for service in (ingest, *workers)))
        await cloud.close()
