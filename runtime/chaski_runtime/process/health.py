"""`/healthz`, `/readyz` and `/metrics` on a port of their own."""

from collections.abc import Mapping

from aiohttp import web
from aiohttp.typedefs import Handler

from chaski_runtime.observability.metrics.registry import MetricsRegistry
from chaski_runtime.process import http_server
from chaski_runtime.process.http_server import Check, HttpServer, probe_handler

_METRICS_TYPE = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
_STOP_SECONDS = 1.0  # for a scrape under way


async def start(
    host: str,
    port: int,
    *,
    metrics: MetricsRegistry,
    live: Check,
    ready: Check,
    more: Mapping[str, Handler] | None = None,
) -> HttpServer:
    """Serves until closed.

    Args:
        host: address to listen on.
        port: 0 for any free one.
        metrics: for `/metrics`.
        live: for `/healthz`; a reason means that the process should be restarted.
        ready: for `/readyz`; a reason means that the process should get no traffic.
        more: other paths, for GET.

    Raises:
        OSError: could not listen on the address.
    """
    app = web.Application()
    app.router.add_get("/healthz", probe_handler(live))
    app.router.add_get("/readyz", probe_handler(ready))
    app.router.add_get("/metrics", _metrics_handler(metrics))
    for path, handler in (more or {}).items():
        app.router.add_get(path, handler)
    return await http_server.start(app, host, port, stop_seconds=_STOP_SECONDS)


def _metrics_handler(metrics: MetricsRegistry) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        # As prometheus_client's own servers: only the samples of these names.
        names = request.query.getall("name[]", [])
        return web.Response(body=await metrics.scrape(names), headers=_METRICS_TYPE)

    return handler
