"""One ingest process on SQS, from start to drained."""

import asyncio
import logging
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass

from chaski_aws.backend import open_backend
from chaski_ingest.app import Ingest
from chaski_ingest.auth import NoAuthentication
from chaski_ingest.route_files import RouteFiles
from chaski_ingest.server import IngestServer
from chaski_ingest.settings import IngestSettings
from chaski_runtime import health
from chaski_runtime.clock import SystemClock
from chaski_runtime.logs import Logs
from chaski_runtime.metrics import Metrics
from chaski_runtime.signals import stop_on_signals

_log = logging.getLogger(__name__)
_REFRESH_SECONDS = 5.0  # between two looks at the route files; a kubelet updates a mount about once a minute


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen; port 0 takes a free one."""

    host: str
    port: int
    metrics_port: int


async def serve(routes: RouteFiles, listen: Listen, logs: Logs) -> None:
    """Takes messages until SIGTERM or SIGINT, then drains.

    Raises:
        BackendRejectedError: `Configuration`; for example no region is set.
        OSError: a port can't be listened on.
    """
    stop, clock, metrics = stop_on_signals(), SystemClock(), Metrics()
    metrics.observe_log_drops(lambda: logs.dropped)
    async with AsyncExitStack() as stack:
        backend = await open_backend(None, clock, on_sqs_request=metrics.backend_request)
        stack.push_async_callback(backend.close)
        ingest = Ingest(routes, backend, metrics, clock, IngestSettings(), os.urandom, authenticator=NoAuthentication())
        server = IngestServer(ingest)
        side = await health.start(
            listen.host, listen.metrics_port, metrics=metrics, live=lambda: None, ready=server.ready
        )
        stack.push_async_callback(side.close)
        port = await server.start(listen.host, listen.port)
        stack.push_async_callback(server.drain)
        urls = {
            "chaski.ingest.url": f"http://{listen.host}:{port}",
            "chaski.metrics.url": f"http://{listen.host}:{side.port}/metrics",
        }
        _log.info("ready on %s", urls["chaski.ingest.url"], extra={"ecs": {"event.action": "ready", **urls}})
        _log.warning("there is no authentication: whoever reaches the port may send")
        await _refresh_until(stop, routes)
        _log.info("stopping: nothing new is taken, what is under way is answered")
    _log.info("stopped")


async def _refresh_until(stop: asyncio.Event, routes: RouteFiles) -> None:
    while not stop.is_set():
        try:
            async with asyncio.timeout(_REFRESH_SECONDS):
                await stop.wait()
        except TimeoutError:
            await asyncio.to_thread(routes.refresh)
