"""A request, whoever read it from the connection."""

from collections.abc import Mapping
from typing import Protocol

from aiohttp import HttpVersion11, web
from multidict import CIMultiDictProxy

from chaski_ingest.http import problems
from chaski_ingest.http.bodies import read_body
from chaski_ingest.http.problems import Problem
from chaski_ingest.settings import IngestSettings
from chaski_ingest.submission.capacity import CapacityHold

CONTINUE = "100-continue"


class Request(Protocol):
    """What has to be known of a request to answer it."""

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
        """Looked up case-insensitively."""
        ...

    @property
    def content_length(self) -> int | None:
        """Bytes of the body, as far as they are known."""
        ...

    @property
    def expectation(self) -> str:
        """What the Expect header says, in lower case (RFC 9110 section 10.1.1); "" where there is none."""
        ...

    async def body(self, limit: int, settings: IngestSettings, hold: CapacityHold) -> bytes | Problem:
        """The body, if it is at most `limit` bytes, arrives in time, and `hold` can grow by it."""
        ...


class StreamedRequest:
    """A request of aiohttp's server, whose body may still be on its way."""

    def __init__(self, request: web.BaseRequest) -> None:
        self.method = request.method
        self.target = request.raw_path
        self.headers: Mapping[str, str] = request.headers
        self.content_length = request.content_length
        self.expectation = _expectation(request.headers) if request.version >= HttpVersion11 else ""
        self.awaits_continue = self.expectation == CONTINUE and not request.content.is_eof()
        """Whether the client holds its body back until it is answered; then only 100 makes it send it."""
        self._request = request

    async def body(self, limit: int, settings: IngestSettings, hold: CapacityHold) -> bytes | Problem:
        """Reads it."""
        return await read_body(self._request, limit, settings, hold, self._begin)

    def _begin(self) -> None:
        if self.awaits_continue and self._request.transport is not None:
            self._request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.awaits_continue = False


class BufferedRequest:
    """A request that is here as a whole."""

    __slots__ = ("_body", "content_length", "expectation", "headers", "method", "target")

    def __init__(self, method: str, target: str, headers: CIMultiDictProxy[str], body: bytes) -> None:
        self.method = method
        self.target = target
        self.headers: Mapping[str, str] = headers
        self.expectation = _expectation(headers)
        self.content_length: int | None = len(body)
        self._body = body

    async def body(self, limit: int, settings: IngestSettings, hold: CapacityHold) -> bytes | Problem:
        """It is here already, and a single message goes on to the queue's buffer at once: nothing is held in between."""
        del settings, hold
        return self._body if len(self._body) <= limit else problems.body_too_large(limit)


def _expectation(headers: CIMultiDictProxy[str]) -> str:
    if "Expect" not in headers:
        return ""
    return ", ".join(headers.getall("Expect", ())).strip().lower()
