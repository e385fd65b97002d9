"""The limit of open connections, the choice of the one to close, and the limit of bytes of incomplete heads."""

import resource
from typing import Protocol

_OTHER_DESCRIPTORS = 256  # connections to AWS and the API server, files, and a burst of accepts


class Closable(Protocol):
    """A connection."""

    def clear_used(self) -> bool:
        """Clears its mark of use; True if it was idle and not marked."""
        ...

    def force_close(self) -> None:
        """Closes it now."""
        ...


def max_open_connections(most: int) -> int:
    """The limit of open connections: `most`, or fewer where the process may not have as many descriptors."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if soft == resource.RLIM_INFINITY else max(1, min(most, soft - _OTHER_DESCRIPTORS))


class ConnectionLimiter:
    """Limits open connections, and the bytes of heads that are not complete.

    Any client that reaches the port can open connections, so the limit must not keep others out: beyond it an idle connection
    is closed. First the oldest of those that have never made a request, since any client can open those; then one of those
    that are kept open for the next request, which their clients open again. These are visited in turn, and one that has made
    a request since the last turn is skipped (the clock algorithm of page caches), so a request costs no bookkeeping. A
    connection with a request in progress is never closed.
    """

    def __init__(self, limit: int, max_head_bytes: int) -> None:
        """Starts without connections.

        Args:
            limit: connections open at a time.
            max_head_bytes: bytes of all incomplete heads.
        """
        self.limit = limit
        self.open = 0
        self._head_bytes_left = max_head_bytes
        self._never_used: dict[Closable, None] = {}  # the oldest first
        self._kept_alive: dict[Closable, None] = {}  # in the order of their turns

    def add(self, connection: Closable) -> bool:
        """Adds a new connection; False where it must be closed, since all others are busy."""
        self.open += 1
        if self.open > self.limit:
            evicted = next(iter(self._never_used), None) or self._next_idle()
            if evicted is None:
                return False
            self._forget(evicted)
            evicted.force_close()
        self._never_used[connection] = None
        return True

    def mark_used(self, connection: Closable) -> None:
        """Records that a connection has made a request."""
        if connection in self._never_used:
            del self._never_used[connection]
            self._kept_alive[connection] = None

    def remove(self, connection: Closable) -> None:
        """Removes a connection that was closed."""
        self.open -= 1
        self._forget(connection)

    def reserve_head(self, size: int) -> bool:
        """Reserves `size` bytes for an incomplete head; False where they do not fit."""
        if size > self._head_bytes_left:
            return False
        self._head_bytes_left -= size
        return True

    def release_head(self, size: int) -> None:
        """Returns what `reserve_head` took."""
        self._head_bytes_left += size

    def _next_idle(self) -> Closable | None:
        for _ in range(2 * len(self._kept_alive)):  # in the second round no connection is skipped for its past
            connection = next(iter(self._kept_alive))
            if connection.clear_used():
                return connection
            del self._kept_alive[connection]
            self._kept_alive[connection] = None
        return None

    def _forget(self, connection: Closable) -> None:
        self._never_used.pop(connection, None)
        self._kept_alive.pop(connection, None)
