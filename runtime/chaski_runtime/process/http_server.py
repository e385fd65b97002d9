"""An HTTP server of aiohttp: start, port, stop, and the handler of a probe."""

import ipaddress
from collections.abc import Callable
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler

Check = Callable[[], str | None]  # None: passed; else the reason of the failure


class HttpServer:
    """A running server; `port` is the actual one where 0 was given."""

    def __init__(self, runner: web.AppRunner) -> None:
        self._runner = runner
        self.port = int(runner.addresses[0][1])

    async def close(self) -> None:
        """Stops listening, waits for requests under way at most `stop_seconds`, and closes all connections."""
        await self._runner.cleanup()


async def start(
    app: web.Application,
    host: str,
    port: int,
    *,
    stop_seconds: float,
    cancel_handlers: bool = False,
    decompress: bool = True,
) -> HttpServer:
    """Serves until closed.

    Args:
        app: what to serve.
        host: address to listen on.
        port: 0 for any free one.
        stop_seconds: how long `close` waits for requests under way.
        cancel_handlers: whether a handler is cancelled when its client disconnects.
        decompress: whether bodies with a Content-Encoding are decompressed before a handler reads them.

    Raises:
        OSError: could not listen on the address.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=stop_seconds,
        handler_cancellation=cancel_handlers,
        auto_decompress=decompress,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        return HttpServer(runner)
    except BaseException:
        await runner.cleanup()
        raise


def probe_handler(check: Check) -> Handler:
    """Answers a probe: 200, or 503 with the reason."""

    async def handler(_: web.Request) -> web.Response:
        return probe_response(check())

    return handler


def probe_response(reason: str | None) -> web.Response:
    """The response to a probe: 200 where there is no reason against it, else 503 with the reason."""
    if reason is None:
        return web.Response(text="ok\n")
    return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, text=reason + "\n")


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
