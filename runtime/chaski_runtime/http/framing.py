"""Where a response begins and ends: the bytes of one connection in, responses out, no I/O.

llhttp parses (through httptools, with the tolerance for servers that aiohttp's client has). Four things are added, which
matter where a response decides whether a message is deleted:

- a status line of another protocol (RTSP/1.0, ICE/1.0) or version (HTTP/2.0) is an error, where llhttp tolerates it;
- the headers count even where the body that arrives in the same packet is broken;
- bytes after a response are noticed, so that they are never taken for the response to the next request;
- heads, their lines and whole responses have a maximal length: 1xx responses, chunk extensions and trailers count.
"""

import re
from enum import Enum, auto

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from multidict import CIMultiDict, CIMultiDictProxy

from chaski_runtime.http.errors import BrokenBodyError, DisconnectedError, InvalidResponseError, ResponseTooLongError

_STARTS = (b"HTTP/1.1 ", b"HTTP/1.0 ")  # of a status line; the only versions that are read as HTTP/1 (RFC 9112 §2.3)
_START_BYTES = 9
_END_OF_HEAD = re.compile(rb"\n\r?\n")  # a line feed may end a line as well (RFC 9112 §2.2)
_END_BYTES = 3
_MAX_LINE_BYTES = 8_190
_MAX_HEADERS = 128
_MIN_FAULT_BYTES = 4 * _MAX_HEADERS  # of a head that has too many headers, or too long a line
_LINE_FRAME_BYTES = 64  # of a line beside the name and the value of a header, or beside the reason of a status line
_SWITCHING_PROTOCOLS = 101
_LONG_LINE = "a line of its head is too long"


class Phase(Enum):
    """The part of a response that arrives next."""

    HEAD = auto()  # of an interim response or the final one
    BODY = auto()
    COMPLETE = auto()


# Bound once: with CPython 3.11 each access through the class takes 0.1 µs, and there are twenty in a response.
_HEAD, _BODY, _COMPLETE = Phase.HEAD, Phase.BODY, Phase.COMPLETE


class ReceivedResponse:
    """A final response as far as it has arrived."""

    __slots__ = ("body", "ended", "error", "fields", "reason", "status")

    def __init__(self) -> None:
        self.status = 0
        self.reason = ""
        self.fields: list[tuple[bytes, bytes]] = []  # names and values of the headers, as received
        self.body = bytearray()  # what has arrived and was not read yet
        self.ended = False  # nothing more will arrive
        self.error: Exception | None = None  # of the body, once `ended`

    def headers(self) -> CIMultiDictProxy[str]:
        """The headers; bytes that are not UTF-8 as surrogates."""
        return CIMultiDictProxy(CIMultiDict([(_text(name), _text(value)) for name, value in self.fields]))


class ResponseReader:
    """Reads the responses of one connection, one after the other.

    Args:
        max_bytes: of one response, headers and framing included.
    """

    def __init__(self, max_bytes: int) -> None:
        self.phase = _COMPLETE
        self.keep_alive = False  # once the head is complete: the connection can be used again after the response
        self.response = ReceivedResponse()
        self._max_bytes = max_bytes
        self._received_bytes = 0
        self._without_body = False
        self._start = b""  # of the head that arrives now
        self._tail = b""  # its last bytes, which may be the start of its end
        self._line_bytes = 0  # of its last line
        self._in_parts = False  # that head arrives in several segments
        self._headed = False  # the parser has read a whole head
        self._fields: list[tuple[bytes, bytes]] = []
        self._trailers: list[tuple[bytes, bytes]] = []
        self._reason = b""
        self._parser = _parser(self)
        self._at_start = True  # the parser expects a status line

    def start(self, *, without_body: bool) -> ReceivedResponse:
        """Expects a response. Its fields are set once its head is complete.

        Args:
            without_body: it has no body, whatever its headers say.
        """
        if not self._at_start:
            self._parser = _parser(self)
        self._at_start = False
        self.phase = _HEAD
        self.keep_alive = False
        self.response = ReceivedResponse()
        self._received_bytes = 0
        self._without_body = without_body
        self._start = self._tail = b""
        self._line_bytes = 0
        self._in_parts = False
        self._trailers = []
        return self.response

    def feed(self, data: bytes) -> None:
        """Reads received bytes. After an error nothing more may be fed.

        Raises:
            InvalidResponseError: the head is invalid.
            BrokenBodyError: the body is invalid; the head was complete.
            ResponseTooLongError: the response is too long.
        """
        self._received_bytes += len(data)
        if self._received_bytes > self._max_bytes:
            raise ResponseTooLongError(f"the response has more than {self._max_bytes} bytes")
        if self.phase is _HEAD:
            data = self._feed_head(data)
        if not data:
            return
        if self.phase is _BODY:
            self._feed_body(data)
        else:
            self._surplus()

    def feed_eof(self) -> None:
        """The connection was closed, which ends a body without a length.

        Raises:
            BrokenBodyError: the body is incomplete.
            DisconnectedError: the head is incomplete.
        """
        if self.phase is _BODY and not self._is_delimited():
            self.phase = _COMPLETE
        elif self.phase is not _COMPLETE:
            raise BrokenBodyError("the body ended too early") if self.phase is _BODY else DisconnectedError

    def _feed_head(self, data: bytes) -> bytes:
        """Reads heads until the final one; returns the bytes after it."""
        position = 0
        while position < len(data):  # interim responses precede the final one
            self._check_start(data, position)
            end = self._end_of_head(data, position)
            self._parse_head(data[position:end])
            position = end
            if self.phase is not _HEAD:
                break
        return data[position:]

    def _check_start(self, data: bytes, position: int) -> None:
        start = self._start
        if not start and data.startswith(_STARTS, position):
            self._start = _STARTS[0]
        elif len(start) < _START_BYTES:
            start = self._start = start + data[position : position + _START_BYTES - len(start)]
            if start not in _STARTS and not any(known.startswith(start) for known in _STARTS):
                raise InvalidResponseError("its status line is neither HTTP/1.0 nor HTTP/1.1")

    def _end_of_head(self, data: bytes, position: int) -> int:
        """Where the head that continues at a position ends; the data's length where its end has not arrived."""
        tail = self._tail
        if tail and (found := _END_OF_HEAD.search(tail + data[:_END_BYTES])):
            end = found.end() - len(tail)
        elif (end := _end_in(data, position)) < 0:
            self._in_parts = True
            self._tail = (tail + data[position:])[1 - _END_BYTES :]
            line = data.rfind(b"\n", position)
            self._line_bytes = len(data) - line if line >= 0 else self._line_bytes + len(data) - position
            if self._line_bytes > _MAX_LINE_BYTES + _LINE_FRAME_BYTES:
                raise InvalidResponseError(_LONG_LINE)
            return len(data)
        self._start = self._tail = b""
        self._line_bytes = 0
        return end

    def _parse_head(self, head: bytes) -> None:
        """Feeds a head, or the part of it that has arrived."""
        self._headed = False
        try:
            self._parser.feed_data(head)
        except (HttpParserError, HttpParserUpgrade) as error:
            if not (self._headed and self._parser.get_status_code() == _SWITCHING_PROTOCOLS):
                self.phase = _HEAD
                raise InvalidResponseError(str(error)) from error  # llhttp's reason, a constant
        fault = None
        if self._in_parts or len(head) > _MIN_FAULT_BYTES or b"\0" in head:
            fault = _head_fault(self._reason, self._fields)
        if self._headed is bool(self._start):  # our search for the end and the parser's must agree
            fault = "its head has no clear end"
        if fault is not None:
            self.phase = _HEAD
            raise InvalidResponseError(fault)
        if self.phase is _HEAD:
            self._in_parts = not self._headed
            return
        response = self.response
        response.status = self._parser.get_status_code()
        response.reason = self._reason.decode("utf-8", "surrogateescape")
        response.fields = self._fields
        if response.status == _SWITCHING_PROTOCOLS:
            self._surplus()
            self.phase = _COMPLETE
        elif self._without_body:
            self.phase = _COMPLETE  # llhttp may expect a body: then it is not at the start of another response

    def _feed_body(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            if self.phase is not _COMPLETE:
                raise BrokenBodyError("the body is broken") from error
            self._surplus()

    def _surplus(self) -> None:
        """Bytes after the response: the request is answered already, so the connection is not used again."""
        self.keep_alive = self._at_start = False

    def _is_delimited(self) -> bool:
        """Whether the end of the body is marked: otherwise the end of the connection is its end (RFC 9112 §6.3)."""
        for name, value in self.response.fields:
            known = name.lower()
            if known == b"content-length":
                return True
            if known == b"transfer-encoding" and value.lower().rpartition(b",")[2].strip() == b"chunked":
                return True
        return False

    # Called by the parser while it is fed.

    def on_message_begin(self) -> None:
        """The first byte of a response, of an interim one too."""
        if self.phase is _COMPLETE:
            self._surplus()
        else:
            self._fields, self._reason = [], b""

    def on_status(self, reason: bytes) -> None:
        """The text of a status line."""
        if self.phase is _HEAD:
            self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header or a trailer."""
        if self.phase is _HEAD:
            self._fields.append((name, value))
        elif self.phase is _BODY:
            self._trailers.append((name, value))
            if len(self._trailers) > _MAX_HEADERS or _head_fault(b"", self._trailers[-1:]):
                raise BrokenBodyError  # which the parser reports as an error of its own

    def on_headers_complete(self) -> None:
        """The end of a head."""
        if self.phase is not _HEAD:
            return
        status = self._parser.get_status_code()
        self._headed = True
        if not 100 <= status <= 199 or status == _SWITCHING_PROTOCOLS:
            self.keep_alive = self._parser.should_keep_alive()
            self.phase = _BODY

    def on_body(self, data: bytes) -> None:
        """A part of a body."""
        if self.phase is _BODY:
            self.response.body += data

    def on_message_complete(self) -> None:
        """The end of a response."""
        if self.phase is _BODY:
            self.phase = _COMPLETE
            self._at_start = True


def _end_in(data: bytes, position: int) -> int:
    """As `_END_OF_HEAD` finds the first end from a position, in half the time; -1 where there is none."""
    usual = data.find(b"\n\r\n", position)
    bare = data.find(b"\n\n", position, len(data) if usual < 0 else usual + 1)
    if bare >= 0:
        return bare + 2
    return usual + 3 if usual >= 0 else -1


def _parser(reader: ResponseReader) -> HttpResponseParser:
    parser = HttpResponseParser(reader)
    parser.set_dangerous_leniencies(
        lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
    )
    return parser


def _head_fault(reason: bytes, fields: list[tuple[bytes, bytes]]) -> str | None:
    """What llhttp tolerates in a head or in trailers; None where there is nothing."""
    if len(fields) > _MAX_HEADERS:
        return "Too many headers received"
    if len(reason) > _MAX_LINE_BYTES:
        return _LONG_LINE
    for name, value in fields:
        if len(name) + len(value) > _MAX_LINE_BYTES:
            return _LONG_LINE
        if b"\0" in value:
            return "a header is not valid"
    return None


def _text(data: bytes) -> str:
    return data.rstrip(b" \t").decode("utf-8", "surrogateescape")
