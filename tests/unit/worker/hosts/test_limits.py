"""Limits of targets over many workers, in virtual time with the real FIFO rules."""

import asyncio
import bisect
import itertools

import pytest

from chaski_core.retry.limit import LimitRule, LimitScope
from chaski_core.route.model import AllowRule, Ordering, Route
from chaski_worker.consumer.worker import Worker
from chaski_worker.settings import WorkerSettings
from support.metric_pages import value
from support.worker.harness import FakeTarget, WorkerHarness, loop_time, make_route
from support.worker.memory_backend import unavailable

pytestmark = pytest.mark.looptime

BOTH = pytest.mark.parametrize("ordering", list(Ordering), ids=str)
LIMITS = LimitRule(rate_per_second=50, concurrency=4)


def route(ordering: Ordering, limits: LimitRule | None = LIMITS, url: str = "http://api.example/") -> Route:
    """One rule."""
    return make_route(ordering, allow=[AllowRule("api", url, limits=limits)], concurrency=16)


def target_of(seconds: float) -> FakeTarget:
    """Answers 200 after so long."""

    async def answer(*_: object) -> int:
        await asyncio.sleep(seconds)
        return 200

    return FakeTarget(answer)


async def send(harness: WorkerHarness, subjects: int, messages: int, host: str = "api.example") -> None:
    """The messages of each subject, in order."""
    for number, subject in itertools.product(range(messages), range(subjects)):
        await harness.send(f"s{subject}", number, host=host)


def most_in_window(target: FakeTarget, seconds: float = 10.0) -> int:
    """The most attempts that began within a window."""
    times = sorted(call.at for call in target.calls)
    return max(bisect.bisect_left(times, at + seconds) - index for index, at in enumerate(times))


def rate_between(target: FakeTarget, start: float, end: float) -> float:
    """Attempts per second."""
    return sum(start <= call.at < end for call in target.calls) / (end - start)


def assert_in_order(target: FakeTarget, subjects: int, messages: int) -> None:
    """Each message was delivered by one attempt, in order."""
    for subject in range(subjects):
        assert [call.number for call in target.of(f"s{subject}")] == list(range(messages)), subject


async def stop(harness: WorkerHarness, worker: Worker) -> None:
    """Stops one of the workers, and waits until it has drained."""
    entry = next(each for each in harness.running if each[0] is worker)
    harness.running.remove(entry)
    worker.stop()
    await entry[1]


@BOTH
@pytest.mark.parametrize(("subjects", "messages", "seconds"), [(180, 20, 0.05), (24, 150, 0.02)], ids=["180", "24"])
@pytest.mark.promise(3)
@pytest.mark.promise(4)
async def test_a_limit_holds_over_one_ten_and_two_workers(
    ordering: Ordering, subjects: int, messages: int, seconds: float
) -> None:
    """50 a second and 4 at once: never above 1.1 times the rate in 10 s, at least 0.8 of it used, in order, nothing charged."""
    target = target_of(seconds)
    harness = WorkerHarness(route(ordering), target, WorkerSettings(observe_interval_seconds=0, poll_gap_seconds=0.06))
    await send(harness, subjects, messages)
    workers = [harness.start()]
    await asyncio.sleep(15)
    assert rate_between(target, 5, 15) >= 0.8 * 50
    workers += [harness.start() for _ in range(9)]
    await asyncio.sleep(35)
    assert rate_between(target, 20, 50) >= 0.8 * 50
    for worker in workers[:8]:
        await stop(harness, worker)
    start = loop_time()
    await asyncio.sleep(15)
    assert rate_between(target, start + 5, start + 15) >= 0.8 * 50
    await harness.wait_until_empty(within=300)
    await harness.stop()

    assert most_in_window(target) <= 1.1 * 50 * 10
    assert target.most_running <= 4
    assert_in_order(target, subjects, messages)
    assert harness.backend.dead_letters.kept == {}
    assert {entry.number for entry in harness.backend.journal.entries} == {1}
    assert harness.backend.attempt_records.kept == {}


@pytest.mark.promise(10)
async def test_a_killed_worker_gives_its_shares_back_after_the_expiry() -> None:
    """Two share the limit; one is gone without a word: its half is used again 15 s and the route's timeout of 30 s later."""
    target = target_of(0.02)
    harness = WorkerHarness(route(Ordering.RELAXED), target)
    await send(harness, 50, 100)
    killed, _ = harness.start(), harness.start()
    await asyncio.sleep(10)
    assert 45 <= rate_between(target, 5, 10) <= 51
    assert killed._limits is not None
    for task in killed._limits._tasks.values():
        task.cancel()
    await asyncio.sleep(50)
    assert 24 <= rate_between(target, 21, 52) <= 26, "ten seconds later it used nothing any more, and nobody else did"
    await asyncio.sleep(20)
    assert 45 <= rate_between(target, 60, 80) <= 51
    assert most_in_window(target) <= 1.1 * 50 * 10
    assert target.most_running <= 4
    await harness.stop()


async def test_leases_cost_nothing_where_no_limit_is_used() -> None:
    """No rule has one; and where one has, only while it is attempted."""
    without = WorkerHarness(route(Ordering.RELAXED, limits=None), target_of(0.01))
    await send(without, 10, 10)
    without.start()
    await without.wait_until_empty()
    await without.stop()
    assert (without.backend.limit_leases.reads, without.backend.limit_leases.writes) == (0, 0)

    harness = WorkerHarness(route(Ordering.RELAXED), target_of(0.01))
    harness.start()
    await asyncio.sleep(60)
    assert harness.backend.limit_leases.reads == 0
    await send(harness, 10, 10)
    await harness.wait_until_empty()
    await asyncio.sleep(60)
    leases = harness.backend.limit_leases
    before = leases.reads, leases.writes
    assert before[0] <= 10
    await asyncio.sleep(60)
    assert (leases.reads, leases.writes) == before, "the shares were given back after ten seconds"
    await harness.stop()


async def test_a_steady_limit_costs_two_calls_in_two_seconds() -> None:
    """10,000 reads and as many writes for a million attempts at 50 a second by one worker."""
    target = target_of(0.02)
    harness = WorkerHarness(route(Ordering.RELAXED), target)
    await send(harness, 50, 60)
    harness.start()
    await asyncio.sleep(10)
    leases, calls = harness.backend.limit_leases, len(target.calls)
    reads, writes = leases.reads, leases.writes
    await asyncio.sleep(40)
    attempts = len(target.calls) - calls
    assert attempts >= 0.95 * 50 * 40
    assert (leases.reads - reads) / attempts <= 0.011
    assert (leases.writes - writes) / attempts <= 0.011
    assert value(harness.metrics, "chaski_limit_leased_ratio", target="api") == 1
    assert value(harness.metrics, "chaski_limit_waiting_lanes", target="api") >= 1
    assert value(harness.metrics, "chaski_limit_parked_lanes_total", target="api") >= 1
    await harness.stop()


@pytest.mark.promise(10)
async def test_a_table_that_is_unavailable_stops_the_attempts_until_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Ten seconds later nothing is attempted; nothing is charged, and all is delivered afterwards."""
    target = target_of(0.02)
    harness = WorkerHarness(route(Ordering.STRICT), target)
    await send(harness, 20, 100)
    harness.start()
    await asyncio.sleep(5)
    harness.backend.faults.before = lambda action: _fail(action == "leases")
    await asyncio.sleep(30)
    assert rate_between(target, 16, 35) == 0
    assert "can't lease its limits" in caplog.text
    harness.backend.faults.before = lambda _action: None
    await harness.wait_until_empty(within=120)
    await harness.stop()
    assert_in_order(target, 20, 100)


def _fail(is_wanted: bool) -> None:
    if is_wanted:
        raise unavailable()


@pytest.mark.parametrize(("per", "expected"), [(LimitScope.HOST, 20), (LimitScope.RULE, 10)])
async def test_a_limit_is_for_each_host_or_for_the_rule(per: LimitScope, expected: int) -> None:
    """Two hosts under one wildcard rule, ten a second."""
    target = target_of(0.02)
    limits = LimitRule(rate_per_second=10, per=per)
    harness = WorkerHarness(route(Ordering.RELAXED, limits, "http://*.wild.example/"), target)
    for number, subject in itertools.product(range(60), range(10)):
        await harness.send(f"s{subject}", number, host=f"{'ab'[subject % 2]}.wild.example")
    harness.start()
    await asyncio.sleep(25)
    assert 0.8 * expected <= rate_between(target, 5, 25) <= 1.1 * expected
    await harness.stop()


@pytest.mark.promise(9)
async def test_a_limited_host_does_not_delay_others() -> None:
    """One attempt a second to one host, with far more subjects than lanes; another host's messages are delivered at once."""
    target = target_of(0.02)
    allow = [
        AllowRule("slow", "http://slow.example/", limits=LimitRule(rate_per_second=1)),
        AllowRule("fast", "http://fast.example/"),
    ]
    harness = WorkerHarness(make_route(Ordering.RELAXED, allow=allow, concurrency=16), target)
    for subject in range(200):
        await harness.send(f"slow{subject}", 0, host="slow.example")
    harness.start()
    await asyncio.sleep(20)
    for subject in range(10):
        await harness.send(f"fast{subject}", 0, host="fast.example")
    await asyncio.sleep(1)
    assert sum(call.subject.startswith("fast") for call in target.calls) == 10
    assert 17 <= sum(call.subject.startswith("slow") for call in target.calls) <= 24
    await harness.stop()


async def test_a_stopped_worker_leaves_no_lease() -> None:
    """Its shares are free at once."""
    harness = WorkerHarness(route(Ordering.RELAXED), target_of(0.02))
    await send(harness, 20, 50)
    harness.start()
    await asyncio.sleep(5)
    before = loop_time()
    await harness.stop()
    assert loop_time() - before < 1
    assert all(not table.leases for table in harness.backend.limit_leases.kept._tables.values())
