"""One ingest process on SQS, from start to drained."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from chaski_aws.backend import open_backend
from chaski_ingest.auth.access import OpenAuthenticator
from chaski_ingest.http.app import Ingest, RouteDirectory
from chaski_ingest.http.server import IngestServer
from chaski_ingest.http.tls import ServerCertificate
from chaski_ingest.settings import IngestSettings
from chaski_runtime.observability.logs import Logs
from chaski_runtime.observability.metrics.instruments import Metrics
from chaski_runtime.observability.tracing import tracing_of
from chaski_runtime.process import health
from chaski_runtime.process.clock import SystemClock
from chaski_runtime.process.corrected_clock import CorrectedClock
from chaski_runtime.process.gc_tuning import freeze_startup_objects
from chaski_runtime.process.randomness import RandomBytes
from chaski_runtime.process.signals import stop_on_signals

_log = logging.getLogger(__name__)


class RouteSource(RouteDirectory, Protocol):
    """Where the routes come from."""

    def trouble(self) -> str | None:
        """Why requests should not come here yet; None while all is well."""
        ...

    async def follow(self) -> None:
        """Keeps the routes up to date, until cancelled."""
        ...


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen; port 0 takes a free one."""

    host: str
    port: int
    metrics_port: int
    certificate: ServerCertificate | None = None  # of the port for messages; None: plain HTTP


async def serve(
    open_routes: Callable[[], RouteSource], open_authenticator: OpenAuthenticator, listen: Listen, logs: Logs
) -> None:
    """Takes messages until SIGTERM or SIGINT, then drains.

    Args:
        open_routes: called once there is a loop.
        open_authenticator: the same.
        listen: where to listen.
        logs: told how many lines were lost.

    Raises:
        BackendRejectedError: `Configuration`; for example no region is set.
        OSError: a port can't be listened on.
    """
    stop, clock, metrics = stop_on_signals(), CorrectedClock(SystemClock()), Metrics()
    metrics.observe_log_drops(lambda: logs.dropped)
    metrics.observe_clock(clock.offset_seconds)
    async with AsyncExitStack() as stack:
        backend = await open_backend(None, clock, on_sqs_request=metrics.backend_request)
        stack.push_async_callback(backend.close)
        await backend.measure_clock()
        routes = open_routes()
        authenticator = await stack.enter_async_context(open_authenticator(clock))
        tracing = await stack.enter_async_context(tracing_of("chaski-ingest"))
        ingest = Ingest(
            routes,
            backend,
            metrics,
            clock,
            IngestSettings(),
            RandomBytes(),
            authenticator=authenticator,
            tracing=tracing,
        )
        server = IngestServer(ingest)
        judge = partial(_ready, server, routes)
        side = await health.start(listen.host, listen.metrics_port, metrics=metrics, live=lambda: None, ready=judge)
        stack.push_async_callback(side.close)
        certificate = listen.certificate
        port = await server.start(listen.host, listen.port, certificate.context if certificate else None)
        stack.push_async_callback(server.drain)
        freeze_startup_objects()
        _tell(listen, port, side.port)
        for following in (routes.follow(), *([certificate.follow()] if certificate else [])):
            stack.push_async_callback(_end, asyncio.create_task(following))
        await stop.wait()
        _log.info("stopping: nothing new is taken, what is under way is answered")
    _log.info("stopped")


def _ready(server: IngestServer, routes: RouteSource) -> str | None:
    return server.ready() or routes.trouble()


def _tell(listen: Listen, port: int, metrics_port: int) -> None:
    url = f"{'https' if listen.certificate else 'http'}://{listen.host}:{port}"
    urls = {"chaski.ingest.url": url, "chaski.metrics.url": f"http://{listen.host}:{metrics_port}/metrics"}
    _log.info("ready on %s", url, extra={"ecs": {"event.action": "ready", **urls}})


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
