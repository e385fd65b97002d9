from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from chaski_runtime.observability.metrics.registry import BackendMetrics, MetricsRegistry
from chaski_runtime.process import health


class Process:
    """The state of a process, and the port of its health server."""

    def __init__(self) -> None:
        self.dead: str | None = None
        self.unready: str | None = None
        self.metrics = MetricsRegistry()
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
        "127.0.0.1", 0, metrics=process.metrics, live=lambda: process.dead, ready=lambda: process.unready
    )
    process.port = server.port
    yield process
    await server.close()


async def test_a_healthy_process_is_live_and_ready(process: Process) -> None:
    """Both answer 200."""
    assert (await process.get("/healthz"))[::2] == (200, "ok\n")
    assert (await process.get("/readyz"))[::2] == (200, "ok\n")


async def test_the_response_has_the_reason_of_a_failed_check(process: Process) -> None:
    """503, each check separately."""
    process.unready = "draining"
    assert (await process.get("/readyz"))[::2] == (503, "draining\n")
    assert (await process.get("/healthz"))[0] == 200
    process.dead = "no poll succeeded for 90 s"
    assert (await process.get("/healthz"))[::2] == (503, "no poll succeeded for 90 s\n")


async def test_metrics_are_served_in_prometheus_text_format(process: Process) -> None:
    """Version 0.0.4, which every Prometheus can read."""
    BackendMetrics(process.metrics).sqs_request("ReceiveMessage", "ok")
    status, kind, text = await process.get("/metrics")
    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert 'chaski_sqs_requests_total{action="ReceiveMessage",result="ok"} 1.0' in text


async def test_a_port_in_use_is_an_error_and_leaves_nothing_open(process: Process) -> None:
    """The process can log it and exit."""
    with pytest.raises(OSError, match="address already in use"):
        await health.start("127.0.0.1", process.port, metrics=MetricsRegistry(), live=lambda: None, ready=lambda: None)
