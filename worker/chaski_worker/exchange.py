"""One HTTP/1.1 request and its answer over one of aiohttp's connections.

Dialling, TLS, the pool and the parsing of answers are aiohttp's; what is left out is its ClientSession, which takes
most of the time of a request for things that no delivery has: redirects, cookies, proxies, authentication,
compression, bodies of any kind, a second try of its own.
"""

import asyncio
import functools
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError, RawResponseMessage
from aiohttp.streams import StreamReader
from multidict import CIMultiDictProxy
from yarl import URL

from chaski_worker.connections import Connector

Headers = Sequence[tuple[str, str]]
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=None)
_WITHOUT_BODY = frozenset({"GET", "HEAD"})  # unless there is one; the others say that theirs is empty
_NOT_COMPRESSED = ("Accept-Encoding", "identity")
_MAX_LINE_BYTES = 8_190
_MAX_FIELD_BYTES = 8_190
_MAX_HEADERS = 128
_REMEMBERED_ORIGINS = 256  # of one rule: more than one only under a suffix rule


class Answer:
    """Complete headers, and the body to come. To be closed, however much of the body was read."""

    __slots__ = ("_connection", "_message", "content", "url")

    def __init__(self, url: URL, message: RawResponseMessage, content: StreamReader, connection: Connection) -> None:
        self.url = url
        self.content = content
        self._message = message
        self._connection = connection

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._message.code

    @property
    def reason(self) -> str:
        """The words beside it."""
        return self._message.reason

    @property
    def headers(self) -> "CIMultiDictProxy[str]":
        """The headers."""
        return self._message.headers

    def close(self) -> None:
        """Lets go of the connection: into the pool where request and answer went over it whole, else for good."""
        transport = self._connection.transport
        if self.content.is_eof() and transport is not None and not transport.get_write_buffer_size():
            self._connection.release()
        else:
            self._connection.close()


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where connections lead."""

    key: aiohttp.ClientRequest  # what aiohttp's pool wants to be asked with; never sent
    host: str  # as the Host header says it


class Client:
    """Makes the requests of one allow rule. Needs a running loop.

    There is no timeout here: the attempt has one, for everything. Nothing is ever sent a second time.
    """

    def __init__(self, connector: Connector, user_agent: str) -> None:
        self.connector = connector
        self._user_agent = ("User-Agent", user_agent)
        self._origin = functools.lru_cache(_REMEMBERED_ORIGINS)(self._make_origin)

    async def request(self, method: str, url: URL, headers: Headers, body: bytes | None) -> Answer:
        """Sends one request; returns when the headers of its answer are complete.

        Raises:
            aiohttp.ClientError, OSError: there is no such answer.
            ValueError: it is no request that can be sent; nothing was.
        """
        origin = self._origin(url.scheme, url.raw_host or "", url.port)
        method = method.upper()
        head = request_head(method, url, origin.host, self._completed(headers), body)
        connection = await self.connector.connect(origin.key, [], _NO_TIMEOUT)
        try:
            protocol, transport = _alive(connection)
            protocol.set_response_params(
                skip_payload=method == "HEAD",
                read_until_eof=True,
                auto_decompress=False,
                max_line_size=_MAX_LINE_BYTES,
                max_field_size=_MAX_FIELD_BYTES,
                max_headers=_MAX_HEADERS,
            )
            transport.write(head + body if body else head)
            message, content = await _final(protocol, origin.key)
        except BaseException:
            connection.close()
            raise
        return Answer(url, message, content, connection)

    async def close(self) -> None:
        """Closes every connection."""
        await self.connector.close()

    def _completed(self, headers: Headers) -> Headers:
        if any(name.lower() == "user-agent" for name, _ in headers):
            return [_NOT_COMPRESSED, *headers]
        return [self._user_agent, _NOT_COMPRESSED, *headers]

    @staticmethod
    def _make_origin(scheme: str, host: str, port: int | None) -> _Origin:
        url = URL.build(scheme=scheme, host=host, port=port)
        return _Origin(aiohttp.ClientRequest("GET", url), url.host_port_subcomponent or "")


def _alive(connection: Connection) -> tuple[ResponseHandler, asyncio.Transport]:
    protocol, transport = connection.protocol, connection.transport
    if protocol is None or transport is None:
        raise aiohttp.ServerDisconnectedError
    return protocol, transport


def request_head(method: str, url: URL, host: str, headers: Headers, body: bytes | None) -> bytes:
    """Request line and headers. Raises ValueError where one of them would be read as more than one line."""
    lines = [f"{method} {url.raw_path_qs} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers)]
    if body or method not in _WITHOUT_BODY:
        lines.append(f"Content-Length: {len(body or b'')}")
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1 or "\0" in text:
        raise ValueError("a line of the request holds a line break or a NUL")
    return f"{text}\r\n\r\n".encode("ascii")


async def _final(protocol: ResponseHandler, request: aiohttp.ClientRequest) -> tuple[RawResponseMessage, StreamReader]:
    """The answer, without interim ones (1xx)."""
    while True:
        try:
            message, content = await protocol.read()
        except HttpProcessingError as error:
            raise aiohttp.ClientResponseError(
                request.request_info, (), status=error.code, message=error.message, headers=error.headers
            ) from error
        if not 100 <= message.code <= 199 or message.code == 101:
            return message, content
