"""An HTTP/1.1 client over aiohttp's connections.

aiohttp dials, does TLS and proxies, and parses responses. Its ClientSession is not used, because it spends most of the
time of a request on features that neither deliveries nor calls to AWS need: redirects, cookies, authentication,
compression, bodies of any kind, retries.
"""

import base64
import functools
import random as random_module
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import aiohttp
from aiohttp.http import HttpProcessingError
from multidict import CIMultiDictProxy
from yarl import URL

from chaski_core.message.target_url import TargetUrl
from chaski_runtime.http.pool import MAX_AGE_SECONDS, Pool, PooledConnection
from chaski_runtime.http.transport import Connector, ResponseHead

Headers = Sequence[tuple[str, str]]
_NOT_COMPRESSED = ("Accept-Encoding", "identity")
_WITHOUT_BODY = frozenset({"GET", "HEAD"})  # without a body they send no Content-Length; other methods send 0
_USER_AGENT_LENGTH = len("User-Agent")  # compared first: cheaper than lower()
_REMEMBERED_ORIGINS = 256  # of one client; it has several only where a rule covers many hosts


class Response:
    """A response with complete headers, whose body may still arrive. Close it, however much of the body was read."""

    __slots__ = ("_connection", "_content", "headers", "reason", "status", "url")

    def __init__(self, url: TargetUrl, head: ResponseHead, connection: PooledConnection) -> None:
        message, self._content = head
        self.url = url
        self.status = message.code
        self.reason = message.reason
        self.headers: CIMultiDictProxy[str] = message.headers
        self._connection = connection

    async def read_into(self, body: bytearray, limit: int) -> None:
        """Appends to `body` until the response ends or `body` has at least `limit` bytes.

        Raises:
            aiohttp.ClientError, OSError: the connection broke; `body` has what arrived before.
        """
        content = self._content
        while not content.at_eof() and len(body) < limit:
            chunk = await content.readany()
            if not chunk:
                return
            body += chunk

    def close(self) -> None:
        """Releases the connection: kept for another request where this one is complete, else closed."""
        self._connection.release()


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """The endpoint of connections."""

    key: aiohttp.ClientRequest  # argument of aiohttp's connector; never sent
    host: str  # value of the Host header
    proxy_headers: Headers | None  # for a proxy that forwards the request itself; None: no such proxy


class Client:
    """Sends requests over the connections of one connector, which it closes. Needs a running loop.

    It has no timeout but the connector's; callers limit the whole request. Nothing is ever sent a second time.
    """

    def __init__(  # noqa: PLR0913 - settings, each with a reason of its own
        self,
        connector: Connector,
        user_agent: str,
        *,
        idle_seconds: float,
        max_age_seconds: float = MAX_AGE_SECONDS,
        connect_seconds: float | None = None,
        proxy: str | None = None,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        """Opens no connection yet.

        Args:
            connector: dials.
            user_agent: sent where the request has none.
            idle_seconds: how long an idle connection is kept.
            max_age_seconds: how long a connection is used at most; a request under way finishes.
            connect_seconds: for one address.
            proxy: URL of an HTTP proxy for all requests.
            random: in [0, 1); spreads the ages.
        """
        self.connector = connector
        self._user_agent = ("User-Agent", user_agent)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds)
        self._pool = Pool(connector, timeout, idle_seconds, max_age_seconds, random)
        self._origin = functools.lru_cache(_REMEMBERED_ORIGINS)(
            functools.partial(origin_of, proxy=URL(proxy) if proxy else None)
        )

    async def request(self, method: str, url: TargetUrl, headers: Headers, body: bytes | None) -> Response:
        """Sends one request; returns when the headers of its response are complete.

        Raises:
            aiohttp.ClientError, OSError: no response.
            ValueError: the request is invalid; nothing was sent.
        """
        origin = self._origin(url.scheme, url.host, url.port)
        method = method.upper()
        head = self._head(method, url, origin, headers, body)
        connection = await self._pool.take(origin, origin.key)
        try:
            response_head = await connection.handler.send(head + body if body else head, without_body=method == "HEAD")
        except HttpProcessingError as error:
            connection.close()
            raise aiohttp.ClientResponseError(
                origin.key.request_info, (), status=error.code, message=error.message
            ) from error
        except BaseException:
            connection.close()
            raise
        return Response(url, response_head, connection)

    async def close(self) -> None:
        """Closes every connection."""
        await self._pool.close()

    def _head(self, method: str, url: TargetUrl, origin: Origin, headers: Headers, body: bytes | None) -> bytes:
        target = url.target
        if origin.proxy_headers is not None:
            target = str(url)
            headers = [*origin.proxy_headers, *headers]
        named = any(len(name) == _USER_AGENT_LENGTH and name.lower() == "user-agent" for name, _ in headers)
        own = (_NOT_COMPRESSED,) if named else (self._user_agent, _NOT_COMPRESSED)
        return request_head(f"{method} {target}", (("Host", origin.host), *own, *headers), _length(method, body))


def origin_of(scheme: str, host: str, port: int | None, proxy: URL | None = None) -> Origin:
    """The endpoint for a URL."""
    url = URL.build(scheme=scheme, host=host, port=port)
    key = aiohttp.ClientRequest("GET", url, proxy=proxy)
    proxy_headers: Headers | None = None
    if proxy is not None and not key.is_ssl():  # with TLS the connection is a tunnel, which aiohttp opens
        proxy_headers = _proxy_headers(proxy)
    return Origin(key, _authority(url), proxy_headers)


def _authority(url: URL) -> str:
    # Not yarl's `host_port_subcomponent`, which drops the dot of a full name; RFC 9112 §3.2 wants it as in the URL.
    host = url.host_subcomponent or ""
    return host if url.is_default_port() or url.port is None else f"{host}:{url.port}"


def _proxy_headers(proxy: URL) -> Headers:
    if proxy.user is None:
        return []
    credentials = base64.b64encode(f"{proxy.user}:{proxy.password or ''}".encode()).decode()
    return [("Proxy-Authorization", f"Basic {credentials}")]


def _length(method: str, body: bytes | None) -> int | None:
    if body:
        return len(body)
    return None if method in _WITHOUT_BODY else 0


def request_head(start: str, headers: Headers, length: int | None) -> bytes:
    """Request line and headers.

    Args:
        start: method and target.
        headers: names and values, the Host header among them.
        length: of the body; None: no Content-Length.

    Raises:
        ValueError: one of them contains a line break or a NUL, or is not ASCII.
    """
    lines = [f"{start} HTTP/1.1", *[f"{name}: {value}" for name, value in headers]]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    text = "\r\n".join(lines)
    breaks = len(lines) - 1
    if text.count("\n") != breaks or text.count("\r") != breaks or "\0" in text:
        raise ValueError("a line of the request contains a line break or a NUL")
    return f"{text}\r\n\r\n".encode("ascii")
