"""An HTTP/1.1 client for deliveries and for calls to AWS: one request, one response, nothing else.

aiohttp's ClientSession is not used, because it spends most of the time of a request on features that neither needs:
redirects, cookies, authentication, compression, bodies of any kind, retries. And three gaps of its connections matter
where a response decides whether a message is deleted: bytes that arrive while a connection is idle are taken for the
response to the next request, a connection that the server has closed is used again, and responses of other protocols are
taken for HTTP. Connections are asyncio's, responses are parsed by httptools.
"""

import functools
import random as random_module
from collections.abc import Callable, Coroutine
from typing import Any

from multidict import CIMultiDictProxy
from yarl import URL

from chaski_core.message.target_url import TargetUrl
from chaski_runtime.http.connector import Connector
from chaski_runtime.http.framing import ReceivedResponse
from chaski_runtime.http.pool import MAX_AGE_SECONDS, Pool, PooledConnection
from chaski_runtime.http.request import Headers, Origin, origin_of, request_head

_AGENT, _AGENT_CHARACTERS = "user-agent", len("user-agent")
_NOT_COMPRESSED = ("Accept-Encoding", "identity")
_WITHOUT_BODY = frozenset({"GET", "HEAD"})  # without a body they send no Content-Length; other methods send 0
_REMEMBERED_ORIGINS = 256  # of one client; it has several only where a rule covers many hosts


class Response:
    """A response with complete headers, whose body may still arrive. Close it, however much of the body was read."""

    __slots__ = ("_connection", "_received", "reason", "status", "url")

    def __init__(self, url: TargetUrl, received: ReceivedResponse, connection: PooledConnection) -> None:
        self.url = url
        self.status = received.status
        self.reason = received.reason
        self._received = received
        self._connection = connection

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """Made at each use: of most responses none is used."""
        return self._received.headers()

    def read_into(self, body: bytearray, limit: int) -> Coroutine[Any, Any, None]:
        """Appends to `body` until the response ends or `body` has at least `limit` bytes.

        Raises:
            HttpError, OSError: the connection broke; `body` has what arrived before.
        """
        return self._connection.http.read_into(self._received, body, limit)

    def close(self) -> None:
        """Releases the connection: kept for another request where this one is complete, else closed."""
        self._connection.release()


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
        self._pool = Pool(connector, idle_seconds, max_age_seconds, connect_seconds, random)
        self._origin = functools.lru_cache(_REMEMBERED_ORIGINS)(
            functools.partial(origin_of, proxy=URL(proxy) if proxy else None)
        )

    async def request(self, method: str, url: TargetUrl, headers: Headers, body: bytes | None) -> Response:
        """Sends one request; returns when the headers of its response are complete.

        Raises:
            HttpError, OSError: no response.
            ValueError: the request is invalid; nothing was sent.
        """
        origin = self._origin(url.scheme, url.host, url.port)
        method = method.upper()
        head = self._head(method, url, origin, headers, body)
        connection = self._pool.take_idle(origin) or await self._pool.connect(origin)
        try:
            received = await connection.http.send(head + body if body else head, without_body=method == "HEAD")
        except BaseException:
            connection.close()
            raise
        return Response(url, received, connection)

    async def close(self) -> None:
        """Closes every connection."""
        await self._pool.close()

    def _head(self, method: str, url: TargetUrl, origin: Origin, headers: Headers, body: bytes | None) -> bytes:
        target = url.target
        if (proxy := origin.forwarding) is not None:
            target = str(url)
            headers = [*proxy.headers, *headers]
        # The length is compared first: this runs for each header of each request.
        named = [name for name, _ in headers if len(name) == _AGENT_CHARACTERS and name.lower() == _AGENT]
        own = (_NOT_COMPRESSED,) if named else (self._user_agent, _NOT_COMPRESSED)
        return request_head(f"{method} {target}", (("Host", origin.authority), *own, *headers), _length(method, body))


def _length(method: str, body: bytes | None) -> int | None:
    if body:
        return len(body)
    return None if method in _WITHOUT_BODY else 0
