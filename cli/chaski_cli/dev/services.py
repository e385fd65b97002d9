"""The services of `chaski dev` in one process: broker, ingest, workers, console, health and metrics."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from chaski_cli.dead_letters.replay import allowed_by
from chaski_cli.dev.live_routes import LiveRoutes
from chaski_cli.dev.workers import Workers
from chaski_console import server as console_server
from chaski_console.data.views import Sources
from chaski_console.process.dev import dev_sources
from chaski_core.message.target_url import is_loopback
from chaski_core.ports import Clock
from chaski_core.route.model import Route
from chaski_core.route.resolved import ResolvedRoute
from chaski_embedded.backend import EmbeddedBackend
from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_embedded.control.server import start_control_server
from chaski_ingest.auth.authenticators import NoAuthentication
from chaski_ingest.http.app import Ingest
from chaski_ingest.http.server import IngestServer
from chaski_ingest.metrics import IngestMetrics
from chaski_ingest.settings import IngestSettings
from chaski_runtime.observability.logs import Logs
from chaski_runtime.observability.metrics.registry import MetricsRegistry
from chaski_runtime.observability.metrics.route_totals import RouteTotals, sum_totals
from chaski_runtime.observability.tracing import Tracing, tracing_of
from chaski_runtime.process import health
from chaski_runtime.process.clock import RandomBytes, SystemClock
from chaski_runtime.process.command_error import CommandError
from chaski_runtime.process.http_server import HttpServer, base_url
from chaski_worker.metrics import WorkerMetrics
from chaski_worker.settings import NO_OVERRIDES, WorkerOverrides

PORT, METRICS_PORT, CONSOLE_PORT = 8080, 9090, 8081  # the usual ones
T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Addresses to listen on. Port 0 is a free one; None is the usual one, or a free one if that is in use."""

    host: str
    port: int | None = None
    metrics_port: int | None = None
    console_port: int | None = None

    @property
    def console_host(self) -> str:
        """Always a loopback address: the console has no authentication, and can show and change everything."""
        return self.host if is_loopback(self.host) else "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Services:
    """The running services."""

    ingest_url: str
    metrics_url: str
    console_url: str
    workers: Workers
    routes: LiveRoutes


@contextlib.asynccontextmanager
async def open_services(
    routes: Sequence[Route],
    data: Path,
    listen: Addresses,
    logs: Logs,
    overrides: WorkerOverrides = NO_OVERRIDES,
    secrets: Path | None = None,
) -> AsyncIterator[Services]:
    """Starts all services. On exit no new messages are received, and attempts in flight finish.

    Raises:
        ChaskiError: the folder, a route or a port can't be used.
    """
    clock, metrics = SystemClock(), MetricsRegistry()
    metrics.observe_log_drops(lambda: logs.dropped)
    ingest_metrics, worker_metrics = IngestMetrics(metrics), WorkerMetrics(metrics)
    async with AsyncExitStack() as stack:
        broker = await _open_broker(data, clock)
        stack.push_async_callback(broker.close)
        await _release_in_flight(broker)
        backend = EmbeddedBackend(broker)
        tracing = await stack.enter_async_context(tracing_of("chaski"))
        workers = Workers(backend, worker_metrics, logs, clock, overrides=overrides, secrets=secrets, tracing=tracing)
        live = await _open_routes(routes, broker, workers)
        ingest = _ingest(live, backend, ingest_metrics, clock, tracing)
        server = _ingest_server(ingest, workers, broker)
        ready = partial(_ready, server, broker)

        def start_side(port: int) -> Awaitable[HttpServer]:
            return health.start(listen.host, port, metrics=metrics, live=workers.live, ready=ready)

        side = await _listen(start_side, _Port(listen.host, listen.metrics_port, METRICS_PORT, "--metrics-port"))
        stack.push_async_callback(side.close)
        port = await _listen(partial(server.start, listen.host), _Port(listen.host, listen.port, PORT, "--port"))
        stack.push_async_callback(_drain, server, workers)

        def totals() -> dict[str, RouteTotals]:
            return sum_totals([ingest_metrics.totals_by_route(), worker_metrics.totals_by_route()])

        sources = dev_sources(live.resolved, backend, totals, data, clock, allowed_by)
        console = await _open_console(listen, sources, clock, tracing)
        stack.push_async_callback(console.close)
        # After the requested ports: a free port could be one of them.
        stack.push_async_callback((await start_control_server(broker)).close)
        workers.start()
        console_url = f"{console.url}/"
        metrics_url = f"{side.url}/metrics"
        yield Services(base_url(listen.host, port), metrics_url, console_url, workers, live)


async def _open_routes(routes: Sequence[Route], broker: EmbeddedBroker, workers: Workers) -> LiveRoutes:
    live = LiveRoutes(broker, workers)
    for route in routes:
        await live.open(route)
    await _warn_of_other_routes(broker, live.resolved.values())
    return live


async def _open_console(listen: Addresses, sources: Sources, clock: Clock, tracing: Tracing | None) -> HttpServer:
    start = partial(console_server.start, listen.console_host)
    return await _listen(
        lambda port: start(port, sources, clock, tracing=tracing),
        _Port(listen.console_host, listen.console_port, CONSOLE_PORT, "--console-port"),
    )


def _ingest(
    routes: LiveRoutes, backend: EmbeddedBackend, metrics: IngestMetrics, clock: Clock, tracing: Tracing | None
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

    # Health endpoints on the port for messages too, so that one port is enough to try Chaski.
    server = IngestServer(ingest, {"/healthz": workers.live, "/readyz": ready})
    return server


def _ready(server: IngestServer, broker: EmbeddedBroker) -> str | None:
    return server.ready() or broker.write_error()


@dataclass(frozen=True, slots=True)
class _Port:
    host: str
    wanted: int | None  # as in `Addresses`
    usual: int
    flag: str


async def _listen(start: Callable[[int], Awaitable[T]], port: _Port) -> T:
    if port.wanted is None:
        with contextlib.suppress(OSError):
            return await start(port.usual)
    wanted = port.wanted or 0
    try:
        return await start(wanted)
    except OSError as error:
        raise CommandError(
            f"can't listen on {port.host}:{wanted}: {error.strerror or error}",
            next_step=f"choose another port with {port.flag}, or leave {port.flag} out",
        ) from error


async def _open_broker(data: Path, clock: Clock) -> EmbeddedBroker:
    try:
        return await EmbeddedBroker.open(data, clock)
    except OSError as error:
        raise CommandError(f"--data {data}: {error.strerror}", next_step="give a writable folder") from error


async def _release_in_flight(broker: EmbeddedBroker) -> None:
    released = await broker.release_in_flight()
    if released:
        _log.info("%d messages were in flight when the last run ended; they will be attempted again", released)


async def _warn_of_other_routes(broker: EmbeddedBroker, resolved: Iterable[ResolvedRoute]) -> None:
    used = {url for each in resolved for url in _urls(each)}
    others = [url for url in await broker.list_queues() if url not in used]
    waiting = sum([(await broker.queue(url).counts()).total for url in others])
    if waiting:
        _log.warning(
            "%d messages in this folder belong to routes that were not given; they wait until these routes run", waiting
        )


def _urls(resolved: ResolvedRoute) -> Iterator[str]:
    for generation in resolved.generations:
        for urls in generation.queues.values():
            yield from urls
    for rung in (*resolved.rungs, *resolved.retired_rungs):
        yield rung.url


async def _drain(server: IngestServer, workers: Workers) -> None:
    await asyncio.gather(server.drain(), workers.close())
