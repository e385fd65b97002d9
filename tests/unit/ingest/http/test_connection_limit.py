"""The choice of the connection to close when there are too many."""

import pytest

from chaski_ingest.http.connection_limit import ConnectionLimiter


class FakeConnection:
    """Records that it was closed."""

    def __init__(self, connections: ConnectionLimiter) -> None:
        self.ended = self.busy = self.used = False
        self._connections = connections

    def clear_used(self) -> bool:
        """As `Connection` does."""
        used, self.used = self.used, False
        return not used and not self.busy

    def force_close(self) -> None:
        """A real one is removed later, by the event loop."""
        self.ended = True
        self._connections.remove(self)


@pytest.mark.promise(14)
def test_connections_without_a_request_are_closed_first_then_idle_ones() -> None:
    """One that made a request since the last turn is skipped once; one with a request in progress stays open."""
    connections = ConnectionLimiter(5, 0)
    made = [FakeConnection(connections) for _ in range(12)]
    for each in made[:5]:
        assert connections.add(each)
    for each in (made[1], made[0], made[2]):
        connections.mark_used(each)
    made[0].busy = True
    made[1].used = True
    order: list[int] = []
    for each in made[5:9]:
        assert connections.add(each)
        connections.mark_used(each)
        each.busy = True
        order += [number for number, other in enumerate(made) if other.ended and number not in order]
    assert order == [3, 4, 2, 1]  # 3 and 4 never made one, 1 made the latest
    assert not connections.add(made[9])  # all others are busy
    connections.remove(made[9])
    assert connections.open == 5


def test_bytes_of_incomplete_heads_are_bounded() -> None:
    """Released bytes can be reserved again."""
    connections = ConnectionLimiter(1, 100)
    assert connections.reserve_head(60)
    assert not connections.reserve_head(41)
    connections.release_head(60)
    assert connections.reserve_head(100)
