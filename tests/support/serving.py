"""A server of the test's own: a target, an ingest, an API server that the test scripts."""

import contextlib
import ssl
from collections.abc import AsyncIterator

from aiohttp import web

from chaski_runtime.process.http_server import start_sites


@contextlib.asynccontextmanager
async def served_app(
    app: web.Application, tls: ssl.SSLContext | None = None, *, port: int = 0, cancel_handlers: bool = False
) -> AsyncIterator[str]:
    """Serves an application on 127.0.0.1; yields its URL without a path.

    Args:
        app: what to serve.
        tls: for HTTPS.
        port: 0 for any free one.
        cancel_handlers: whether a handler is cancelled when its client disconnects.
    """
    runner = web.AppRunner(app, access_log=None, handler_cancellation=cancel_handlers, shutdown_timeout=0.1)
    await start_sites(runner, lambda: [web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls, reuse_address=True)])
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
