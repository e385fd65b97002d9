"""HTTP/1 requests from bytes: httptools parses, and the limits and rules that it does not know are checked here.

httptools is llhttp, the parser of Node.js, in its strict mode: it refuses every framing that two parsers could read
differently. It has no limits of sizes, queues a whole segment's requests at once, stops at every `Upgrade`, and leaves the
rules on Host, on repeated headers and on the form of the target to its caller.
"""

import functools
from collections import deque
from typing import NoReturn
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from multidict import CIMultiDict, istr

from chaski_ingest.http.request import HTTP_1_1, ReadFlow, Request

MAX_FIELD_BYTES = 8_190  # of the target, and of a header
MAX_HEADERS = 128  # and trailers
MAX_QUEUED = 32  # requests of one connection that wait for their turn
_SLICE_BYTES = 4_096  # parsed at once, so that few requests more than these are queued
_MAX_FRAMING_BYTES = 32 * 1024  # between two pieces of a chunked body: extensions and trailers
_VERSIONS = {"1.0", HTTP_1_1}
_TLS_RECORD = b"\x16\x03"
# Which of several would count is not defined, so a proxy could act on another than Chaski.
_SINGLE = ("Content-Length", "Content-Location", "Content-Range", "Content-Type", "ETag", "Host", "Max-Forwards",
           "Server", "Transfer-Encoding", "User-Agent")  # fmt: skip


class MalformedRequestError(Exception):
    """The bytes are not a valid HTTP/1 request, or its head is beyond a limit; the text says why."""


class RequestParser:
    """The requests of one connection, in their order."""

    def __init__(self, flow: ReadFlow) -> None:
        self.requests: deque[Request] = deque()  # that wait for their turn; taken from the left by the connection
        self.heads = 0  # that were parsed
        self.ended = False  # no further request is read: the last one has arrived, or is malformed
        self._flow = flow
        self._parser: HttpRequestParser | None = HttpRequestParser(self)
        self._newest: Request | None = None
        self._target = b""
        self._headers: list[tuple[istr, bytes]] = []  # of a head that is not complete, or trailers
        self._left = 0  # bytes of the body's declared length that have not arrived
        self._pieces = 0  # of bodies
        self._framing_bytes = 0  # since the latest of them
        self._resumed_head: bytes | None = None  # of a request to upgrade
        self._refusal: str | None = None

    @property
    def in_head(self) -> bool:
        """Whether the next byte belongs to a head."""
        return self._newest is None or self._newest.complete

    def feed(self, data: bytes) -> bytes:
        """Parses until the data is used up or many requests are queued; returns the rest.

        A body that is malformed fails, and ends the connection's requests.

        Raises:
            MalformedRequestError: a head is malformed. The requests before it are valid.
        """
        if len(data) <= _SLICE_BYTES and len(self.requests) < MAX_QUEUED:
            if not self.ended:
                self._feed_slice(data)
            return b""
        position, view = 0, memoryview(data)
        while position < len(data) and not self.ended:
            if len(self.requests) >= MAX_QUEUED:
                return data[position:]
            end = position + max(_SLICE_BYTES, self._left)
            self._feed_slice(view[position:end])
            position = end
        return b""

    def close(self, reason: str) -> None:
        """Ends the parsing; a body that has not arrived to its end fails."""
        self.ended = True
        self._parser = None  # it refers to this object
        if self._newest is not None and not self._newest.complete:
            self._newest.fail(reason)

    def _feed_slice(self, data: bytes | memoryview) -> None:
        pieces = self._pieces
        try:
            self._execute(data)
        except HttpParserError as error:
            if not self.ended:  # otherwise these are bytes after the last request
                self._refuse(str(error), data)
            return
        if pieces != self._pieces or self.in_head:
            self._framing_bytes = 0
        elif not self._left:
            self._framing_bytes += len(data)
            if self._framing_bytes > _MAX_FRAMING_BYTES:
                self._refuse("the framing of the chunks is too long", data)

    def _execute(self, data: bytes | memoryview) -> None:
        while self._parser is not None:
            try:
                return self._parser.feed_data(data)
            except HttpParserUpgrade as upgrade:
                if self._resumed_head is None:
                    return None  # after CONNECT, which is the last request
                # The parser drops the body of such a request. Upgrades are not supported, so the request is parsed as if
                # it had not asked for one (RFC 9110 §7.8).
                data = self._resumed_head + bytes(data[upgrade.args[0] :])
                self._resumed_head = None
                self._parser = HttpRequestParser(self)
        return None

    def _refuse(self, reason: str, data: bytes | memoryview) -> None:
        self.ended = True
        if self._refusal is not None:
            reason = self._refusal
        elif not self.heads and bytes(data[:2]) == _TLS_RECORD:
            reason = "received HTTPS on a port of plain HTTP"
        if self._newest is None or self._newest.complete:
            raise MalformedRequestError(reason)
        self._newest.fail(reason)

    # ---- called by httptools. An exception stops it, and `_refusal` says why.

    def on_url(self, part: bytes) -> None:
        """A part of the target."""
        self._target += part
        if len(self._target) > MAX_FIELD_BYTES:
            self._stop(f"the request target has more than {MAX_FIELD_BYTES} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer."""
        if len(name) + len(value) > MAX_FIELD_BYTES:
            self._stop(f"a header has more than {MAX_FIELD_BYTES} bytes")
        if len(self._headers) >= MAX_HEADERS:
            self._stop(f"there are more than {MAX_HEADERS} headers")
        self._headers.append((_header_name(name), value))

    def on_headers_complete(self) -> None:
        """A head is complete."""
        parser = self._parser
        if self.ended or parser is None:
            self._stop("there is data after the last request")
        method, version, target = parser.get_method().decode(), parser.get_http_version(), self._target
        raw, self._target, self._headers = self._headers, b"", []
        headers = CIMultiDict([(name, value.rstrip(b" \t").decode("utf-8", "surrogateescape")) for name, value in raw])
        fault = head_fault(method, target.decode(), version, headers, repeated=len(dict(raw)) < len(raw))
        if fault:
            self._stop(fault)
        keep_alive = parser.should_keep_alive()
        if parser.should_upgrade():
            if method != "CONNECT":
                self._resumed_head = _head_without_upgrade(method, target, version, raw)
                return
            keep_alive = False
        if version != HTTP_1_1 and "Transfer-Encoding" in headers:
            keep_alive = False  # RFC 9112 §6.1: such a framing may be faulty
        request = Request(method, target.decode(), version, headers, keep_alive=keep_alive, flow=self._flow)
        self._newest = request
        self._left = request.content_length or 0
        self.heads += 1
        self.requests.append(request)

    def on_body(self, data: bytes) -> None:
        """A part of a body."""
        self._pieces += 1
        if self._left:
            self._left -= len(data)
        if self._newest is not None:
            self._newest.feed(data)

    def on_message_complete(self) -> None:
        """A request is complete, with its trailers, which are dropped."""
        if self._resumed_head is None and self._newest is not None:
            self._newest.end()
            self.ended = not self._newest.keep_alive
            self._headers = []

    def _stop(self, reason: str) -> NoReturn:
        self._refusal = reason
        raise MalformedRequestError(reason)


def head_fault(method: str, target: str, version: str, headers: CIMultiDict[str], *, repeated: bool) -> str | None:
    """Why a head is refused that httptools accepts, or None; `repeated`: whether there are several headers of a name."""
    if version not in _VERSIONS:
        return "the request has no HTTP version" if version == "0.9" else f"HTTP/{version} is not supported"
    if version == HTTP_1_1 and "Host" not in headers:
        return "the request has no Host header"
    if repeated:
        for name in _SINGLE:
            if len(headers.getall(name, ())) > 1:
                return f"the request has several {name} headers"
    return None if target.startswith("/") or _is_absolute(method, target) else "the request target is invalid"


def _is_absolute(method: str, target: str) -> bool:
    """Whether a target that is not a path has one of the other forms (RFC 9112 §3.2)."""
    if target == "*":
        return method == "OPTIONS"
    try:
        parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
        return bool(parts.hostname) and (method == "CONNECT" or bool(parts.scheme))
    except ValueError:
        return False


def _head_without_upgrade(method: str, target: bytes, version: str, headers: list[tuple[istr, bytes]]) -> bytes:
    lines = [b"%b %b HTTP/%b" % (method.encode(), target, version.encode())]
    lines += [b"%b: %b" % (name.encode(), value) for name, value in headers if name != "upgrade"]
    return b"\r\n".join([*lines, b"", b""])


@functools.lru_cache(512)  # clients send the same few; names of attackers push them out, at the cost of a conversion
def _header_name(name: bytes) -> istr:
    return istr(name.decode("ascii").lower())  # so that equal names are equal strings
