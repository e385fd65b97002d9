"""The services of `chaski dev` in one process: broker, ingest, workers, console, health and metrics."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from chaski_cli.dead_letters.replay import allowed_by
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
from chaski_embedded.provision import drop_drained, resolve
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

CONSOLE_PORT = 8081
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Addresses to listen on; port 0 picks a free one."""

    host: str
    port: int
    metrics_port: int
    console_port: int | None = None  # None: CONSOLE_PORT, or a free one if it is in use

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


class FixedRoutes:
    """The routes of ingest; they change by a restart only."""

    def __init__(self, routes: Sequence[ResolvedRoute]) -> None:
        self._routes = {(each.route.namespace, each.route.name): each for each in routes}

    def find(self, namespace: str, name: str) -> ResolvedRoute | None:
        return self._routes.get((namespace, name))


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
        resolved = [await drop_drained(broker, await resolve(broker, route)) for route in routes]
        await _warn_of_other_routes(broker, resolved)
        backend = EmbeddedBackend(broker)
        tracing = await stack.enter_async_context(tracing_of("chaski"))
        workers = Workers(
            resolved, backend, worker_metrics, logs, clock, overrides=overrides, secrets=secrets, tracing=tracing
        )
        ingest = _ingest(FixedRoutes(resolved), backend, ingest_metrics, clock, tracing)
        server = _ingest_server(ingest, workers, broker)
        ready = partial(_ready, server, broker)
        with _port_error(listen.host, listen.metrics_port, "--metrics-port"):
            side = await health.start(listen.host, listen.metrics_port, metrics=metrics, live=workers.live, ready=ready)
        stack.push_async_callback(side.close)
        with _port_error(listen.host, listen.port, "--port"):
            port = await server.start(listen.host, listen.port)
        stack.push_async_callback(_drain, server, workers)

        def totals() -> dict[str, RouteTotals]:
            return sum_totals([ingest_metrics.totals_by_route(), worker_metrics.totals_by_route()])

        sources = dev_sources(resolved, backend, totals, data, clock, allowed_by)
        console = await _open_console(listen, sources, clock, tracing)
        stack.push_async_callback(console.close)
        # After the requested ports: a free port could be one of them.
        stack.push_async_callback((await start_control_server(broker)).close)
        workers.start()
        console_url = f"{console.url}/"
        metrics_url = f"{side.url}/metrics"
        yield Services(base_url(listen.host, port), metrics_url, console_url, workers)


def _ingest(
    routes: FixedRoutes, backend: EmbeddedBackend, metrics: IngestMetrics, clock: Clock, tracing: Tracing | None
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


async def _open_console(listen: Addresses, sources: Sources, clock: Clock, tracing: Tracing | None) -> HttpServer:
    if listen.console_port is None:
        with contextlib.suppress(OSError):
            return await console_server.start(listen.console_host, CONSOLE_PORT, sources, clock, tracing=tracing)
    port = listen.console_port or 0
    with _port_error(listen.console_host, port, "--console-port"):
        return await console_server.start(listen.console_host, port, sources, clock, tracing=tracing)


async def _open_broker(data: Path, clock: Clock) -> EmbeddedBroker:
    try:
        return await EmbeddedBroker.open(data, clock)
    except OSError as error:
        raise CommandError(f"--data {data}: {error.strerror}", next_step="give a writable folder") from error


async def _release_in_flight(broker: EmbeddedBroker) -> None:
    released = await broker.release_in_flight()
    if released:
        _log.info("%d messages were in flight when the last run ended; they will be attempted again", released)


async def _warn_of_other_routes(broker: EmbeddedBroker, resolved: Sequence[ResolvedRoute]) -> None:
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


@contextlib.contextmanager
def _port_error(host: str, port: int, flag: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CommandError(
            f"can't listen on {host}:{port}: {error.strerror or error}",
            next_step=f"choose another port with {flag}, or {flag} 0 for a free one",
        ) from error
