"""Idle connections that are kept for another request."""

import asyncio
from collections import deque
from collections.abc import Callable

from chaski_runtime.http.connection import HttpConnection
from chaski_runtime.http.connector import Connector
from chaski_runtime.http.lookups import DNS_CACHE_SECONDS
from chaski_runtime.http.request import Origin

#: How long after a name has moved requests may still start at its old address: the maximal age of a connection and of the
#: lookup that it was made with. The cache of the system's own resolver comes on top.
MOVED_WITHIN_SECONDS = 60.0
#: An older connection takes no further request.
MAX_AGE_SECONDS = MOVED_WITHIN_SECONDS - DNS_CACHE_SECONDS
_AGE_SPREAD = 0.2  # of the age: connections that were opened together are not all closed together


class PooledConnection:
    """One connection to one origin. Release or close it."""

    __slots__ = ("_pool", "http", "idle_since", "origin", "retires_at")

    def __init__(self, pool: "Pool", origin: Origin, http: HttpConnection, retires_at: float) -> None:
        self.http = http
        self.origin = origin
        self.idle_since = 0.0  # loop time
        self.retires_at = retires_at  # loop time; no request starts then or later
        self._pool = pool

    def release(self) -> None:
        """Keeps it for another request where it is reusable, else closes it."""
        if self.http.reusable:
            self._pool.release(self)
        else:
            self.http.close()

    def close(self) -> None:
        self.http.close()


class Pool:
    """The connections of one connector. Needs a running loop.

    The connection that was idle longest is used first: if the server closed it after a response without announcing it,
    this has been noticed by then.
    """

    def __init__(
        self,
        connector: Connector,
        idle_seconds: float,
        max_age_seconds: float,
        connect_seconds: float | None,
        random: Callable[[], float],
    ) -> None:
        """Opens no connection yet.

        Args:
            connector: dials.
            idle_seconds: a connection that was idle longer is closed.
            max_age_seconds: an older connection takes no further request; each one's limit is up to a fifth less.
            connect_seconds: for dialling; None: no limit.
            random: in [0, 1).
        """
        self._connector = connector
        self._connect_seconds = connect_seconds
        self._idle_seconds = idle_seconds
        self._max_age_seconds = max_age_seconds
        self._random = random
        self._loop = asyncio.get_running_loop()
        self._idle: dict[Origin, deque[PooledConnection]] = {}  # oldest first
        self._expiry_timer: asyncio.TimerHandle | None = None
        self._closed = False

    def take_idle(self, origin: Origin) -> PooledConnection | None:
        """An idle connection to an origin; None where there is none."""
        idle = self._idle.get(origin)
        now = self._loop.time()
        while idle:
            connection = idle.popleft()
            if (
                now - connection.idle_since <= self._idle_seconds
                and now < connection.retires_at
                and connection.http.is_connected()
            ):
                return connection
            connection.close()
        return None

    async def connect(self, origin: Origin) -> PooledConnection:
        """A new connection to an origin. Raises HttpError or OSError where it can't be opened."""
        # Counted from before the lookup of the name.
        retires_at = self._loop.time() + self._max_age_seconds * (1 - _AGE_SPREAD * self._random())
        return PooledConnection(self, origin, await self._connector.connect(origin, self._connect_seconds), retires_at)

    def release(self, connection: PooledConnection) -> None:
        """Keeps an idle connection, or closes it where its age is over."""
        connection.idle_since = self._loop.time()
        if self._closed or connection.idle_since >= connection.retires_at:
            connection.close()
            return
        idle = self._idle.get(connection.origin)
        if idle is None:
            idle = self._idle[connection.origin] = deque()
        idle.append(connection)
        if self._expiry_timer is None:
            self._expiry_timer = self._loop.call_later(self._idle_seconds, self._close_expired)

    async def close(self) -> None:
        """Closes every connection, those in use as well."""
        self._closed = True
        if self._expiry_timer is not None:
            self._expiry_timer.cancel()
        for idle in self._idle.values():
            for connection in idle:
                connection.close()
        self._idle.clear()
        await self._connector.close()

    def _close_expired(self) -> None:
        self._expiry_timer = None
        before = self._loop.time() - self._idle_seconds
        for origin, idle in list(self._idle.items()):
            while idle and idle[0].idle_since <= before:
                idle.popleft().close()
            if not idle:
                del self._idle[origin]
        if self._idle:
            oldest = min(idle[0].idle_since for idle in self._idle.values())
            self._expiry_timer = self._loop.call_at(oldest + self._idle_seconds, self._close_expired)
