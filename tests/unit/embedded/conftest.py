"""Fixtures of the embedded broker's tests."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from chaski_embedded.broker.broker import EmbeddedBroker
from support.clocks import SteppedClock


@pytest.fixture
def clock() -> SteppedClock:
    """Real time plus what the test adds."""
    return SteppedClock()


@pytest.fixture
async def open_broker(tmp_path: Path, clock: SteppedClock) -> AsyncIterator[Callable[[], Awaitable[EmbeddedBroker]]]:
    """Opens the test's data folder, repeatedly if needed; closes it at the end."""
    opened: list[EmbeddedBroker] = []

    async def make() -> EmbeddedBroker:
        broker = await EmbeddedBroker.open(tmp_path / "data", clock)
        opened.append(broker)
        return broker

    yield make
    for broker in opened:
        await broker.close()


@pytest.fixture
async def broker(open_broker: Callable[[], Awaitable[EmbeddedBroker]]) -> EmbeddedBroker:
    """An open broker on a folder of its own."""
    return await open_broker()
