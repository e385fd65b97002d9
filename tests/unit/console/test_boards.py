"""Where the console's figures come from."""

import pytest

from chaski_console.boards import CounterRates, QueueBoard
from chaski_console.live import Live
from chaski_runtime.metrics import Metrics, RouteTotals
from support.memory import unavailable
from support.worlds import FakeTarget, World, make_route
from unit.console.fakes import FakeBoard


class Steps:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now_ms(self) -> int:
        """Epoch milliseconds."""
        return round(self.seconds * 1000)

    def monotonic(self) -> float:
        """Seconds."""
        return self.seconds


async def test_rates_are_means_over_the_last_seconds() -> None:
    """What was counted long ago is no part of them."""
    clock, totals = Steps(), {"n/r": RouteTotals(accepted=1_000)}
    rates = CounterRates(lambda: dict(totals), clock)
    assert await rates.read() == {}
    for _ in range(30):
        clock.seconds += 2
        totals["n/r"] = RouteTotals(totals["n/r"].accepted + 10, delivered=1)
        found = await rates.read()
    assert found["n/r"].accepted == 5.0
    assert found["n/r"].delivered == 0.0
    assert found["n/r"].failing is None


def test_totals_are_counted_by_route() -> None:
    """From the metrics themselves."""
    metrics = Metrics()
    names = {"namespace": "n", "route": "r", "queue": "q"}
    metrics.accepted(**names, subject_group="a")
    metrics.accepted(**names, subject_group="b")
    for outcome, error_class in (("delivered", "none"), ("failed", "5xx"), ("refused", "refused")):
        metrics.attempt(
            **names, stage="first", target="t", outcome=outcome, error_class=error_class, duration_seconds=0.1
        )
    metrics.delivered(**names, target="t", subject_group="a")
    metrics.dead_letter(**names, target="t", error_class="5xx", reason="exhausted", subject_group="a")
    assert metrics.totals_by_route() == {"n/r": RouteTotals(2, 1, 3, 2, 1)}


@pytest.mark.looptime
async def test_queues_are_asked_for_their_counts() -> None:
    """All partitions of a queue together, each rung by itself."""
    world = World(make_route(partitions=2), FakeTarget(lambda *_: 200))
    for number in range(6):
        await world.send(f"s{number}", 0)
    board = QueueBoard(lambda: [world.resolved], world.backend, None, world.clock)
    (shown,) = await board.routes()
    assert [line.name for line in (*shown.queues, *shown.rungs)] == ["messages", "fast", "medium"]
    assert shown.backlog == 6
    assert shown.rates is None


@pytest.mark.looptime
@pytest.mark.promise(8)
async def test_a_queue_that_does_not_answer_is_unknown() -> None:
    """And so is the backlog."""
    world = World(make_route(), FakeTarget(lambda *_: 200))

    def refuse(_: str) -> None:
        raise unavailable()

    world.backend.faults.before = refuse
    (shown,) = await QueueBoard(lambda: [world.resolved], world.backend, None, world.clock).routes()
    assert shown.backlog is None
    assert shown.oldest_age_seconds is None


async def test_a_board_remembers_backlogs_of_routes_that_are_there() -> None:
    """For the pictures; those of routes that are gone are forgotten."""
    board = FakeBoard()
    live = Live(board)
    await live.reading()
    assert (await live.reading()).backlogs == {"n/r": (10, 10)}
    board.views = []
    assert (await live.reading()).backlogs == {}
