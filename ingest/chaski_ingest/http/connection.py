"""A server connection of aiohttp with a fast path for most requests: small ones that arrive in one piece.

aiohttp makes a task, a request, a writer and a response for every request; together they take longer than validating a
message does. An HTTP/1.1 request that has arrived completely, on a connection that stays open, needs none of them: aiohttp
parses it, and the bytes of the response are written directly. From the first request of any other kind on, aiohttp serves
the connection in its usual way.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import HttpVersion11, web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler

from chaski_ingest import problems
from chaski_ingest.http.connection_limit import ConnectionLimiter
from chaski_ingest.http.request import BufferedRequest
from chaski_ingest.http.responses import Response, problem_response

Respond = Callable[[BufferedRequest], Awaitable[Response]]


class Connection(RequestHandler):
    """One connection. `respond` never raises."""

    def __init__(
        self, manager: web.Server, respond: Respond, limiter: ConnectionLimiter, max_head_bytes: int, **options: Any
    ) -> None:
        super().__init__(manager, **options)
        self._respond = respond
        self._limiter = limiter
        self._max_head_bytes = max_head_bytes
        self._head_bytes = 0  # of a request whose head is not complete
        self._latest_body: StreamReader = EMPTY_PAYLOAD  # of the latest request
        self._used = False  # whether a request arrived since `clear_used`

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if not self._limiter.add(self):
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._limiter.remove(self)
        self._release_head()

    def data_received(self, data: bytes) -> None:
        """Parses received bytes. Those that complete no request belong to a body, or to a head that is not complete."""
        in_head = not self._messages and self._latest_body.is_eof()
        super().data_received(data)
        if not self._messages:
            if in_head:
                self._count_head(len(data))
            return
        message, payload = self._messages[-1]
        if not in_head and not isinstance(message, RawRequestMessage):
            self._break_body()
        self._latest_body = payload
        if not self._used:
            self._used = True
            self._limiter.mark_used(self)
        if self._head_bytes:
            self._release_head()

    def _break_body(self) -> None:
        """Ends a body that is not valid HTTP: its reader gets an error, and the connection closes after the response."""
        if not self._latest_body.is_eof():
            self._latest_body.set_exception(web.RequestPayloadError("the chunks are malformed"))
            self._latest_body.feed_eof()
            self.close()

    def _count_head(self, size: int) -> None:
        if self._limiter.reserve_head(size):
            self._head_bytes += size
            if self._head_bytes <= self._max_head_bytes:
                return
        if self.transport is not None and self._waiter is not None:
            problem = problems.of_status(431, f"request line and headers have more than {self._max_head_bytes} bytes")
            self.transport.write(problem_response(problem, close=True).to_bytes(time.time()))
        self.force_close()

    def _release_head(self) -> None:
        self._limiter.release_head(self._head_bytes)
        self._head_bytes = 0

    def clear_used(self) -> bool:
        """Clears its mark of use; True if it was idle and not marked."""
        used, self._used = self._used, False
        return not used and not self._request_in_progress

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Skips aiohttp's work where reading is not paused; called with every read of a body."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    async def start(self) -> None:
        """Serves the connection until it ends; called by aiohttp."""
        try:
            await self._serve()
        except Exception as error:  # noqa: BLE001 - logged, and the client is disconnected, as aiohttp does
            self.log_exception("unexpected internal error on a connection", exc_info=error)
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
                response = await self._respond(BufferedRequest(message.method, message.path, message.headers, body))
            finally:
                self._request_done()
            if self.transport is None:
                return None
            self.transport.write(response.to_bytes(time.time()))
            if response.close or self._close or not await self._drained():
                break
            self._restart_keepalive()
        if not self._force_close:
            self._task_handler = None
            if self.transport is not None:
                self.transport.close()
        return None

    async def _drained(self) -> bool:
        """Waits for a client that reads slowly; False where it has disconnected."""
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
        # As in aiohttp's `start`: frees a slot of the parser, and resumes reading where that was paused.
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()

    def _request_done(self) -> None:
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
        """The response to a request that reaches no handler: it is not valid HTTP, or its headers are beyond their limits."""
        if request.writer.output_size > 0:
            raise ConnectionError("a response was already started")
        if exc is not None and status >= 500:
            self.log_exception("unexpected internal error during a request", exc_info=exc)
            message = None
        cause = (message or "").partition("\n")[0]  # the rest shows the bytes, with a caret below
        return problem_response(problems.of_status(status, cause.rstrip(":")), close=True).to_aiohttp()


def _is_simple(message: RawRequestMessage, payload: StreamReader) -> bool:
    return (
        message.method == "POST"
        and payload.is_eof()
        and not message.should_close
        and not message.upgrade
        and message.version == HttpVersion11
        and payload.exception() is None
    )
