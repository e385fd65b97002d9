"""Where the console's figures come from."""

import asyncio

import pytest

from chaski_console.data.live_updates import Live
from chaski_console.data.route_status import CounterRates, RouteSnapshot, RouteStatusReader
from chaski_console.data.views import RouteRates
from chaski_core.ports import QueueCounts
from chaski_runtime.observability.metrics.instruments import Metrics, RouteTotals
from support.worker.harness import FakeTarget, World, make_route
from support.worker.memory_backend import unavailable
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
    board = RouteStatusReader(lambda: RouteSnapshot([world.resolved]), world.backend, None, world.clock)
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
    (shown,) = await RouteStatusReader(
        lambda: RouteSnapshot([world.resolved]), world.backend, None, world.clock
    ).routes()
    assert shown.backlog is None
    assert shown.oldest_age_seconds is None


class Counting:
    """Queues that count how often they are asked, and tell no age."""

    def __init__(self) -> None:
        self.asked = 0

    def queue(self, _: str) -> "Counting":
        """Itself."""
        return self

    async def counts(self) -> QueueCounts:
        """Three messages."""
        self.asked += 1
        return QueueCounts(3, 0, 0)


class Told:
    """Rates that know ages only."""

    async def read(self) -> dict[str, RouteRates]:
        """None."""
        return {}

    async def ages(self) -> dict[str, dict[str, float]]:
        """Of one queue and one rung."""
        return {"ns/r": {"messages": 40.0, "rung-fast": 7.0}}


async def test_ages_that_no_queue_tells_come_from_elsewhere() -> None:
    """SQS does not know how old its oldest message is; Prometheus may."""
    world = World(make_route(), FakeTarget(lambda *_: 200))
    assert world.resolved.route.key == "ns/r"
    (shown,) = await RouteStatusReader(lambda: RouteSnapshot([world.resolved]), Counting(), Told(), Steps()).routes()
    ages = {line.name: line.oldest_age_seconds for line in (*shown.queues, *shown.rungs)}
    assert ages == {"messages": 40.0, "fast": 7.0, "medium": None}
    assert shown.oldest_age_seconds == 40.0


async def test_the_more_queues_there_are_the_more_rarely_they_are_asked() -> None:
    """Each costs a call, and thousands of them every two seconds would cost money; pages side by side ask once."""
    world = World(make_route(partitions=64), FakeTarget(lambda *_: 200))
    queues, clock = Counting(), Steps()
    board = RouteStatusReader(lambda: RouteSnapshot([world.resolved]), queues, None, clock)
    both = await asyncio.gather(board.routes(), board.routes())
    assert queues.asked == 66
    assert both[0] == both[1]
    clock.seconds = 1.0
    await board.routes()
    assert queues.asked == 66
    clock.seconds = 1.5
    await board.routes()
    assert queues.asked == 132


async def test_a_route_that_is_not_served_is_shown_with_the_reason() -> None:
    """Among the others, by name; its backlog is unknown."""
    world = World(make_route(), FakeTarget(lambda *_: 200))
    known = RouteSnapshot([world.resolved], {"a/new": "the operator has not made the route's queues yet"}, "away")
    board = RouteStatusReader(lambda: known, Counting(), None, Steps())
    shown = await board.routes()
    assert [view.key for view in shown] == list(board.keys()) == ["a/new", world.resolved.route.key]
    assert (shown[0].backlog, "not made" in shown[0].trouble) == (None, True)
    assert board.trouble() == "away"


async def test_a_board_remembers_backlogs_of_routes_that_are_there() -> None:
    """For the pictures; those of routes that are gone are forgotten."""
    board = FakeBoard()
    live = Live(board)
    await live.reading()
    assert (await live.reading()).backlogs == {"n/r": (10, 10)}
    board.views = []
    assert (await live.reading()).backlogs == {}
