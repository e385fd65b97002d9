"""Which connection goes when there are too many."""

import pytest

from chaski_ingest.http.connection_limit import Connections


class FakeConnection:
    """Remembers that it was closed."""

    def __init__(self, connections: Connections) -> None:
        self.ended = self.busy = self.used = False
        self._connections = connections

    def may_go(self) -> bool:
        """As a real one."""
        used, self.used = self.used, False
        return not used and not self.busy

    def force_close(self) -> None:
        """The loop reports the loss later; here at once."""
        self.ended = True
        self._connections.closed(self)


@pytest.mark.promise(14)
def test_those_that_never_made_a_request_go_first_then_those_that_wait() -> None:
    """Who has made a request since the last round is passed over once; who is being answered stays."""
    connections = Connections(5, 0)
    made = [FakeConnection(connections) for _ in range(12)]
    for each in made[:5]:
        assert connections.opened(each)
    for each in (made[1], made[0], made[2]):
        connections.requested(each)
    made[0].busy = True
    made[1].used = True
    order: list[int] = []
    for each in made[5:9]:
        assert connections.opened(each)
        connections.requested(each)
        each.busy = True
        order += [number for number, other in enumerate(made) if other.ended and number not in order]
    assert order == [3, 4, 2, 1]  # 3 and 4 never made one, 1 made the latest
    assert not connections.opened(made[9])  # all others are busy
    connections.closed(made[9])
    assert connections.open == 5


def test_bytes_of_incomplete_heads_are_bounded() -> None:
    """What is given back is there again."""
    connections = Connections(1, 100)
    assert connections.take_head(60)
    assert not connections.take_head(41)
    connections.release_head(60)
    assert connections.take_head(100)
