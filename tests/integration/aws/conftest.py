"""The SQS adapter behind a proxy that injects faults, before the embedded server."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvloop

from chaski_aws.http.endpoints import SQS, Endpoint
from chaski_aws.http.transport import AwsTransport
from chaski_aws.sqs.queue import SqsQueue
from chaski_core.ports import OutgoingMessage, Queue, ReceivedMessage, Sent
from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_embedded.sqs_api.server import start_server
from support.aws.adapters import FixedCredentials
from support.clocks import SteppedClock
from support.faults.proxy import FaultProxy

RESPONSE_SECONDS = 2.0  # of one try: far above the time of a response, even on a busy machine; short enough to wait for


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Processes run on uvloop; the contract tests use the standard loop."""
    return {"uvloop": uvloop.new_event_loop}


@dataclass
class FaultySqs:
    """The adapter, the proxy, and the queue itself without the proxy."""

    queue: SqsQueue
    proxy: FaultProxy
    behind: Queue
    clock: SteppedClock
    requests: list[tuple[str, str]] = field(default_factory=list)  # action and result of every HTTP request

    async def fill(self, *names: str) -> None:
        """Sends messages without the proxy; `a1` goes to group a."""
        sent = await self.behind.send([OutgoingMessage(name.encode(), name[0], name) for name in names])
        assert all(isinstance(each, Sent) for each in sent)

    async def rest(self) -> list[str]:
        """The messages that can be received now, without the proxy."""
        return [message.body.decode() for message in await self._take()]

    async def groups(self) -> list[str]:
        """The groups of the messages that can be received now."""
        return [message.group_id for message in await self._take()]

    async def _take(self) -> Sequence[ReceivedMessage]:
        return await self.behind.receive(max_messages=10, wait_seconds=0, visibility_seconds=30, attempt_id="")


@pytest.fixture
async def faulty_sqs(tmp_path: Path) -> AsyncIterator[FaultySqs]:
    """An adapter on a queue, without delays between tries."""
    clock = SteppedClock()
    broker = await EmbeddedBroker.open(tmp_path / "data", clock)
    server = await start_server(broker, "127.0.0.1", 0)
    proxy = FaultProxy(server.url)
    await proxy.start()
    requests: list[tuple[str, str]] = []
    transport = AwsTransport(
        Endpoint(SQS, proxy.url, "us-east-1"),
        FixedCredentials(),
        on_request=lambda action, result: requests.append((action, result)),
        chance=lambda: 0.0,
    )
    behind = broker.queue(await broker.create_queue("q.fifo", {"FifoQueue": "true"}))
    queue = SqsQueue(transport, f"{server.url}/000000000000/q.fifo", RESPONSE_SECONDS)
    yield FaultySqs(queue, proxy, behind, clock, requests)
    await queue.close()
    await transport.close()
    await proxy.close()
    await server.close()
    await broker.close()
