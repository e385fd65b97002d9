"""The HTTP server of ingest, from start to drain, and its TLS certificate.

aiohttp's low-level server calls `Ingest.handle` directly: its router and middlewares would cost as much as validating a
message does.
"""

import asyncio
import resource
import ssl
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from aiohttp import HttpVersion10, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from chaski_ingest import problems
from chaski_ingest.http.app import Ingest
from chaski_ingest.http.connection import Connection, Respond
from chaski_ingest.http.connection_limit import ConnectionLimiter
from chaski_ingest.http.responses import problem_response
from chaski_runtime.process.file_reloader import Contents, ReloadedFiles
from chaski_runtime.process.health import Check

_OTHER_DESCRIPTORS = 256  # connections to AWS and the API server, files, and a burst of accepts
_BACKLOG = 4_096  # connections that the kernel queues while the loop is busy; beyond it clients retry after a second
_CERTIFICATE_CHECK_SECONDS = 5.0


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
        self._runner: web.ServerRunner | None = None

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listens, with TLS where a context is given; returns the port, which is a free one for `port` 0.

        Raises:
            OSError: it can't listen on the address.
        """
        settings = self._ingest.settings
        server = _Server(
            self._ingest.respond,
            self._handle,
            ConnectionLimiter(max_open_connections(settings.max_connections), settings.max_heads_bytes),
            settings.max_head_bytes,
            request_factory=self._make_request,
            access_log=None,  # metrics count requests; a log line would cost more than the request
            keepalive_timeout=settings.keep_alive_seconds,
            lingering_time=settings.linger_seconds,
            auto_decompress=False,  # compressed bodies are refused
        )
        runner = web.ServerRunner(server, shutdown_timeout=settings.drain_seconds)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port, backlog=_BACKLOG, ssl_context=tls).start()
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner
        return int(runner.addresses[0][1])

    def ready(self) -> str | None:
        """Why requests are not accepted, or None: for `/readyz`."""
        if self._ingest.draining:
            return "draining"
        return None if self._runner is not None else "not started"

    async def drain(self) -> None:
        """Stops listening, answers 503 on connections that are still open, and waits for requests in progress.

        Takes the settings' `drain_seconds`, or at most twice that; then the remaining requests are cut off without a response.
        """
        self._ingest.draining = True
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        await self._ingest.drain()

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        if request.version < HttpVersion10:
            # A request line without a version: for a reader of HTTP/0.9 the request ends there, for the parser headers follow.
            return problem_response(problems.of_status(400, "the request has no HTTP version"), close=True).to_aiohttp()
        probe = self._probes.get(request.raw_path)
        if probe is None:
            return await self._ingest.handle(request)
        reason = probe()
        if reason is None:
            return web.Response(text="ok\n")
        return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, text=reason + "\n")

    def _make_request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        limit = self._ingest.settings.max_batch_bytes
        loop = asyncio.get_running_loop()
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=limit)


class _Server(web.Server):
    """Makes connections that call `respond` on their fast path."""

    def __init__(
        self,
        respond: Respond,
        handler: Callable[[web.BaseRequest], Awaitable[web.Response]],
        limiter: ConnectionLimiter,
        max_head_bytes: int,
        **options: Any,
    ) -> None:
        super().__init__(handler, **options)
        self._respond = respond
        self._limiter = limiter
        self._max_head_bytes = max_head_bytes

    def __call__(self) -> RequestHandler:
        return Connection(self, self._respond, self._limiter, self._max_head_bytes, loop=self._loop, **self._kwargs)


def max_open_connections(most: int) -> int:
    """The limit of open connections: `most`, or fewer where the process may not have as many descriptors."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if soft == resource.RLIM_INFINITY else max(1, min(most, soft - _OTHER_DESCRIPTORS))


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
