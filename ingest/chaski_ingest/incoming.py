"""A request, whoever read it from the connection."""

from collections.abc import Mapping
from typing import Protocol

from aiohttp import web

from chaski_ingest import problems
from chaski_ingest.problems import Problem
from chaski_ingest.reading import read_body


class Incoming(Protocol):
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

    async def body(self, limit: int, timeout_seconds: float) -> bytes | Problem:
        """The body, if it is at most `limit` bytes and arrives in time."""
        ...


class Arriving:
    """A request of aiohttp's server, whose body may still be on its way."""

    def __init__(self, request: web.BaseRequest) -> None:
        self.method = request.method
        self.target = request.raw_path
        self.headers: Mapping[str, str] = request.headers
        self.content_length = request.content_length
        self._request = request

    async def body(self, limit: int, timeout_seconds: float) -> bytes | Problem:
        """Reads it."""
        return await read_body(self._request, limit, timeout_seconds)


class Arrived:
    """A request that is here as a whole."""

    __slots__ = ("_body", "content_length", "headers", "method", "target")

    def __init__(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.content_length: int | None = len(body)
        self._body = body

    async def body(self, limit: int, timeout_seconds: float) -> bytes | Problem:  # noqa: ARG002 - the protocol's arguments
        """It is here."""
        return self._body if len(self._body) <= limit else problems.body_too_large(limit)
