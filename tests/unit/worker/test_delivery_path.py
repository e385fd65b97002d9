"""The modules of the worker that one delivery enters."""

import asyncio
import contextlib
import re
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import chaski_worker
from chaski_core.message.envelope import Metadata, write_envelope
from chaski_core.route.model import AllowRule, Route
from chaski_worker.consumer.factory import DelivererDependencies, make_deliverer
from chaski_worker.consumer.worker import Worker
from chaski_worker.guard.guard import Guard
from support.until import until
from support.worker.harness import FakeTarget, WorkerHarness, make_route

ROOT = Path(__file__).resolve().parents[3]
FOLDER = Path(chaski_worker.__file__).parent
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
MOST_MODULES = 14


@contextlib.contextmanager
def entered() -> Iterator[set[str]]:
    """The worker's modules whose functions are called meanwhile, as paths below its package."""
    found: set[str] = set()

    def on_event(frame: FrameType, event: str, _: Any) -> None:
        file = Path(frame.f_code.co_filename)
        if event == "call" and file.is_relative_to(FOLDER):
            found.add(file.relative_to(FOLDER).as_posix())

    sys.setprofile(on_event)
    try:
        yield found
    finally:
        sys.setprofile(None)


class Target(asyncio.Protocol):
    """Accepts every request, none of which has a body."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"\r\n\r\n"):
            self.transport.write(OK)


@contextlib.asynccontextmanager
async def route_to_a_target() -> AsyncIterator[Route]:
    """A route whose rule covers a target."""
    server = await asyncio.get_running_loop().create_server(Target, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server:
        yield replace(make_route(), allow=(AllowRule("t0", url),))


async def test_a_delivery_enters_few_modules_and_each_is_in_the_documented_path() -> None:
    """A second message of one URL; the first one also opens the connection and has its URL judged."""
    async with route_to_a_target() as route:
        harness = WorkerHarness(route, FakeTarget(lambda *_: 200))
        dependencies = DelivererDependencies(clock=harness.clock, permit_loopback=True)
        deliverer = make_deliverer(route, harness.worker_metrics, dependencies)
        worker = Worker(
            harness.resolved,
            backend=harness.backend,
            guard=Guard(route.allow),
            deliver=deliverer.deliver,
            metrics=harness.worker_metrics,
            clock=harness.clock,
            settings=harness.settings,
        )
        running = asyncio.create_task(worker.run())
        polled = [harness.backend.queue(url) for url in ("mem://p0", "mem://rung-fast", "mem://rung-medium")]
        await until(lambda: all(queue.calls["receive"] for queue in polled))
        paths = []
        for label in ("a", "b"):
            document = {"subject": "s", "body": {"url": route.allow[0].url}}
            body = write_envelope(document, Metadata(id=label, route=route.key, accepted_at=0))
            with entered() as modules:
                await harness.put("mem://p0", body, key=label)
                await harness.wait_until_empty(within=60, poll_every=0.01)
            paths.append(modules)
        worker.stop()
        await running
        await deliverer.close()
    section = (ROOT / "docs/order.md").read_text(encoding="utf-8").partition("## The path of one delivery")[2]
    documented = set(re.findall(r"`([a-z_]+/[a-z_]+\.py)`", section.partition("\n## ")[0]))
    first, second = paths
    assert {"consumer/consumer.py", "observability/reporting.py"} <= second
    assert first - documented == set()
    assert len(second | {"guard/guard.py"}) <= MOST_MODULES, sorted(second)
