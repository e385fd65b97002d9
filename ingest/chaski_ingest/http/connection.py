"""aiohttp's connection of a server, with a shorter way for nearly all requests: small ones, whole on arrival.

aiohttp makes a task, a request, a writer and a response for every request; together they take longer than judging a
message does. A request of HTTP/1.1 that is here as a whole, and after which the connection stays open, needs none of
them: it is parsed by aiohttp, and answered with the bytes of its reply. With the first request of any other kind the
connection goes over to aiohttp's own way, and stays there.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import HttpVersion11, web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler

from chaski_ingest.http import problems
from chaski_ingest.http.connection_limit import Connections
from chaski_ingest.http.request import BufferedRequest
from chaski_ingest.http.responses import Response, problem_reply

Answer = Callable[[BufferedRequest], Awaitable[Response]]


class Connection(RequestHandler):
    """One connection. `answer` never raises."""

    def __init__(
        self, manager: web.Server, answer: Answer, connections: Connections, max_head_bytes: int, **options: Any
    ) -> None:
        super().__init__(manager, **options)
        self._answer = answer
        self._connections = connections
        self._max_head_bytes = max_head_bytes
        self._head_bytes = 0  # of a request whose head is not complete
        self._arriving: StreamReader = EMPTY_PAYLOAD  # the body of the latest request
        self._used = False  # whether a request came since `may_go`

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        super().connection_made(transport)
        if not self._connections.opened(self):
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Called by the loop, once."""
        super().connection_lost(exc)
        self._connections.closed(self)
        self._release_head()

    def data_received(self, data: bytes) -> None:
        """Called by the loop. Bytes that complete no request belong to a body, or to a head that is not complete."""
        in_head = not self._messages and self._arriving.is_eof()
        super().data_received(data)
        if not self._messages:
            if in_head:
                self._count_head(len(data))
            return
        message, payload = self._messages[-1]
        if not in_head and not isinstance(message, RawRequestMessage):
            self._break_body()
        self._arriving = payload
        if not self._used:
            self._used = True
            self._connections.requested(self)
        if self._head_bytes:
            self._release_head()

    def _break_body(self) -> None:
        """What came is no HTTP. Whoever reads a body is not left to wait for its end, and nothing follows its answer."""
        if not self._arriving.is_eof():
            self._arriving.set_exception(web.RequestPayloadError("the chunks are malformed"))
            self._arriving.feed_eof()
            self.close()

    def _count_head(self, size: int) -> None:
        if self._connections.take_head(size):
            self._head_bytes += size
            if self._head_bytes <= self._max_head_bytes:
                return
        if self.transport is not None and self._waiter is not None:
            problem = problems.of_status(431, f"request line and headers have more than {self._max_head_bytes} bytes")
            self.transport.write(problem_reply(problem, close=True).as_bytes(time.time()))
        self.force_close()

    def _release_head(self) -> None:
        self._connections.release_head(self._head_bytes)
        self._head_bytes = 0

    def may_go(self) -> bool:
        """Whether it waits for a request, and has made none since this was called before."""
        used, self._used = self._used, False
        return not used and not self._request_in_progress

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Called with every read of a body; there is mostly nothing to resume."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    async def start(self) -> None:
        """Called by aiohttp once the connection is made; ends with it."""
        try:
            await self._serve()
        except Exception as error:  # noqa: BLE001 - as aiohttp does: told, and nobody is left waiting
            self.log_exception("a connection failed in an unexpected way", exc_info=error)
            self.force_close()

    async def _serve(self) -> None:
        while not self._force_close:
            if not self._messages:
                await self._next_message()
                continue
            message, payload = self._messages[0]
            if not isinstance(message, RawRequestMessage) or not _is_simple(message, payload):
                return await super().start()
            self._messages.popleft()
            self._free_parser()
            body = payload.read_nowait(-1)
            if self._manager is not None:
                self._manager.requests_count += 1
            self._request_in_progress = True  # what a shutdown waits for
            try:
                reply = await self._answer(BufferedRequest(message.method, message.path, message.headers, body))
            finally:
                self._answered()
            if self.transport is None:
                return None
            self.transport.write(reply.as_bytes(time.time()))
            if reply.close or self._close or not await self._taken():
                break
            self._restart_keepalive()
        if not self._force_close:
            self._task_handler = None
            if self.transport is not None:
                self.transport.close()
        return None

    async def _taken(self) -> bool:
        """Waits for a client that reads slowly; False where it is gone."""
        if self._paused:
            try:
                await self._drain_helper()
            except ConnectionError:
                return False
        return True

    async def _next_message(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _free_parser(self) -> None:
        # As in aiohttp's `start`: a slot of the parser is free again, and reading goes on where it was stopped.
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()

    def _answered(self) -> None:
        self._request_in_progress = False
        if self._handler_waiter is not None and not self._handler_waiter.done():
            self._handler_waiter.set_result(None)

    def _restart_keepalive(self) -> None:
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what no handler saw: a request that is no HTTP, headers beyond their limits."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun already, so no other can be given")
        if exc is not None and status >= 500:
            self.log_exception("a request failed in an unexpected way", exc_info=exc)
            message = None
        cause = (message or "").partition("\n")[0]  # what follows shows the bytes, with a caret below
        return problem_reply(problems.of_status(status, cause.rstrip(":")), close=True).as_response()


def _is_simple(message: RawRequestMessage, payload: StreamReader) -> bool:
    return (
        message.method == "POST"
        and payload.is_eof()
        and not message.should_close
        and not message.upgrade
        and message.version == HttpVersion11
        and payload.exception() is None
    )
