"""The console's HTTP server."""

from chaski_console.app import Console
from chaski_console.auth.authenticators import Authenticator, FormTokens, NoAuthentication
from chaski_console.auth.middleware import AuthMiddleware
from chaski_console.data.live_updates import LiveUpdates
from chaski_console.data.views import Sources
from chaski_console.tracing import spans
from chaski_core.ports import Clock
from chaski_runtime.observability.tracing import Tracing
from chaski_runtime.process import http_server
from chaski_runtime.process.http_server import HttpServer

_STOP_SECONDS = 1.0  # open pages only see their connection close


async def start(
    host: str,
    port: int,
    sources: Sources,
    clock: Clock,
    authenticator: Authenticator | None = None,
    tracing: Tracing | None = None,
) -> HttpServer:
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
    return await http_server.start(app, host, port, stop_seconds=_STOP_SECONDS, cancel_handlers=True, decompress=False)
