"""One HTTP/1.1 request and its answer over one of aiohttp's connections.

Dialling, TLS, proxies and the parsing of answers are aiohttp's; what is left out is its ClientSession, which
takes most of the time of a request for things that neither deliveries nor calls to AWS have: redirects, cookies,
authentication, compression, bodies of any kind, a second try of its own.
"""

import base64
import functools
import random as randomness
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import aiohttp
from aiohttp.http import HttpProcessingError
from multidict import CIMultiDictProxy
from yarl import URL

from chaski_core.message.target_url import TargetUrl
from chaski_runtime.http.pool import MAX_AGE_SECONDS, Pool, PooledConnection
from chaski_runtime.http.transport import Connector, Headed

Headers = Sequence[tuple[str, str]]
_NOT_COMPRESSED = ("Accept-Encoding", "identity")
_WITHOUT_BODY = frozenset({"GET", "HEAD"})  # unless there is one; the others say that theirs is empty
_USER_AGENT_LENGTH = len("User-Agent")  # looked at first: it is cheaper than small letters
_REMEMBERED_ORIGINS = 256  # of one client: more than one only where a rule covers many hosts


class Response:
    """Complete headers, and the body to come. To be closed, however much of the body was read."""

    __slots__ = ("_content", "_link", "headers", "reason", "status", "url")

    def __init__(self, url: TargetUrl, headed: Headed, link: PooledConnection) -> None:
        message, self._content = headed
        self.url = url
        self.status = message.code
        self.reason = message.reason
        self.headers: CIMultiDictProxy[str] = message.headers
        self._link = link

    async def read_into(self, body: bytearray, limit: int) -> None:
        """Adds to the body what comes, until it ends or there are at least so many bytes.

        Raises:
            aiohttp.ClientError, OSError: it broke off; what came before is in `body`.
        """
        content = self._content
        while not content.at_eof() and len(body) < limit:
            chunk = await content.readany()
            if not chunk:
                return
            body += chunk

    def close(self) -> None:
        """Lets go of the connection: kept for another where request and answer went over it whole, else closed."""
        self._link.release()


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """Where connections lead."""

    key: aiohttp.ClientRequest  # what aiohttp's connector wants to be asked with; never sent
    host: str  # as the Host header says it
    proxy_headers: Headers | None  # for a proxy that passes the request on itself; None: there is no such


class Client:
    """Makes requests over the connections of one connector, which it closes. Needs a running loop.

    There is no timeout here but the connector's; callers have one for everything. Nothing is ever sent a second time.
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
        random: Callable[[], float] = randomness.random,
    ) -> None:
        """Opens nothing yet.

        Args:
            connector: dials.
            user_agent: sent where the request has none.
            idle_seconds: how long a connection is kept that has nothing to do.
            max_age_seconds: how long a connection is used at most; what is under way on it finishes.
            connect_seconds: for one address.
            proxy: URL of an HTTP proxy that everything goes through.
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
        """Sends one request; returns when the headers of its answer are complete.

        Raises:
            aiohttp.ClientError, OSError: there is no such answer.
            ValueError: it is no request that can be sent; nothing was.
        """
        origin = self._origin(url.scheme, url.host, url.port)
        method = method.upper()
        head = self._head(method, url, origin, headers, body)
        link = await self._pool.take(origin, origin.key)
        try:
            headed = await link.handler.ask(head + body if body else head, without_body=method == "HEAD")
        except HttpProcessingError as error:
            link.close()
            raise aiohttp.ClientResponseError(
                origin.key.request_info, (), status=error.code, message=error.message
            ) from error
        except BaseException:
            link.close()
            raise
        return Response(url, headed, link)

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
    """Where a URL's connections lead."""
    url = URL.build(scheme=scheme, host=host, port=port)
    key = aiohttp.ClientRequest("GET", url, proxy=proxy)
    passed_on: Headers | None = None
    if proxy is not None and not key.is_ssl():  # with TLS the connection is a tunnel, and aiohttp's matter
        passed_on = _proxy_headers(proxy)
    return Origin(key, _authority(url), passed_on)


def _authority(url: URL) -> str:
    # Not yarl's `host_port_subcomponent`, which drops the dot of a full name; RFC 9112 §3.2 wants it as in the URL.
    host = url.host_subcomponent or ""
    return host if url.is_default_port() or url.port is None else f"{host}:{url.port}"


def _proxy_headers(proxy: URL) -> Headers:
    if proxy.user is None:
        return []
    told = base64.b64encode(f"{proxy.user}:{proxy.password or ''}".encode()).decode()
    return [("Proxy-Authorization", f"Basic {told}")]


def _length(method: str, body: bytes | None) -> int | None:
    if body:
        return len(body)
    return None if method in _WITHOUT_BODY else 0


def request_head(start: str, headers: Headers, length: int | None) -> bytes:
    """Request line and headers.

    Args:
        start: method and target.
        headers: names and values, the Host header among them.
        length: of the body; None: there is none.

    Raises:
        ValueError: one of them would be read as more than one line, or is not ASCII.
    """
    lines = [f"{start} HTTP/1.1", *[f"{name}: {value}" for name, value in headers]]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    text = "\r\n".join(lines)
    breaks = len(lines) - 1
    if text.count("\n") != breaks or text.count("\r") != breaks or "\0" in text:
        raise ValueError("a line of the request holds a line break or a NUL")
    return f"{text}\r\n\r\n".encode("ascii")
