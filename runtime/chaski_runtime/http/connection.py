"""One connection: a request is one write, and its response is never taken for the response to another request."""

import asyncio
import select
from enum import Enum, auto
from typing import cast

from chaski_runtime.http.errors import DisconnectedError, HttpError
from chaski_runtime.http.framing import Phase, ReceivedResponse, ResponseReader

_BUFFERED_BYTES = 262_144  # of a body that was not read yet; beyond, the socket is not read


class State(Enum):
    """What a connection waits for."""

    IDLE = auto()  # a request
    HEAD = auto()  # the headers of the response to the request that was sent
    BODY = auto()  # the rest of that response
    CLOSED = auto()  # nothing: it takes no further request


# Bound once: with CPython 3.11 each access through the class takes 0.1 µs.
_IDLE, _HEAD, _BODY, _CLOSED = State.IDLE, State.HEAD, State.BODY, State.CLOSED
_HEAD_PHASE, _BODY_PHASE, _COMPLETE_PHASE = Phase.HEAD, Phase.BODY, Phase.COMPLETE


class HttpConnection(asyncio.Protocol):
    """A connection to a server, of which each request is one write.

    It is closed by whatever leaves unclear to which request the next bytes belong: an invalid or too long response, bytes
    that no request asked for, a request that its caller has given up.

    Args:
        loop: the running one.
        max_response_bytes: of one response, headers and framing included; a longer one is cut off.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, max_response_bytes: int) -> None:
        self._loop = loop
        self._state = _CLOSED  # until it is made
        self._transport: asyncio.Transport | None = None
        self._reader = ResponseReader(max_response_bytes)
        self._response = self._reader.response
        self._head: asyncio.Future[ReceivedResponse] | None = None
        self._arrival: asyncio.Future[None] | None = None  # a reader waits for more of the body
        self._paused = False
        self._poll: select.poll | None = None

    def send(self, request: bytes, *, without_body: bool) -> asyncio.Future[ReceivedResponse]:
        """Sends a request. The future yields its response once the headers are complete; the body may still arrive.

        Args:
            request: head and body.
            without_body: the response has no body, whatever its headers say.

        Raises:
            DisconnectedError: the connection is closed. So does the future, or with another HttpError or OSError.
        """
        if self._state is not _IDLE or self._transport is None:
            raise DisconnectedError
        self._state = _HEAD
        self._response = self._reader.start(without_body=without_body)
        self._head = self._loop.create_future()
        self._transport.write(request)
        return self._head

    async def read_into(self, response: ReceivedResponse, body: bytearray, limit: int) -> None:
        """Appends to `body` until the response ends or `body` has at least `limit` bytes.

        Args:
            response: of the last request.
            body: gets what has arrived even where an error is raised.
            limit: in bytes.

        Raises:
            HttpError, OSError: the body is broken or incomplete.
        """
        while True:
            if response.body:
                body += response.body
                response.body.clear()
            if len(body) >= limit:
                return
            if response.ended:
                if response.error is not None:
                    raise response.error
                return
            self._resume()
            arrival = self._arrival = self._loop.create_future()
            await arrival

    @property
    def reusable(self) -> bool:
        """Whether the last response is complete and the connection can take another request."""
        transport = self._transport
        return self._state is _IDLE and transport is not None and not transport.get_write_buffer_size()

    def is_connected(self) -> bool:
        """Whether an idle connection can take another request."""
        transport = self._transport
        return (
            self._state is _IDLE
            and transport is not None
            and not transport.is_closing()
            and not self._has_unread(transport)
        )

    def close(self, *, abort: bool = False) -> None:
        """Closes it; a response that is not complete fails.

        Args:
            abort: does not wait for the server's part of the end of TLS.
        """
        transport = self._transport
        self._end(DisconnectedError())
        if transport is not None and abort:
            transport.abort()

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It can take a request from now on."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's classes are no subclasses
        self._state = _IDLE

    def data_received(self, data: bytes) -> None:
        """Reads a part of the response."""
        if self._state is _IDLE:
            self._end(DisconnectedError())  # no request asked for it
        elif self._state is not _CLOSED:
            try:
                self._reader.feed(data)
            except HttpError as error:
                self._end(error)
            else:
                self._advance()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        error = exc
        if error is None and self._state in (_HEAD, _BODY):
            try:
                self._reader.feed_eof()
            except HttpError as incomplete:
                error = incomplete
        self._end(error)
        self._transport = None

    def _advance(self) -> None:
        phase = self._reader.phase
        if phase is _HEAD_PHASE:
            return
        if self._state is _HEAD:
            self._answer()
        if phase is not _COMPLETE_PHASE:
            self._wake()
            if len(self._response.body) > _BUFFERED_BYTES and self._transport is not None and not self._paused:
                self._paused = True
                self._transport.pause_reading()
        elif self._reader.keep_alive:
            if self._paused:
                self._resume()
            self._response.ended = True
            self._state = _IDLE
            if self._arrival is not None:
                self._wake()
        else:
            self._end(None)

    def _answer(self) -> None:
        """The headers are complete: they count whatever the body is."""
        self._state = _BODY
        if self._head is not None and not self._head.done():
            self._head.set_result(self._response)

    def _end(self, error: Exception | None) -> None:
        """Closes the connection; `error` is that of the response under way, unless it is complete."""
        if self._state is _CLOSED:
            return
        if self._state is _HEAD and self._reader.phase is not _HEAD_PHASE:
            self._answer()
        state, self._state = self._state, _CLOSED
        if state is _HEAD and self._head is not None and not self._head.done():
            self._head.set_exception(error or DisconnectedError())
        elif state is _BODY:
            self._response.error = error if self._reader.phase is _BODY_PHASE else None
            self._response.ended = True
            self._wake()
        if self._transport is not None:
            self._transport.close()

    def _wake(self) -> None:
        arrival, self._arrival = self._arrival, None
        if arrival is not None and not arrival.done():
            arrival.set_result(None)

    def _resume(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def _has_unread(self, transport: asyncio.Transport) -> bool:
        # Readable while idle means closed by the server, or bytes that no request asked for; the loop sees it later.
        if self._poll is None:
            descriptor = transport.get_extra_info("socket").fileno()
            if descriptor < 0:
                return True
            self._poll = select.poll()
            self._poll.register(descriptor, select.POLLIN)
        return bool(self._poll.poll(0))
