"""What `chaski dev` runs in its one process: broker, ingest, workers, health and metrics."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from chaski_cli.dev.console import dev_sources
from chaski_cli.dev.workers import Workers
from chaski_cli.errors import CommandError
from chaski_console import server as console_server
from chaski_console.auth.authenticators import is_loopback
from chaski_console.data.views import Sources
from chaski_console.server import ConsoleServer
from chaski_core.ports import Clock
from chaski_core.route.model import Route
from chaski_core.route.resolved import ResolvedRoute
from chaski_embedded.backend import EmbeddedBackend
from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_embedded.control.server import open_control
from chaski_embedded.provision import drop_drained, resolve
from chaski_ingest.auth.authenticators import NoAuthentication
from chaski_ingest.http.app import Ingest
from chaski_ingest.http.server import IngestServer
from chaski_ingest.settings import IngestSettings
from chaski_runtime.observability.logs import Logs
from chaski_runtime.observability.metrics.instruments import Metrics
from chaski_runtime.observability.tracing import Tracing, tracing_of
from chaski_runtime.process import health
from chaski_runtime.process.clock import SystemClock
from chaski_runtime.process.randomness import RandomBytes

CONSOLE_PORT = 8081
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where to listen; port 0 takes a free one."""

    host: str
    port: int
    metrics_port: int
    console_port: int | None = None  # None: the usual one if it is free, else any free one

    @property
    def console_host(self) -> str:
        """Always of this machine only: the console asks nobody who they are, and may show and change everything."""
        return self.host if is_loopback(self.host) else "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Services:
    """All that runs."""

    ingest_url: str
    metrics_url: str
    console_url: str
    workers: Workers


class Directory:
    """The routes that ingest knows; they change only by a restart."""

    def __init__(self, routes: Sequence[ResolvedRoute]) -> None:
        self._routes = {(each.route.namespace, each.route.name): each for each in routes}

    def find(self, namespace: str, name: str) -> ResolvedRoute | None:
        """The route of that name, if there is one."""
        return self._routes.get((namespace, name))


@contextlib.asynccontextmanager
async def open_services(
    routes: Sequence[Route], data: Path, listen: Addresses, logs: Logs, secrets: Path | None = None
) -> AsyncIterator[Services]:
    """Starts everything; at the end nothing new is taken, and what is in flight finishes.

    `secrets`: folder with one folder for each Secret that the routes name.

    Raises:
        ChaskiError: the folder, a route or a port can't be used.
    """
    clock, metrics = SystemClock(), Metrics()
    metrics.observe_log_drops(lambda: logs.dropped)
    async with AsyncExitStack() as stack:
        broker = await _open_broker(data, clock)
        stack.push_async_callback(broker.close)
        await _release(broker)
        resolved = [await drop_drained(broker, await resolve(broker, route)) for route in routes]
        await _tell_of_others(broker, resolved)
        backend = EmbeddedBackend(broker)
        tracing = await stack.enter_async_context(tracing_of("chaski"))
        workers = Workers(resolved, backend, metrics, logs, clock, secrets=secrets, tracing=tracing)
        ingest = _ingest(Directory(resolved), backend, metrics, clock, tracing)
        server = _ingest_server(ingest, workers, broker)

        def ready() -> str | None:
            return _ready(server, broker)

        with _port_fault(listen.host, listen.metrics_port, "--metrics-port"):
            side = await health.start(listen.host, listen.metrics_port, metrics=metrics, live=workers.live, ready=ready)
        stack.push_async_callback(side.close)
        with _port_fault(listen.host, listen.port, "--port"):
            port = await server.start(listen.host, listen.port)
        stack.push_async_callback(_drain, server, workers)
        console = await _open_console(listen, dev_sources(resolved, backend, metrics, data, clock), clock, tracing)
        stack.push_async_callback(console.close)
        # After the ports that were asked for, of which a free one could be one.
        stack.push_async_callback((await open_control(broker)).close)
        workers.start()
        base, seen = _base(listen.host), _base(listen.console_host)
        yield Services(f"{base}:{port}", f"{base}:{side.port}/metrics", f"{seen}:{console.port}/", workers)


def _base(host: str) -> str:
    return f"http://[{host}]" if ":" in host else f"http://{host}"


def _ingest(
    routes: Directory, backend: EmbeddedBackend, metrics: Metrics, clock: Clock, tracing: Tracing | None
) -> Ingest:
    return Ingest(
        routes,
        backend,
        metrics,
        clock,
        IngestSettings(),
        RandomBytes(),
        authenticator=NoAuthentication(),
        tracing=tracing,
    )


def _ingest_server(ingest: Ingest, workers: Workers, broker: EmbeddedBroker) -> IngestServer:
    def ready() -> str | None:
        return _ready(server, broker)

    # Health beside messages, so that one port is enough to try it out.
    server = IngestServer(ingest, {"/healthz": workers.live, "/readyz": ready})
    return server


def _ready(server: IngestServer, broker: EmbeddedBroker) -> str | None:
    return server.ready() or broker.trouble()


async def _open_console(listen: Addresses, sources: Sources, clock: Clock, tracing: Tracing | None) -> ConsoleServer:
    if listen.console_port is None:
        with contextlib.suppress(OSError):
            return await console_server.start(listen.console_host, CONSOLE_PORT, sources, clock, tracing=tracing)
    wanted = listen.console_port or 0
    with _port_fault(listen.console_host, wanted, "--console-port"):
        return await console_server.start(listen.console_host, wanted, sources, clock, tracing=tracing)


async def _open_broker(data: Path, clock: Clock) -> EmbeddedBroker:
    try:
        return await EmbeddedBroker.open(data, clock)
    except OSError as error:
        raise CommandError(f"--data {data}: {error.strerror}", next_step="name a folder that can be written") from error


async def _release(broker: EmbeddedBroker) -> None:
    released = await broker.release_in_flight()
    if released:
        _log.info("%d messages were in flight when the last run ended; they are attempted again", released)


async def _tell_of_others(broker: EmbeddedBroker, resolved: Sequence[ResolvedRoute]) -> None:
    used = {url for each in resolved for url in _urls(each)}
    others = [url for url in await broker.list_queues() if url not in used]
    waiting = sum([(await broker.queue(url).counts()).total for url in others])
    if waiting:
        _log.warning("%d messages in this folder belong to routes that were not given; they wait for them", waiting)


def _urls(resolved: ResolvedRoute) -> Iterator[str]:
    for generation in resolved.generations:
        for urls in generation.queues.values():
            yield from urls
    for rung in (*resolved.rungs, *resolved.retired_rungs):
        yield rung.url


async def _drain(server: IngestServer, workers: Workers) -> None:
    await asyncio.gather(server.drain(), workers.close())


@contextlib.contextmanager
def _port_fault(host: str, port: int, flag: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CommandError(
            f"can't listen on {host}:{port}: {error.strerror or error}",
            next_step=f"choose another with {flag}, or {flag} 0 for a free one",
        ) from error
