"""Connections that never take the response to one request for the response to another.

aiohttp dials, does TLS and proxies, and parses responses. Its own handling of connections has four gaps that matter where
a response decides whether a message is deleted:

- unsolicited bytes that arrive while a connection is idle (a 408 before the server closes it, a response sent twice) are
  taken for the response to the next request;
- a connection that the server has closed, but whose end the loop has not seen yet, is used again;
- an error in the body that arrives in the same packet as the headers makes the whole response an error;
- responses of other protocols (RTSP/1.0, ICE/1.0) and of other versions (HTTP/2.0) are taken for HTTP/1.1.

And one that costs time: the parts of a response beside its body (1xx responses, chunk extensions, trailers) are read
without a limit.
"""

import asyncio
import functools
import re
import select
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError, HttpResponseParser, RawResponseMessage
from aiohttp.http_exceptions import InvalidHeader, LineTooLong
from aiohttp.http_parser import HttpParser
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

DNS_CACHE_SECONDS = 10
"""How long the addresses of a name are used without another lookup."""

_END_OF_HEADERS = b"\r\n\r\n"
_STARTS = (b"HTTP/1.1 ", b"HTTP/1.0 ")  # of a status line; the only versions that are read as HTTP/1 (RFC 9112 §2.3)
_START_BYTES = 9
_MAX_LINE_BYTES = 8_190
_MAX_FIELD_BYTES = 8_190
_MAX_HEADERS = 128
_BUFFERED_BYTES = 262_144  # of a body that was not read yet; beyond twice that, the socket is not read
_WITHOUT_BODY = frozenset({204, 304})
_BYTES = re.compile(r"[:\n]|b?['\"]")  # in a text of aiohttp's, received bytes may follow

ResponseHead = tuple[RawResponseMessage, StreamReader]


class ResponseTooLongError(aiohttp.ClientPayloadError):
    """A response is longer than its limit."""


class HttpResponseHandler(ResponseHandler):
    """One connection.

    Until the first `send` it is a plain handler of aiohttp's, which opens a tunnel through a proxy.

    Args:
        loop: the running one.
        max_response_bytes: of one response, headers and framing included; a longer one is cut off.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, max_response_bytes: int) -> None:
        super().__init__(loop)
        self._max_response_bytes = max_response_bytes
        self._received_bytes = 0  # since the request was sent
        self._poll: select.poll | None = None
        self._head: asyncio.Future[ResponseHead] | None = None  # of the request under way
        self._start = b""  # of the head that arrives now, of an interim response or the final one
        self._tail = b""  # its last bytes, which may be the start of its end

    def send(self, request: bytes, *, without_body: bool) -> asyncio.Future[ResponseHead]:
        """Sends a request. The future yields the complete headers of its response, and its body, which may still arrive.

        Args:
            request: head and body.
            without_body: the response has no body, whatever its headers say.

        Raises:
            aiohttp.ServerDisconnectedError: the connection is closed.
        """
        transport = self.transport
        if transport is None:
            raise aiohttp.ServerDisconnectedError
        # Otherwise the parser continues after the end of the last response.
        if self._head is None or without_body or self._skip_payload:
            self._parser = _new_parser(self, self._loop, without_body=without_body)
        self._received_bytes = 0
        self._skip_payload = without_body
        self._payload = None
        self._start = self._tail = b""
        self._head = self._loop.create_future()
        transport.write(request)
        return self._head

    @property
    def reusable(self) -> bool:
        """Whether the last response is complete and the connection can take another request."""
        payload, transport = self._payload, self.transport
        return (
            payload is not None
            and payload.is_eof()
            and not self._should_close
            and not self._upgraded
            and transport is not None
            and not transport.get_write_buffer_size()
        )

    def is_connected(self) -> bool:
        """Whether an idle connection can take another request."""
        transport = self.transport
        return (
            transport is not None and not transport.is_closing() and not self._should_close and not self._has_unread()
        )

    def data_received(self, data: bytes) -> None:
        """Parses headers and body separately, so that the headers count even where the body is broken."""
        head = self._head
        if head is None:
            super().data_received(data)
            return
        self._received_bytes += len(data)
        if self._received_bytes > self._max_response_bytes:
            self._cut_off()
        elif self._payload is not None and not self._payload.is_eof():
            self._feed_body(data)
        elif not head.done():
            self._feed_headers(head, data)
        elif data:
            self._should_close = True  # an unsolicited response: the request is answered already

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Called with every read of a body; mostly reading is not paused."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection was closed."""
        super().connection_lost(exc)
        head = self._head
        if head is not None and not head.done():
            head.set_exception(self._exception or aiohttp.ServerDisconnectedError())
            self._exception = None

    def _feed_headers(self, head: asyncio.Future[ResponseHead], data: bytes) -> None:
        position = 0
        while position < len(data) and not head.done():  # interim responses precede the final one
            if not self._is_http(data, position):
                self._break_off(_other_protocol())
                return
            end = self._end_of_head(data, position)
            self._feed(head, data[position:end])
            position = end
        if position == len(data):
            return
        if self._payload is not None and not self._payload.is_eof():
            self._feed_body(data[position:])
        else:
            self._should_close = True  # an unsolicited response

    def _is_http(self, data: bytes, position: int) -> bool:
        """Whether the head that continues at a position can be that of an HTTP/1 response."""
        start = self._start
        if len(start) == _START_BYTES:
            return True
        start = self._start = start + data[position : position + _START_BYTES - len(start)]
        return start in _STARTS or any(known.startswith(start) for known in _STARTS)

    def _end_of_head(self, data: bytes, position: int) -> int:
        """Where the head that continues at a position ends; the data's length where its end has not arrived."""
        tail = self._tail
        if tail and (found := (tail + data[: len(_END_OF_HEADERS)]).find(_END_OF_HEADERS)) >= 0:
            end = found + len(_END_OF_HEADERS) - len(tail)
        elif (found := data.find(_END_OF_HEADERS, position)) >= 0:
            end = found + len(_END_OF_HEADERS)
        else:
            self._tail = (tail + data[position:])[1 - len(_END_OF_HEADERS) :]
            return len(data)
        self._start = self._tail = b""
        return end

    def _feed(self, head: asyncio.Future[ResponseHead], data: bytes) -> None:
        assert self._parser is not None  # noqa: S101 - made by `send`
        try:
            messages, self._upgraded, _ = self._parser.feed_data(data)
        except HttpProcessingError as error:
            self._break_off(HttpProcessingError(code=error.code, message=_parser_reason(error)))
            return
        for position, (message, payload) in enumerate(messages):
            if 100 <= message.code <= 199 and message.code != 101:
                self._start = b""
                continue
            if message.should_close:
                self._should_close = True
            if head.done():
                self._should_close = True
                return
            if position:  # after an interim response with unusual line ends: the start of this one was not checked
                self._break_off(_other_protocol())
                return
            self._payload = payload
            without = self._skip_payload or message.code in _WITHOUT_BODY
            head.set_result((message, EMPTY_PAYLOAD if without else payload))

    def _feed_body(self, data: bytes) -> None:
        assert self._parser is not None  # noqa: S101 - made by `send`
        try:
            messages, self._upgraded, _ = self._parser.feed_data(data)
        except HttpProcessingError:
            self._break_off(aiohttp.ClientPayloadError("the body is broken"))
            return
        if messages:
            self._should_close = True

    def _break_off(self, error: Exception) -> None:
        """Fails the response: its headers where they are incomplete, else its body."""
        self._should_close = True
        if self._head is not None and not self._head.done():
            self._head.set_exception(error)
        if self._payload is not None and not self._payload.is_eof():
            self._payload.set_exception(error)
        if self.transport is not None:
            self.transport.close()

    def _cut_off(self) -> None:
        self._break_off(ResponseTooLongError(f"the response has more than {self._max_response_bytes} bytes"))

    def _has_unread(self) -> bool:
        # Readable while idle means closed by the server, or an unsolicited response.
        if self.transport is None:
            return True
        if self._poll is None:
            descriptor = self.transport.get_extra_info("socket").fileno()
            if descriptor < 0:
                return True
            self._poll = select.poll()
            self._poll.register(descriptor, select.POLLIN)
        return bool(self._poll.poll(0))


def _other_protocol() -> HttpProcessingError:
    return HttpProcessingError(code=400, message="its status line is neither HTTP/1.0 nor HTTP/1.1")


def _parser_reason(error: HttpProcessingError) -> str:
    """The reason of a parser's error, without the bytes that it shows: they may be a header's value."""
    if isinstance(error, InvalidHeader):
        return "a header is not valid"
    if isinstance(error, LineTooLong):
        return "a line of its head is too long"
    words, shown, _ = error.message.partition(":\n\n")  # llhttp's reason, and the line with a caret below
    return words if shown else _BYTES.split(error.message)[0]


def _new_parser(
    handler: HttpResponseHandler, loop: asyncio.AbstractEventLoop, *, without_body: bool
) -> "HttpParser[RawResponseMessage]":
    return HttpResponseParser(
        handler,
        loop,
        _BUFFERED_BYTES,
        payload_exception=aiohttp.ClientPayloadError,
        response_with_body=not without_body,
        read_until_eof=True,
        auto_decompress=False,
        max_line_size=_MAX_LINE_BYTES,
        max_field_size=_MAX_FIELD_BYTES,
        max_headers=_MAX_HEADERS,
    )


class Connector(aiohttp.TCPConnector):
    """Dials such connections. Needs a running loop."""

    def __init__(self, *, max_response_bytes: int, **options: Any) -> None:
        super().__init__(ttl_dns_cache=DNS_CACHE_SECONDS, **options)
        # aiohttp has no public option for this.
        self._factory = functools.partial(_handler, loop=self._loop, max_response_bytes=max_response_bytes)


def _handler(loop: asyncio.AbstractEventLoop, max_response_bytes: int) -> ResponseHandler:
    return HttpResponseHandler(loop, max_response_bytes)
