"""`/healthz`, `/readyz` and `/metrics` on a port of their own."""

from collections.abc import Callable
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler

from chaski_runtime.observability.metrics.registry import MetricsRegistry

_METRICS_TYPE = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
_STOP_SECONDS = 1.0  # for a scrape under way

Check = Callable[[], str | None]  # None: passed; else the reason of the failure


class HealthServer:
    """A running server; `port` is the actual one where 0 was given."""

    def __init__(self, runner: web.AppRunner, port: int) -> None:
        self._runner = runner
        self.port = port

    async def close(self) -> None:
        """Stops listening and closes open connections."""
        await self._runner.cleanup()


async def start(host: str, port: int, *, metrics: MetricsRegistry, live: Check, ready: Check) -> HealthServer:
    """Serves until closed.

    Args:
        host: address to listen on.
        port: 0 for any free one.
        metrics: for `/metrics`.
        live: for `/healthz`; a reason means that the process should be restarted.
        ready: for `/readyz`; a reason means that the process should get no traffic.

    Raises:
        OSError: could not listen on the address.
    """
    app = web.Application()
    app.router.add_get("/healthz", _check_handler(live))
    app.router.add_get("/readyz", _check_handler(ready))
    app.router.add_get("/metrics", _metrics_handler(metrics))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_STOP_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except BaseException:
        await runner.cleanup()
        raise
    return HealthServer(runner, runner.addresses[0][1])


def _check_handler(check: Check) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        reason = check()
        if reason is None:
            return web.Response(text="ok\n")
        return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, text=reason + "\n")

    return handler


def _metrics_handler(metrics: MetricsRegistry) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=await metrics.scrape(), headers=_METRICS_TYPE)

    return handler
