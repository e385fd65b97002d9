"""The ingest on a port of its own, from start to drain.

aiohttp's low-level server calls `Ingest.handle` itself: its router and middlewares would cost as much as judging a
message does.
"""

import asyncio
import resource
import ssl
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import HttpVersion10, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from chaski_ingest.http import problems
from chaski_ingest.http.app import Ingest
from chaski_ingest.http.connection import Answer, Connection
from chaski_ingest.http.connection_limit import Connections
from chaski_ingest.http.responses import problem_reply
from chaski_runtime.process.health import Judgement

_OTHER_DESCRIPTORS = 256  # connections to AWS and the API server, files, and what a burst of accepts takes at once
_BACKLOG = (
    4_096  # connections that the kernel holds for us while the loop is busy; beyond it clients ask again after a second
)


class IngestServer:
    """Listens, and stops without losing a request."""

    def __init__(self, ingest: Ingest, probes: Mapping[str, Judgement] | None = None) -> None:
        """Serves `ingest` once started.

        Args:
            ingest: answers the requests.
            probes: paths, such as `/readyz`, that are answered here too, and what judges them.
        """
        self._ingest = ingest
        self._probes = dict(probes or {})
        self._runner: web.ServerRunner | None = None

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listens, with TLS where there is a context for it; returns the real port where 0 was asked for.

        Raises:
            OSError: the address can't be listened on.
        """
        settings = self._ingest.settings
        server = _Server(
            self._ingest.answer,
            self._handle,
            Connections(connection_limit(settings.max_connections), settings.max_heads_bytes),
            settings.max_head_bytes,
            request_factory=self._make_request,
            access_log=None,  # metrics count requests; a line for each would cost more than the request
            keepalive_timeout=settings.keep_alive_seconds,
            lingering_time=settings.linger_seconds,
            auto_decompress=False,  # compressed bodies are refused, so none is unpacked
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
        """None while requests are taken, else why not: for `/readyz`."""
        if self._ingest.draining:
            return "draining"
        return None if self._runner is not None else "not started"

    async def drain(self) -> None:
        """Stops listening, answers 503 on connections that are still open, and waits for what is under way.

        Takes at most the settings' `drain_seconds`, twice in the extreme: then what is left is cut off, unanswered.
        """
        self._ingest.draining = True
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        await self._ingest.drain()

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        if request.version < HttpVersion10:
            # A request line without a version. To whoever reads HTTP/0.9 the request ends there; to the parser it has headers.
            return problem_reply(problems.of_status(400, "the request names no HTTP version"), close=True).as_response()
        judge = self._probes.get(request.raw_path)
        if judge is None:
            return await self._ingest.handle(request)
        reason = judge()
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
    """Makes connections that ask `answer` where they can."""

    def __init__(
        self,
        answer: Answer,
        handler: Callable[[web.BaseRequest], Awaitable[web.Response]],
        connections: Connections,
        max_head_bytes: int,
        **options: Any,
    ) -> None:
        super().__init__(handler, **options)
        self._answer = answer
        self._open = connections
        self._max_head_bytes = max_head_bytes

    def __call__(self) -> RequestHandler:
        return Connection(self, self._answer, self._open, self._max_head_bytes, loop=self._loop, **self._kwargs)


def connection_limit(most: int) -> int:
    """How many connections may be open: `most`, or what the process's descriptors leave beside its other files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if soft == resource.RLIM_INFINITY else max(1, min(most, soft - _OTHER_DESCRIPTORS))
