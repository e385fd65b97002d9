"""`/healthz`, `/readyz` and `/metrics` on a port of their own."""

from collections.abc import Callable
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler

from chaski_runtime.observability.metrics.registry import MetricsRegistry

_METRICS_TYPE = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
_STOP_SECONDS = 1.0  # a scrape under way may finish

Judgement = Callable[[], str | None]  # None: all is well; else the reason why not, in words


class HealthServer:
    """A running server; `port` is the real one where 0 was asked for."""

    def __init__(self, runner: web.AppRunner, port: int) -> None:
        self._runner = runner
        self.port = port

    async def close(self) -> None:
        """Stops listening and ends open connections."""
        await self._runner.cleanup()


async def start(host: str, port: int, *, metrics: MetricsRegistry, live: Judgement, ready: Judgement) -> HealthServer:
    """Serves until closed.

    Args:
        host: address to listen on.
        port: 0 for any free one.
        metrics: what `/metrics` shows.
        live: asked by `/healthz`; a reason means that the process should be restarted.
        ready: asked by `/readyz`; a reason means that no traffic should come.

    Raises:
        OSError: the address can't be listened on.
    """
    app = web.Application()
    app.router.add_get("/healthz", _answer(live))
    app.router.add_get("/readyz", _answer(ready))
    app.router.add_get("/metrics", _scrape(metrics))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_STOP_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except BaseException:
        await runner.cleanup()
        raise
    return HealthServer(runner, runner.addresses[0][1])


def _answer(judge: Judgement) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        reason = judge()
        if reason is None:
            return web.Response(text="ok\n")
        return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, text=reason + "\n")

    return handler


def _scrape(metrics: MetricsRegistry) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=await metrics.scrape(), headers=_METRICS_TYPE)

    return handler
