"""Status of routes, and rates from counters."""

import asyncio

import pytest

from chaski_console.data.route_status import CounterRates, RouteSnapshot, RouteStatusReader
from chaski_console.data.views import RouteRates
from chaski_core.ports import QueueCounts
from chaski_ingest.metrics import IngestMetrics
from chaski_runtime.observability.metrics.registry import MetricsRegistry
from chaski_runtime.observability.metrics.route_totals import RouteTotals, sum_totals
from chaski_worker.metrics import WorkerMetrics
from support.worker.harness import FakeTarget, WorkerHarness, make_route
from support.worker.memory_backend import unavailable


class ManualClock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now_ms(self) -> int:
        """Epoch milliseconds."""
        return round(self.seconds * 1000)

    def monotonic(self) -> float:
        """Seconds."""
        return self.seconds


async def test_rates_are_averages_over_the_last_seconds() -> None:
    """Older counts do not matter."""
    clock, totals = ManualClock(), {"n/r": RouteTotals(accepted=1_000)}
    rates = CounterRates(lambda: dict(totals), clock)
    assert await rates.rates() == {}
    for _ in range(30):
        clock.seconds += 2
        totals["n/r"] = RouteTotals(totals["n/r"].accepted + 10, delivered=1)
        found = await rates.rates()
    assert found["n/r"].accepted == 5.0
    assert found["n/r"].delivered == 0.0
    assert found["n/r"].failing is None


def test_totals_are_counted_by_route() -> None:
    """From the metrics themselves."""
    registry = MetricsRegistry()
    ingest, worker = IngestMetrics(registry), WorkerMetrics(registry)
    names = {"namespace": "n", "route": "r", "queue": "q"}
    ingest.accepted(**names, subject_group="a")
    ingest.accepted(**names, subject_group="b")
    for outcome, error_class in (("delivered", "none"), ("failed", "5xx"), ("refused", "refused")):
        worker.attempts.observe((*names.values(), "first", "t", outcome, error_class), 0.1)
    worker.delivered.add((*names.values(), "t", "a"))
    worker.dead_letters.add((*names.values(), "t", "5xx", "exhausted", "a"))
    totals = sum_totals([ingest.totals_by_route(), worker.totals_by_route()])
    assert totals == {"n/r": RouteTotals(2, 1, 3, 2, 1)}


@pytest.mark.looptime
async def test_counts_come_from_the_queues() -> None:
    """Summed over the partitions of a queue; separate for each rung."""
    world = WorkerHarness(make_route(partitions=2), FakeTarget(lambda *_: 200))
    for number in range(6):
        await world.send(f"s{number}", 0)
    reader = RouteStatusReader(lambda: RouteSnapshot([world.resolved]), world.backend, None, world.clock)
    (shown,) = await reader.routes()
    assert [queue.name for queue in (*shown.queues, *shown.rungs)] == ["messages", "fast", "medium"]
    assert shown.backlog == 6
    assert shown.rates is None


@pytest.mark.looptime
@pytest.mark.promise(8)
async def test_an_unavailable_queue_is_unknown() -> None:
    """And so is the backlog."""
    world = WorkerHarness(make_route(), FakeTarget(lambda *_: 200))

    def refuse(_: str) -> None:
        raise unavailable()

    world.backend.faults.before = refuse
    (shown,) = await RouteStatusReader(
        lambda: RouteSnapshot([world.resolved]), world.backend, None, world.clock
    ).routes()
    assert shown.backlog is None
    assert shown.oldest_age_seconds is None


class CountingQueues:
    """Queues that count calls and report no age."""

    def __init__(self) -> None:
        self.calls = 0

    def queue(self, _: str) -> "CountingQueues":
        """The same for every URL."""
        return self

    async def counts(self) -> QueueCounts:
        """Three messages."""
        self.calls += 1
        return QueueCounts(3, 0, 0)


class AgesOnly:
    """Provides ages but no rates."""

    async def rates(self) -> dict[str, RouteRates]:
        """No rates."""
        return {}

    async def ages(self) -> dict[str, dict[str, float]]:
        """Of one queue and one rung."""
        return {"ns/r": {"messages": 40.0, "rung-fast": 7.0}}


async def test_ages_come_from_prometheus_if_queues_do_not_report_them() -> None:
    """SQS does not report the age of its oldest message."""
    world = WorkerHarness(make_route(), FakeTarget(lambda *_: 200))
    assert world.resolved.route.key == "ns/r"
    (shown,) = await RouteStatusReader(
        lambda: RouteSnapshot([world.resolved]), CountingQueues(), AgesOnly(), ManualClock()
    ).routes()
    ages = {queue.name: queue.oldest_age_seconds for queue in (*shown.queues, *shown.rungs)}
    assert ages == {"messages": 40.0, "fast": 7.0, "medium": None}
    assert shown.oldest_age_seconds == 40.0


async def test_queues_are_counted_less_often_the_more_there_are() -> None:
    """Each count costs a call, and thousands of calls every two seconds cost money; concurrent pages share a count."""
    world = WorkerHarness(make_route(partitions=64), FakeTarget(lambda *_: 200))
    queues, clock = CountingQueues(), ManualClock()
    reader = RouteStatusReader(lambda: RouteSnapshot([world.resolved]), queues, None, clock)
    both = await asyncio.gather(reader.routes(), reader.routes())
    assert queues.calls == 66
    assert both[0] == both[1]
    clock.seconds = 1.0
    await reader.routes()
    assert queues.calls == 66
    clock.seconds = 1.5
    await reader.routes()
    assert queues.calls == 132


async def test_an_unserved_route_has_a_reason() -> None:
    """It is listed among the others, by key; its backlog is unknown."""
    world = WorkerHarness(make_route(), FakeTarget(lambda *_: 200))
    snapshot = RouteSnapshot([world.resolved], {"a/new": "the operator has not made the route's queues yet"}, "timeout")
    reader = RouteStatusReader(lambda: snapshot, CountingQueues(), None, ManualClock())
    shown = await reader.routes()
    assert [view.key for view in shown] == list(reader.keys()) == ["a/new", world.resolved.route.key]
    assert (shown[0].backlog, "not made" in shown[0].unserved_reason) == (None, True)
    assert reader.stale_reason() == "timeout"
