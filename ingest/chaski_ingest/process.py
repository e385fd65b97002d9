"""One ingest process on SQS, from start to drained."""

import asyncio
import logging
import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from aiohttp.typedefs import Handler

from chaski_aws.backend import open_backend
from chaski_ingest.activity import PATH as ACTIVITY_PATH
from chaski_ingest.activity import Activity
from chaski_ingest.activity import handler as activity_handler
from chaski_ingest.auth.authenticators import AuthenticatorFactory
from chaski_ingest.auth.peers import PeerPods, alone
from chaski_ingest.auth.service_account import AuthorizeFactory
from chaski_ingest.http.app import Ingest, RouteDirectory
from chaski_ingest.http.server import IngestServer, ServerCertificate
from chaski_ingest.metrics import IngestMetrics
from chaski_ingest.settings import IngestSettings
from chaski_ingest.submission.queue_batching import ignore_sent
from chaski_runtime.observability.logs import Logs
from chaski_runtime.observability.metrics.registry import BackendMetrics, MetricsRegistry
from chaski_runtime.observability.tracing import tracing_of
from chaski_runtime.process import health
from chaski_runtime.process.clock import RandomBytes, SystemClock
from chaski_runtime.process.corrected_clock import CorrectedClock
from chaski_runtime.process.http_server import base_url
from chaski_runtime.process.lifecycle import freeze_startup_objects, stop_on_signals

_log = logging.getLogger(__name__)


class RouteSource(RouteDirectory, Protocol):
    """A source of routes that changes while the process runs."""

    def unready_reason(self) -> str | None:
        """Why requests should not be sent to this process yet, or None."""
        ...

    def unreachable_seconds(self) -> float | None:
        """How long the API server has been unreachable; None where none is used."""
        ...

    async def follow(self) -> None:
        """Keeps the routes up to date, until cancelled."""
        ...


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen; port 0 means a free one."""

    host: str
    port: int
    metrics_port: int
    certificate: ServerCertificate | None = None  # of the API's port; None: plain HTTP


@dataclass(frozen=True, slots=True)
class Openers:
    """What opens the parts of the process that need its event loop."""

    routes: Callable[[], RouteSource]
    authenticator: AuthenticatorFactory
    peers: Callable[[], PeerPods] | None = None  # None: this process has the producers' whole rates
    activity_reader: AuthorizeFactory | None = None  # who may ask which queues got messages; None: no account


async def serve(openers: Openers, listen: Listen, logs: Logs) -> None:
    """Serves the API until SIGTERM or SIGINT, then drains.

    Args:
        openers: called inside the event loop.
        listen: where to listen.
        logs: their dropped lines are a metric.

    Raises:
        BackendRejectedError: `Configuration`; for example the region is missing.
        OSError: it can't listen on a port.
    """
    stop, clock, metrics = stop_on_signals(), CorrectedClock(SystemClock()), MetricsRegistry()
    metrics.observe_log_drops(lambda: logs.dropped)
    metrics.observe_clock(clock.offset_seconds)
    async with AsyncExitStack() as stack:
        backend = await open_backend(None, clock, on_sqs_request=BackendMetrics(metrics).sqs_request)
        stack.push_async_callback(backend.close)
        await backend.measure_clock()
        routes = openers.routes()
        peers = openers.peers() if openers.peers is not None else None
        pods = peers.count if peers is not None else alone
        authenticator = await stack.enter_async_context(openers.authenticator(clock, pods))
        tracing = await stack.enter_async_context(tracing_of("chaski-ingest"))
        activity = Activity(secrets.token_hex(8), clock.monotonic)
        more = await _activity_endpoint(activity, openers.activity_reader, clock, stack)
        parts = (routes, backend, _ingest_metrics(metrics, routes), clock, IngestSettings(), RandomBytes())
        on_sent = activity.note if more else ignore_sent
        ingest = Ingest(*parts, authenticator=authenticator, tracing=tracing, on_sent=on_sent)
        server = IngestServer(ingest)
        ready = partial(_ready, server, routes, peers)
        side = await health.start(listen.host, listen.metrics_port, metrics=metrics, live=_live, ready=ready, more=more)
        stack.push_async_callback(side.close)
        stack.push_async_callback(activity.end)  # after the drain
        certificate = listen.certificate
        port = await server.start(listen.host, listen.port, certificate.context if certificate else None)
        stack.push_async_callback(server.drain)
        freeze_startup_objects()
        _log_ready(listen, port, side.port)
        for each in (part for part in (routes, certificate, peers) if part is not None):
            stack.push_async_callback(_cancel, asyncio.create_task(each.follow()))
        await stop.wait()
        _log.info("stopping: new requests are refused, requests in progress are completed")
    _log.info("stopped")


async def _activity_endpoint(
    activity: Activity, reader: AuthorizeFactory | None, clock: CorrectedClock, stack: AsyncExitStack
) -> dict[str, Handler]:
    if reader is None:
        return {}
    return {ACTIVITY_PATH: activity_handler(activity, await stack.enter_async_context(reader(clock)))}


def _ingest_metrics(registry: MetricsRegistry, routes: RouteSource) -> IngestMetrics:
    registry.observe_api_server(routes.unreachable_seconds)
    metrics = IngestMetrics(registry)
    metrics.observe_routes(lambda namespace, name: routes.find(namespace, name) is not None)
    return metrics


def _live() -> str | None:
    """Always alive: a restart would lose the known routes, and no credentials are kept that it would read again."""
    return None


def _ready(server: IngestServer, routes: RouteSource, peers: PeerPods | None) -> str | None:
    return server.ready() or routes.unready_reason() or (peers.unready_reason() if peers is not None else None)


def _log_ready(listen: Listen, port: int, metrics_port: int) -> None:
    url = base_url(listen.host, port, "https" if listen.certificate else "http")
    urls = {"chaski.ingest.url": url, "chaski.metrics.url": f"{base_url(listen.host, metrics_port)}/metrics"}
    _log.info("ready on %s", url, extra={"ecs": {"event.action": "ready", **urls}})


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
