"""Connections that wait for another request.

aiohttp's own pool would do, but takes a third of the time of a request for limits, waiters and traces that nobody here
asks for. Its connector only dials; what it dialled is kept here.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable

import aiohttp
from aiohttp.connector import Connection

from chaski_runtime.http.transport import DNS_CACHE_SECONDS, Connector, HttpResponseHandler

#: So long after a name has moved, requests may still begin at its old address: the age of a connection, and of the lookup
#: that it was made with. Beside this there is only what the system's own resolver remembers.
MOVED_WITHIN_SECONDS = 60.0
#: A connection that is older takes no further request.
MAX_AGE_SECONDS = MOVED_WITHIN_SECONDS - DNS_CACHE_SECONDS
_AGE_SPREAD = 0.2  # of the age: those that were made together do not all end together


class PooledConnection:
    """One connection to one origin. To be given back or closed."""

    __slots__ = ("_connection", "_pool", "handler", "idle_since", "origin", "retires_at")

    def __init__(self, pool: "Pool", origin: Hashable, connection: Connection, retires_at: float) -> None:
        handler = connection.protocol
        assert isinstance(handler, HttpResponseHandler)  # noqa: S101 - the connector makes no others
        self.handler = handler
        self.origin = origin
        self.idle_since = 0.0  # loop time
        self.retires_at = retires_at  # as above; no request begins then or later
        self._pool = pool
        self._connection = connection

    def release(self) -> None:
        """Keeps it for another request where request and answer went over it whole; else closes it."""
        if self.handler.answered_whole:
            self._pool.keep(self)
        else:
            self._connection.close()

    def close(self) -> None:
        """Closes it."""
        self._connection.close()


class Pool:
    """The connections of one connector. Needs a running loop.

    The one that waited longest is used first: where a server closes it after an answer without having said so, that has
    come to be known by then.
    """

    def __init__(
        self,
        connector: Connector,
        timeout: aiohttp.ClientTimeout,
        idle_seconds: float,
        max_age_seconds: float,
        random: Callable[[], float],
    ) -> None:
        """Opens nothing yet.

        Args:
            connector: dials.
            timeout: for dialling.
            idle_seconds: a connection that waited longer is closed.
            max_age_seconds: one that is older takes no further request; for each it is up to a fifth less.
            random: in [0, 1).
        """
        self._connector = connector
        self._timeout = timeout
        self._idle_seconds = idle_seconds
        self._max_age_seconds = max_age_seconds
        self._random = random
        self._loop = asyncio.get_running_loop()
        self._idle: dict[Hashable, deque[PooledConnection]] = {}  # oldest first
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    async def take(self, origin: Hashable, key: aiohttp.ClientRequest) -> PooledConnection:
        """A connection to an origin: one that waits, or a new one.

        Args:
            origin: what connections are told apart by.
            key: what aiohttp's connector wants to be asked with.

        Raises:
            aiohttp.ClientError, OSError: it could not be made.
        """
        links = self._idle.get(origin)
        now = self._loop.time()
        while links:
            link = links.popleft()
            if now - link.idle_since <= self._idle_seconds and now < link.retires_at and link.handler.is_connected():
                return link
            link.close()
        # Counted from before the name is looked up.
        retires_at = now + self._max_age_seconds * (1 - _AGE_SPREAD * self._random())
        return PooledConnection(self, origin, await self._connector.connect(key, [], self._timeout), retires_at)

    def keep(self, link: PooledConnection) -> None:
        """A connection has nothing to do."""
        link.idle_since = self._loop.time()
        if self._closed or link.idle_since >= link.retires_at:
            link.close()
            return
        links = self._idle.get(link.origin)
        if links is None:
            links = self._idle[link.origin] = deque()
        links.append(link)
        if self._sweep is None:
            self._sweep = self._loop.call_later(self._idle_seconds, self._close_old)

    async def close(self) -> None:
        """Closes every connection, those in use as well."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for links in self._idle.values():
            for link in links:
                link.close()
        self._idle.clear()
        await self._connector.close()

    def _close_old(self) -> None:
        self._sweep = None
        before = self._loop.time() - self._idle_seconds
        for origin, links in list(self._idle.items()):
            while links and links[0].idle_since <= before:
                links.popleft().close()
            if not links:
                del self._idle[origin]
        if self._idle:
            oldest = min(links[0].idle_since for links in self._idle.values())
            self._sweep = self._loop.call_at(oldest + self._idle_seconds, self._close_old)
