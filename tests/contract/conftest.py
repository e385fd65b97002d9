"""The backends of the contract tests. Every backend must pass every test of its port."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from chaski_aws.dynamodb.records.attempts import DynamoAttemptRecords
from chaski_aws.dynamodb.records.controls import DynamoControlRecords
from chaski_aws.dynamodb.records.leases import DynamoLimitLeases
from chaski_aws.dynamodb.store import DynamoDeadLetters
from chaski_aws.dynamodb.table import table_definition
from chaski_aws.http.endpoints import DYNAMODB, SQS, Endpoint
from chaski_aws.http.transport import AwsTransport
from chaski_aws.sqs.queue import SqsQueue
from chaski_core.ports import AttemptRecords, ControlRecords, DeadLetterStore, OutgoingMessage, Queue, Sent
from chaski_core.retry.leases import LimitLeases
from chaski_embedded.backend import EmbeddedBackend
from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_embedded.sqs_api.server import start_server
from support.aws.adapters import FixedCredentials
from support.aws.dynamodb_local import DynamoDbLocal
from support.aws.elasticmq import ElasticMq
from support.aws.sqs_wire import WireQueue
from support.clocks import SteppedClock

FIFO = {"FifoQueue": "true"}
RETENTION_DAYS = 30
QUEUE_BACKENDS = ("embedded", "embedded-sqs-server", "aws-adapter-on-embedded-server", "elasticmq")
_PACE_OF_REAL_TIME = 1 / 15  # an emulator's clock can't be set: there, 30 seconds of a test take 2
_names = itertools.count()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs a test on every backend except those that are known to differ from AWS in its subject."""
    chosen = any(mark.args[0] == "queues" for mark in metafunc.definition.iter_markers("parametrize"))
    if "queues" in metafunc.fixturenames and not chosen:
        differing = {mark.args[0] for mark in metafunc.definition.iter_markers("differs")}
        assert differing <= set(QUEUE_BACKENDS)
        metafunc.parametrize("queues", [each for each in QUEUE_BACKENDS if each not in differing], indirect=True)


@dataclass(frozen=True)
class QueueWorld:
    """Creates queues and advances the time."""

    make: Callable[..., Awaitable[Queue]]  # keyword arguments are SQS attributes
    absent: Callable[[], Queue]  # a queue that does not exist
    let_pass: Callable[[float], Awaitable[None]]  # seconds
    pace: float = 1.0  # real seconds per second of a test

    def seconds(self, seconds: int) -> int:
        """A visibility timeout or delay in whole seconds of this backend."""
        return max(1, round(seconds * self.pace))

    async def pass_time(self, seconds: float) -> None:
        """Advances the time by seconds of a test."""
        await self.let_pass(seconds * self.pace)

    async def send(self, queue: Queue, *names: str) -> list[Sent]:
        """Sends messages named after their group: `a1` goes to group a, and its name is its deduplication id."""
        sent = await queue.send([OutgoingMessage(name.encode(), name[0], name) for name in names])
        assert all(isinstance(each, Sent) for each in sent)
        return [each for each in sent if isinstance(each, Sent)]


@dataclass(frozen=True)
class StoreWorld:
    """A store of dead letters, and attempt records."""

    dead_letters: DeadLetterStore
    attempt_records: AttemptRecords
    control_records: ControlRecords
    limit_leases: LimitLeases


@pytest.fixture
async def broker(tmp_path: Path, clock: SteppedClock) -> AsyncIterator[EmbeddedBroker]:
    """The embedded broker on a temporary folder."""
    opened = await EmbeddedBroker.open(tmp_path / "data", clock)
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> SteppedClock:
    """The clock of the embedded backends, set by the test."""
    return SteppedClock()


@pytest.fixture(scope="session")
def elasticmq() -> Iterator[str]:
    """URL of a running ElasticMQ."""
    server = ElasticMq()
    yield server.url
    server.stop()


@pytest.fixture
async def queues(
    request: pytest.FixtureRequest, broker: EmbeddedBroker, clock: SteppedClock
) -> AsyncIterator[QueueWorld]:
    """Queues on each backend."""
    if request.param == "elasticmq":
        world = _elasticmq_world(request.getfixturevalue("elasticmq"))
    else:
        makers = {
            "embedded": _embedded_world,
            "embedded-sqs-server": _wire_world,
            "aws-adapter-on-embedded-server": _adapter_world,
        }
        world = makers[request.param](broker, clock)
    async with world as made:
        yield made


def _maker(broker: EmbeddedBroker, queue_of: Callable[[str], Queue]) -> Callable[..., Awaitable[Queue]]:
    async def make(**attributes: Any) -> Queue:
        return queue_of(await broker.create_queue(f"q{next(_names)}.fifo", FIFO | attributes))

    return make


def _passer(clock: SteppedClock) -> Callable[[float], Awaitable[None]]:
    async def pass_time(seconds: float) -> None:
        clock.pass_time(seconds)

    return pass_time


@asynccontextmanager
async def _embedded_world(broker: EmbeddedBroker, clock: SteppedClock) -> AsyncIterator[QueueWorld]:
    yield QueueWorld(_maker(broker, broker.queue), lambda: broker.queue("embedded://absent.fifo"), _passer(clock))


@asynccontextmanager
async def _wire_world(broker: EmbeddedBroker, clock: SteppedClock) -> AsyncIterator[QueueWorld]:
    server = await start_server(broker, "127.0.0.1", 0)
    async with aiohttp.ClientSession() as session:

        def wired(url: str) -> Queue:
            name = url.removeprefix("embedded://")
            return WireQueue(session, server.url, f"{server.url}/000000000000/{name}")

        yield QueueWorld(_maker(broker, wired), lambda: wired("absent.fifo"), _passer(clock))
    await server.close()


@asynccontextmanager
async def _adapters(url: str) -> AsyncIterator[tuple[AwsTransport, Callable[[str], SqsQueue]]]:
    """The real adapter on an endpoint: its transport, and what makes queues of URLs."""
    transport = AwsTransport(Endpoint(SQS, url, "us-east-1"), FixedCredentials())
    opened: list[SqsQueue] = []

    def adapted(queue_url: str) -> SqsQueue:
        opened.append(SqsQueue(transport, queue_url))
        return opened[-1]

    yield transport, adapted
    for queue in opened:
        await queue.close()
    await transport.close()


@asynccontextmanager
async def _adapter_world(broker: EmbeddedBroker, clock: SteppedClock) -> AsyncIterator[QueueWorld]:
    server = await start_server(broker, "127.0.0.1", 0)
    async with _adapters(server.url) as (_, adapted):

        def of_name(url: str) -> Queue:
            return adapted(f"{server.url}/000000000000/{url.removeprefix('embedded://')}")

        yield QueueWorld(_maker(broker, of_name), lambda: of_name("absent.fifo"), _passer(clock))
    await server.close()


@asynccontextmanager
async def _elasticmq_world(url: str) -> AsyncIterator[QueueWorld]:
    async with _adapters(url) as (transport, adapted):

        async def make(**attributes: Any) -> Queue:
            named = {"QueueName": f"q{next(_names)}.fifo", "Attributes": FIFO | attributes}
            return adapted((await transport.call("CreateQueue", named))["QueueUrl"])

        async def pass_time(seconds: float) -> None:
            await asyncio.sleep(seconds + 0.1)  # visibility timeouts end at its next check of the clock

        yield QueueWorld(make, lambda: adapted(f"{url}/000000000000/absent.fifo"), pass_time, _PACE_OF_REAL_TIME)


@pytest.fixture(scope="session")
def dynamodb_local() -> Iterator[str]:
    """URL of a running DynamoDB Local."""
    server = DynamoDbLocal()
    yield server.url
    server.stop()


@pytest.fixture(params=["embedded", "dynamodb-local"])
async def stores(
    request: pytest.FixtureRequest, broker: EmbeddedBroker, clock: SteppedClock
) -> AsyncIterator[StoreWorld]:
    """A store for each backend."""
    if request.param == "embedded":
        backend = EmbeddedBackend(broker)
        yield StoreWorld(backend.dead_letters, backend.attempt_records, backend.control_records, backend.limit_leases)
        return
    async with _dynamodb_world(request.getfixturevalue("dynamodb_local"), clock) as made:
        yield made


@asynccontextmanager
async def _dynamodb_world(url: str, clock: SteppedClock) -> AsyncIterator[StoreWorld]:
    transport = AwsTransport(Endpoint(DYNAMODB, url, "us-east-1"), FixedCredentials())
    table = f"table{next(_names)}"
    await transport.call("CreateTable", table_definition(table))
    yield StoreWorld(
        DynamoDeadLetters(transport, table, RETENTION_DAYS, clock),
        DynamoAttemptRecords(transport, table, clock),
        DynamoControlRecords(transport, table, clock),
        DynamoLimitLeases(transport, table, clock),
    )
    await transport.call("DeleteTable", {"TableName": table})
    await transport.close()
