from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from chaski_runtime.observability.metrics.instruments import Metrics
from chaski_runtime.process import health


class Process:
    """What a process says of itself, and the port to ask."""

    def __init__(self) -> None:
        self.dead: str | None = None
        self.away: str | None = None
        self.metrics = Metrics()
        self.port = 0

    async def get(self, path: str) -> tuple[int, str, str]:
        """Status, content type and text."""
        async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{self.port}{path}") as response:
            return response.status, response.headers["Content-Type"], await response.text()


@pytest_asyncio.fixture
async def process() -> AsyncIterator[Process]:
    """A process with a running health server."""
    process = Process()
    server = await health.start(
        "127.0.0.1", 0, metrics=process.metrics, live=lambda: process.dead, ready=lambda: process.away
    )
    process.port = server.port
    yield process
    await server.close()


async def test_a_process_that_is_well_is_live_and_ready(process: Process) -> None:
    """200 for both."""
    assert (await process.get("/healthz"))[::2] == (200, "ok\n")
    assert (await process.get("/readyz"))[::2] == (200, "ok\n")


async def test_a_process_says_why_it_is_not_ready_or_not_live(process: Process) -> None:
    """503 with the reason, each by itself."""
    process.away = "draining"
    assert (await process.get("/readyz"))[::2] == (503, "draining\n")
    assert (await process.get("/healthz"))[0] == 200
    process.dead = "no poll succeeded for 90 s"
    assert (await process.get("/healthz"))[::2] == (503, "no poll succeeded for 90 s\n")


async def test_metrics_are_served_in_prometheus_text_format(process: Process) -> None:
    """Version 0.0.4, which every Prometheus reads."""
    process.metrics.backend_request("ReceiveMessage", "ok")
    status, kind, text = await process.get("/metrics")
    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert 'chaski_sqs_requests_total{action="ReceiveMessage",result="ok"} 1.0' in text


async def test_a_port_that_is_taken_is_an_error_and_leaves_nothing_open(process: Process) -> None:
    """The process can say so and end."""
    with pytest.raises(OSError, match="address already in use"):
        await health.start("127.0.0.1", process.port, metrics=Metrics(), live=lambda: None, ready=lambda: None)
