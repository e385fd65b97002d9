"""Backends by which the contract tests are run. What a test promises of the ports, every one of them keeps."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from chaski_core.ports import AttemptRecords, DeadLetterStore, OutgoingMessage, Queue, Sent
from chaski_embedded.backend import EmbeddedBackend
from chaski_embedded.broker import EmbeddedBroker
from chaski_embedded.server import start_server
from support.clocks import SteppedClock
from support.sqswire import WireQueue

FIFO = {"FifoQueue": "true"}


@dataclass(frozen=True)
class QueueWorld:
    """Makes queues, and lets time pass."""

    make: Callable[..., Awaitable[Queue]]  # keyword arguments are SQS attributes
    absent: Callable[[], Queue]  # a queue that nobody made
    pass_time: Callable[[float], Awaitable[None]]  # seconds

    async def send(self, queue: Queue, *names: str) -> list[Sent]:
        """Sends messages called after their group: `a1` goes to group a, and its name is its deduplication id."""
        sent = await queue.send([OutgoingMessage(name.encode(), name[0], name) for name in names])
        assert all(isinstance(each, Sent) for each in sent)
        return [each for each in sent if isinstance(each, Sent)]


@dataclass(frozen=True)
class StoreWorld:
    """A store of failures, and attempt records."""

    dead_letters: DeadLetterStore
    attempt_records: AttemptRecords


@pytest.fixture
async def broker(tmp_path: Path, clock: SteppedClock) -> AsyncIterator[EmbeddedBroker]:
    """The embedded broker on a folder of the test's own."""
    opened = await EmbeddedBroker.open(tmp_path / "data", clock)
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> SteppedClock:
    """Time that the embedded backends take from the test."""
    return SteppedClock()


@pytest.fixture(params=["embedded", "embedded-sqs-server"])
async def queues(
    request: pytest.FixtureRequest, broker: EmbeddedBroker, clock: SteppedClock
) -> AsyncIterator[QueueWorld]:
    """A world of queues for each backend."""

    async def pass_time(seconds: float) -> None:
        clock.pass_time(seconds)

    names = iter(range(1_000))

    async def make(**attributes: Any) -> Queue:
        return broker.queue(await broker.create_queue(f"q{next(names)}.fifo", FIFO | attributes))

    if request.param == "embedded":
        yield QueueWorld(make, lambda: broker.queue("embedded://absent.fifo"), pass_time)
        return
    server = await start_server(broker, "127.0.0.1", 0)
    async with aiohttp.ClientSession() as session:

        def wired(name: str) -> Queue:
            return WireQueue(session, server.url, f"{server.url}/000000000000/{name}")

        async def make_wired(**attributes: Any) -> Queue:
            return wired((await make(**attributes)).url.removeprefix("embedded://"))

        yield QueueWorld(make_wired, lambda: wired("absent.fifo"), pass_time)
    await server.close()


@pytest.fixture(params=["embedded"])
def stores(request: pytest.FixtureRequest, broker: EmbeddedBroker) -> StoreWorld:
    """A store for each backend."""
    assert request.param == "embedded"
    backend = EmbeddedBackend(broker)
    return StoreWorld(backend.dead_letters, backend.attempt_records)
