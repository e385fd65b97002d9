"""The connections that are open: how many, which of them can go, and how much of unfinished heads they hold."""

from typing import Protocol


class Closable(Protocol):
    """A connection."""

    def may_go(self) -> bool:
        """Whether it waits for a request, and has made none since this was called before."""
        ...

    def force_close(self) -> None:
        """Ends it now."""
        ...


class Connections:
    """Keeps the number of open connections, and the bytes of heads that are not complete, within bounds.

    Whoever reaches the port can open connections, so the bound must not be what keeps others out: beyond it one that waits is
    closed. Of those that have never made a request the oldest, since strangers can open those; then one of those that are kept
    for the next request, which their clients open again. These are gone round, and who has made a request since the last round
    is passed over (the clock algorithm of page caches): nothing has to be written down at each request. One whose request is
    being answered never goes.
    """

    def __init__(self, most: int, most_head_bytes: int) -> None:
        """Starts with none.

        Args:
            most: connections open at a time.
            most_head_bytes: bytes of all incomplete heads.
        """
        self.most = most
        self.open = 0
        self._head_bytes_left = most_head_bytes
        self._fresh: dict[Closable, None] = {}  # the oldest first
        self._kept: dict[Closable, None] = {}  # in the order of the round

    def opened(self, connection: Closable) -> bool:
        """There is one more; False where it has to be closed, since all others are busy."""
        self.open += 1
        if self.open > self.most:
            leaving = next(iter(self._fresh), None) or self._next_kept()
            if leaving is None:
                return False
            self._forget(leaving)
            leaving.force_close()
        self._fresh[connection] = None
        return True

    def requested(self, connection: Closable) -> None:
        """It has made a request."""
        if connection in self._fresh:
            del self._fresh[connection]
            self._kept[connection] = None

    def closed(self, connection: Closable) -> None:
        """It is gone."""
        self.open -= 1
        self._forget(connection)

    def take_head(self, size: int) -> bool:
        """Takes room for so many bytes of a head; False where there is none."""
        if size > self._head_bytes_left:
            return False
        self._head_bytes_left -= size
        return True

    def release_head(self, size: int) -> None:
        """Gives it back."""
        self._head_bytes_left += size

    def _next_kept(self) -> Closable | None:
        for _ in range(2 * len(self._kept)):  # after one round none is passed over for its past
            connection = next(iter(self._kept))
            if connection.may_go():
                return connection
            del self._kept[connection]
            self._kept[connection] = None
        return None

    def _forget(self, connection: Closable) -> None:
        self._fresh.pop(connection, None)
        self._kept.pop(connection, None)
