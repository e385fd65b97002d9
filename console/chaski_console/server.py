"""The console on a port of its own."""

from aiohttp import web

from chaski_console.app import Console
from chaski_console.auth.authenticators import Authenticator, Forms, NoAuthentication
from chaski_console.auth.middleware import AuthMiddleware
from chaski_console.data.live_updates import Live
from chaski_console.data.views import Sources
from chaski_console.tracing import spans
from chaski_core.ports import Clock
from chaski_runtime.observability.tracing import Tracing

_STOP_SECONDS = 1.0  # open pages are told by their connection's end


class ConsoleServer:
    """A running console; `port` is the real one where 0 was asked for."""

    def __init__(self, runner: web.AppRunner, port: int) -> None:
        self._runner = runner
        self.port = port

    async def close(self) -> None:
        """Stops listening and ends open connections."""
        await self._runner.cleanup()


async def start(
    host: str,
    port: int,
    sources: Sources,
    clock: Clock,
    door: Authenticator | None = None,
    tracing: Tracing | None = None,
) -> ConsoleServer:
    """Serves until closed.

    Args:
        host: address to listen on.
        port: 0 for any free one.
        sources: what the console reads from.
        clock: time.
        door: tells who asks; None: nobody is asked, which is for addresses of this machine.
        tracing: makes a span for each request; None: none.

    Raises:
        OSError: the address can't be listened on.
    """
    console = Console(sources, Live(sources.board), AuthMiddleware(door or NoAuthentication(host), Forms()), clock)
    app = console.app()
    if tracing is not None:
        app.middlewares.insert(0, spans(tracing))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_STOP_SECONDS, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except BaseException:
        await runner.cleanup()
        raise
    return ConsoleServer(runner, runner.addresses[0][1])
