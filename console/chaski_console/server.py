"""The console's HTTP server."""

from aiohttp import web

from chaski_console.app import Console
from chaski_console.auth.authenticators import Authenticator, FormTokens, NoAuthentication
from chaski_console.auth.middleware import AuthMiddleware
from chaski_console.data.live_updates import LiveUpdates
from chaski_console.data.views import Sources
from chaski_console.tracing import spans
from chaski_core.ports import Clock
from chaski_runtime.observability.tracing import Tracing

_STOP_SECONDS = 1.0  # open pages only see their connection close


class ConsoleServer:
    """A running console. `port` is the port in use, also if 0 was requested."""

    def __init__(self, runner: web.AppRunner, port: int) -> None:
        self._runner = runner
        self.port = port

    async def close(self) -> None:
        """Stops listening and closes open connections."""
        await self._runner.cleanup()


async def start(
    host: str,
    port: int,
    sources: Sources,
    clock: Clock,
    authenticator: Authenticator | None = None,
    tracing: Tracing | None = None,
) -> ConsoleServer:
    """Serves until closed.

    Args:
        host: address to listen on.
        port: 0 for any free port.
        sources: what the console reads from.
        clock: time.
        authenticator: identifies users; None: no authentication, for loopback addresses only.
        tracing: makes a span for each request; None: no spans.

    Raises:
        OSError: the address is in use or invalid.
    """
    middleware = AuthMiddleware(authenticator or NoAuthentication(host), FormTokens())
    app = Console(sources, LiveUpdates(sources.routes), middleware, clock).app()
    if tracing is not None:
        app.middlewares.insert(0, spans(tracing))
    runner = web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=_STOP_SECONDS,
        handler_cancellation=True,
        auto_decompress=False,  # compressed forms are refused
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except BaseException:
        await runner.cleanup()
        raise
    return ConsoleServer(runner, runner.addresses[0][1])
