"""Connections whose answers can be trusted to belong to the request that was sent.

Dialling, TLS, proxies and the parsing of answers are aiohttp's. Its own handling of connections leaves three gaps that
matter where an answer decides whether a message is deleted:

- bytes that came unasked while a connection lay in the pool (a 408 before the server closes it, an answer given twice)
  are taken as the answer to the next request;
- a connection that the server has closed, but whose end the loop has not seen yet, is used again;
- an error in the body that arrives in the same packet as the headers makes the whole answer an error;
- answers of other protocols (RTSP/1.0, ICE/1.0) and of other versions (HTTP/2.0) are taken for HTTP/1.1.

And one that costs time: what an answer holds beside its body (1xx answers, chunk extensions, trailers) is read for as
long as it comes.
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
_BUFFERED_BYTES = 262_144  # of a body that nobody has read yet; beyond twice that, the socket waits
_WITHOUT_BODY = frozenset({204, 304})
_BYTES = re.compile(r"[:\n]|b?['\"]")  # where a text of aiohttp's may go on with what came

Headed = tuple[RawResponseMessage, StreamReader]


class ResponseTooLongError(aiohttp.ClientPayloadError):
    """More came than any answer needs."""


class HttpResponseHandler(ResponseHandler):
    """One connection.

    Until the first `ask` it is a plain handler of aiohttp's, which speaks with a proxy on the way to a tunnel.

    Args:
        loop: the running one.
        answer_bytes: of one answer, in all that it is made of; what is longer is cut off.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, answer_bytes: int) -> None:
        super().__init__(loop)
        self._answer_bytes = answer_bytes
        self._received_bytes = 0  # since the request was sent
        self._poll: select.poll | None = None
        self._headed: asyncio.Future[Headed] | None = None  # of the request under way
        self._start = b""  # of the head that comes now, an interim answer's or the answer's
        self._tail = b""  # its last bytes, which may be the first ones of its end

    def ask(self, request: bytes, *, without_body: bool) -> asyncio.Future[Headed]:
        """Sends a request; the headers of its answer, once they are complete, and its body, which may still come.

        Args:
            request: head and body.
            without_body: the answer has none, whatever its headers say.

        Raises:
            aiohttp.ServerDisconnectedError: the connection is closed.
        """
        transport = self.transport
        if transport is None:
            raise aiohttp.ServerDisconnectedError
        if self._headed is None or without_body or self._skip_payload:  # else it goes on after the last answer's end
            self._parser = _new_parser(self, self._loop, without_body=without_body)
        self._received_bytes = 0
        self._skip_payload = without_body
        self._payload = None
        self._start = self._tail = b""
        self._headed = self._loop.create_future()
        transport.write(request)
        return self._headed

    @property
    def answered_whole(self) -> bool:
        """Whether the last answer is complete, and the connection fit for another request."""
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
        """Whether the connection can take another request. Asked only of connections that lie in the pool."""
        transport = self.transport
        return (
            transport is not None and not transport.is_closing() and not self._should_close and not self._has_unread()
        )

    def data_received(self, data: bytes) -> None:
        """Hands over headers and body apart, so that the headers count whatever the body is."""
        headed = self._headed
        if headed is None:
            super().data_received(data)
            return
        self._received_bytes += len(data)
        if self._received_bytes > self._answer_bytes:
            self._cut_off()
        elif self._payload is not None and not self._payload.is_eof():
            self._feed_body(data)
        elif not headed.done():
            self._feed_headers(headed, data)
        elif data:
            self._should_close = True  # an answer to nothing; what was asked for is answered already

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Called with every read of a body; there is mostly nothing to resume."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Called by the loop."""
        super().connection_lost(exc)
        headed = self._headed
        if headed is not None and not headed.done():
            headed.set_exception(self._exception or aiohttp.ServerDisconnectedError())
            self._exception = None

    def _feed_headers(self, headed: asyncio.Future[Headed], data: bytes) -> None:
        position = 0
        while position < len(data) and not headed.done():  # interim answers come before the one that counts
            if not self._is_http(data, position):
                self._break_off(_other_protocol())
                return
            end = self._end_of_head(data, position)
            self._feed(headed, data[position:end])
            position = end
        if position == len(data):
            return
        if self._payload is not None and not self._payload.is_eof():
            self._feed_body(data[position:])
        else:
            self._should_close = True  # an answer to nothing

    def _is_http(self, data: bytes, position: int) -> bool:
        """Whether the head that goes on at a position is of an HTTP/1 answer, as far as can be seen yet."""
        start = self._start
        if len(start) == _START_BYTES:
            return True
        start = self._start = start + data[position : position + _START_BYTES - len(start)]
        return start in _STARTS or any(known.startswith(start) for known in _STARTS)

    def _end_of_head(self, data: bytes, position: int) -> int:
        """Where the head ends that goes on at a position; the data's length where its end is still to come."""
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

    def _feed(self, headed: asyncio.Future[Headed], data: bytes) -> None:
        assert self._parser is not None  # noqa: S101 - made by `ask`
        try:
            messages, self._upgraded, _ = self._parser.feed_data(data)
        except HttpProcessingError as error:
            self._break_off(HttpProcessingError(code=error.code, message=_in_own_words(error)))
            return
        for position, (message, payload) in enumerate(messages):
            if 100 <= message.code <= 199 and message.code != 101:
                self._start = b""
                continue
            if message.should_close:
                self._should_close = True
            if headed.done():
                self._should_close = True
                return
            if position:  # after an interim answer whose lines end in an odd way: how this one began was not seen
                self._break_off(_other_protocol())
                return
            self._payload = payload
            without = self._skip_payload or message.code in _WITHOUT_BODY
            headed.set_result((message, EMPTY_PAYLOAD if without else payload))

    def _feed_body(self, data: bytes) -> None:
        assert self._parser is not None  # noqa: S101 - made by `ask`
        try:
            messages, self._upgraded, _ = self._parser.feed_data(data)
        except HttpProcessingError:
            self._break_off(aiohttp.ClientPayloadError("the body is broken"))
            return
        if messages:
            self._should_close = True

    def _break_off(self, error: Exception) -> None:
        """The answer ends here: the headers, where they are not complete yet, else the body."""
        self._should_close = True
        if self._headed is not None and not self._headed.done():
            self._headed.set_exception(error)
        if self._payload is not None and not self._payload.is_eof():
            self._payload.set_exception(error)
        if self.transport is not None:
            self.transport.close()

    def _cut_off(self) -> None:
        self._break_off(ResponseTooLongError(f"the answer has more than {self._answer_bytes} bytes"))

    def _has_unread(self) -> bool:
        # Readable without having been asked means closed by the server, or an answer to nothing.
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


def _in_own_words(error: HttpProcessingError) -> str:
    """What the parser found, without the bytes that it shows: they may be a header's value."""
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

    def __init__(self, *, answer_bytes: int, **options: Any) -> None:
        super().__init__(ttl_dns_cache=DNS_CACHE_SECONDS, **options)
        # aiohttp has no public way to say this.
        self._factory = functools.partial(_handler, loop=self._loop, answer_bytes=answer_bytes)


def _handler(loop: asyncio.AbstractEventLoop, answer_bytes: int) -> ResponseHandler:
    return HttpResponseHandler(loop, answer_bytes)
