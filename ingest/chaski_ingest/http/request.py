"""Requests as the handlers see them, and the checks of their headers and bodies before the body is parsed."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from aiohttp import HttpVersion11, StreamReader, web
from multidict import CIMultiDictProxy

from chaski_ingest import problems
from chaski_ingest.problems import Problem
from chaski_ingest.settings import IngestSettings
from chaski_ingest.submission.capacity import Reservation

CONTINUE = "100-continue"
JSON = "application/json"
NDJSON = "application/x-ndjson"
_MAX_CAUSE_CHARACTERS = 200


class Request(Protocol):
    """The parts of a request that a response depends on."""

    @property
    def method(self) -> str:
        """As sent."""
        ...

    @property
    def target(self) -> str:
        """The request target (RFC 9112 §3.2), as sent."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Names are case-insensitive."""
        ...

    @property
    def content_length(self) -> int | None:
        """Bytes of the body, where they are known."""
        ...

    @property
    def expectation(self) -> str:
        """The Expect header's value in lower case (RFC 9110 section 10.1.1); "" without one."""
        ...

    async def body(self, limit: int, settings: IngestSettings, reservation: Reservation) -> bytes | Problem:
        """The body, if it has at most `limit` bytes, arrives in time, and `reservation` can grow by it."""
        ...


class StreamedRequest:
    """A request of aiohttp's server, whose body may still be arriving."""

    def __init__(self, request: web.BaseRequest) -> None:
        self.method = request.method
        self.target = request.raw_path
        self.headers: Mapping[str, str] = request.headers
        self.content_length = request.content_length
        self.expectation = _expectation(request.headers) if request.version >= HttpVersion11 else ""
        self.awaits_continue = self.expectation == CONTINUE and not request.content.is_eof()
        """Whether the client sends its body only after the status 100, or never where it gets a final status."""
        self._request = request

    async def body(self, limit: int, settings: IngestSettings, reservation: Reservation) -> bytes | Problem:
        return await read_body(self._request, limit, settings, reservation, self._send_continue)

    def _send_continue(self) -> None:
        if self.awaits_continue and self._request.transport is not None:
            self._request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.awaits_continue = False


class BufferedRequest:
    """A request that has arrived completely."""

    __slots__ = ("_body", "content_length", "expectation", "headers", "method", "target")

    def __init__(self, method: str, target: str, headers: CIMultiDictProxy[str], body: bytes) -> None:
        self.method = method
        self.target = target
        self.headers: Mapping[str, str] = headers
        self.expectation = _expectation(headers)
        self.content_length: int | None = len(body)
        self._body = body

    async def body(self, limit: int, settings: IngestSettings, reservation: Reservation) -> bytes | Problem:
        """Reserves nothing: a single message goes to the send buffer, which counts it, without waiting in between."""
        del settings, reservation
        return self._body if len(self._body) <= limit else problems.body_too_large(limit)


def _expectation(headers: CIMultiDictProxy[str]) -> str:
    if "Expect" not in headers:
        return ""
    return ", ".join(headers.getall("Expect", ())).strip().lower()


# ---- headers and body


def type_problem(headers: Mapping[str, str], expected: str) -> Problem | None:
    """The problem of a body with another type, charset or encoding than expected. Without Content-Type it is as expected."""
    encoding = headers.get("Content-Encoding", "identity")
    if encoding.strip().lower() != "identity":
        return problems.unsupported(f'Content-Encoding "{encoding}" is not supported; send the body uncompressed')
    given = headers.get("Content-Type")
    if given is None or given == expected:
        return None
    kind, *parameters = (part.strip().lower() for part in given.split(";"))
    if kind != expected:
        return problems.unsupported(f'Content-Type "{given}" is not supported; send "{expected}"')
    charset = next((part[8:].strip('"') for part in parameters if part.startswith("charset=")), "utf-8")
    if charset not in {"utf-8", "utf8", "us-ascii"}:
        return problems.unsupported(f'charset "{charset}" is not supported; JSON is UTF-8 (RFC 8259)')
    return None


async def read_body(
    request: web.BaseRequest,
    limit: int,
    settings: IngestSettings,
    reservation: Reservation,
    on_read: Callable[[], None],
) -> bytes | Problem:
    """Reads the body, if it has at most `limit` bytes and arrives in time.

    Args:
        request: the request.
        limit: in bytes.
        settings: how fast the body has to arrive.
        reservation: grows with the bytes that arrived; a declared length alone takes no memory and reserves nothing.
        on_read: called before the first byte is read.
    """
    declared = request.content_length
    if declared is not None and declared > limit:
        return problems.body_too_large(limit)
    if not reservation.fits(declared or 0):
        return bodies_full(settings)
    on_read()
    try:
        return await _read_at_pace(request.content, limit, settings, reservation)
    except TimeoutError:
        return problems.of_status(408, _pace_detail(settings))
    except (web.RequestPayloadError, ConnectionError) as error:
        return problems.of_status(400, f"the body is incomplete or malformed: {error}"[:_MAX_CAUSE_CHARACTERS])


async def _read_at_pace(
    content: StreamReader, limit: int, settings: IngestSettings, reservation: Reservation
) -> bytes | Problem:
    body, mark = bytearray(), 0
    loop = asyncio.get_running_loop()
    end, pace = loop.time() + settings.body_timeout_seconds, settings.body_pace_seconds
    async with asyncio.timeout_at(min(end, loop.time() + pace)) as timer:
        while piece := await content.readany():
            if len(body) + len(piece) > limit:
                return problems.body_too_large(limit)
            if not reservation.grow(len(piece)):
                return bodies_full(settings)
            body += piece
            if len(body) - mark >= settings.body_pace_bytes:
                mark = len(body)
                timer.reschedule(min(end, loop.time() + pace))
    return bytes(body)


def bodies_full(settings: IngestSettings) -> Problem:
    """The problem of a body beyond the limit of all bodies held, or beyond its producer's share of it."""
    return problems.overloaded(
        "this server holds too many bytes of request bodies, of this producer or of all", settings.retry_after_seconds
    )


def _pace_detail(settings: IngestSettings) -> str:
    pace = f"{settings.body_pace_bytes} bytes in {settings.body_pace_seconds:g} s"
    return f"the body arrived slower than {pace}, or not within {settings.body_timeout_seconds:g} s"
