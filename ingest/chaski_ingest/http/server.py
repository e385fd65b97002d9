"""The HTTP server of ingest, from start to drain, and its TLS certificate."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path

from chaski_ingest.http.app import Ingest
from chaski_ingest.http.connection import Connection, Shared
from chaski_ingest.http.connection_limit import ConnectionLimiter, max_open_connections
from chaski_ingest.http.request import Request
from chaski_ingest.http.responses import SERVER, Response
from chaski_runtime.process.file_reloader import Contents, ReloadedFiles
from chaski_runtime.process.http_server import Check, listening_sockets

_BACKLOG = 4_096  # connections that the kernel queues while the loop is busy; beyond it clients retry after a second
_CERTIFICATE_CHECK_SECONDS = 5.0
_TEXT_HEADERS = (("Content-Type", "text/plain; charset=utf-8"), SERVER)


class IngestServer:
    """A server that stops without losing a request."""

    def __init__(self, ingest: Ingest, probes: Mapping[str, Check] | None = None) -> None:
        """Serves `ingest` once started.

        Args:
            ingest: answers the requests.
            probes: paths, such as `/readyz`, that are served here too, and their checks.
        """
        self._ingest = ingest
        self._probes = dict(probes or {})
        settings = ingest.settings
        limiter = ConnectionLimiter(max_open_connections(settings.max_connections), settings.max_heads_bytes)
        self._shared = Shared(self._respond if probes else ingest.respond, limiter, settings)
        self._servers: list[asyncio.Server] = []  # one for each family of addresses

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listens, with TLS where a context is given; returns the port, which is a free one for `port` 0.

        Args:
            host: an address, or `EVERY_ADDRESS`.
            port: 0 for any free one.
            tls: None: plain HTTP.

        Raises:
            OSError: it can't listen on the address.
        """
        loop, shared = asyncio.get_running_loop(), self._shared
        sockets = listening_sockets(host, port)
        for each in sockets:
            server = await loop.create_server(lambda: Connection(shared), sock=each, backlog=_BACKLOG, ssl=tls)
            self._servers.append(server)
        return int(sockets[0].getsockname()[1])

    def ready(self) -> str | None:
        """Why requests are not accepted, or None: for `/readyz`."""
        if self._ingest.draining:
            return "draining"
        return None if self._servers else "not started"

    async def drain(self) -> None:
        """Stops listening, closes idle connections, and waits for requests in progress.

        Takes at most twice the settings' `drain_seconds`; then the remaining requests are cut off without a response.
        """
        self._ingest.draining = self._shared.draining = True
        if self._servers:
            for server in self._servers:
                server.close()
            self._servers.clear()
            await asyncio.sleep(0)  # requests that have arrived begin
            await self._stop_connections()
        await self._ingest.drain()

    async def _stop_connections(self) -> None:
        connections = self._shared.connections
        running = [task for connection in list(connections) if (task := connection.stop()) is not None]
        if running:
            await asyncio.wait(running, timeout=2 * self._ingest.settings.drain_seconds)
        for connection in list(connections):
            connection.cut_off()
        await asyncio.sleep(0)  # the transports close their sockets

    async def _respond(self, request: Request) -> Response:
        probe = self._probes.get(request.target)
        if probe is None or request.method == "POST":
            return await self._ingest.respond(request)
        reason = probe()
        return Response(200 if reason is None else 503, f"{reason or 'ok'}\n".encode(), _TEXT_HEADERS)


class ServerCertificate:
    """A TLS context with a certificate from files; new connections use a renewed one."""

    def __init__(self, certificate: Path, key: Path, monotonic: Callable[[], float]) -> None:
        """Loads certificate and key.

        Args:
            certificate: chain in PEM.
            key: in PEM, without a password.
            monotonic: seconds.

        Raises:
            OSError: they can't be read, or don't belong together (ssl.SSLError).
            ValueError: one of them does not exist.
        """
        self._files = certificate, key
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.set_alpn_protocols(["http/1.1"])
        self._reloaded = ReloadedFiles(self._files, self._load, monotonic, every_seconds=0.0)

    async def follow(self) -> None:
        """Checks for changes every five seconds, until cancelled."""
        while True:
            await asyncio.sleep(_CERTIFICATE_CHECK_SECONDS)
            self.refresh()

    def refresh(self) -> None:
        """Loads changed files; if they are invalid, the old certificate is kept and an error is logged."""
        self._reloaded.value()

    def _load(self, contents: Contents) -> None:
        missing = [str(file) for file, content in zip(self._files, contents, strict=True) if content is None]
        if missing:
            raise ValueError(f"{missing[0]} does not exist")
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            *self._files
        )  # a trial, so that an error leaves `context` usable
        self.context.load_cert_chain(*self._files)
