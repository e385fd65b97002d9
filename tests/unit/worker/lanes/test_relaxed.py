"""Relaxed ordering, and workers that only keep expiring messages, in virtual time with the real FIFO rules."""

import asyncio
import itertools
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import pytest

from chaski_core.errors import BackendUnavailableError
from chaski_core.ports import ReceivedMessage
from chaski_core.retry.ladder import Reason
from chaski_core.route.resolved import Generation
from chaski_worker.consumer.worker import Worker
from chaski_worker.delivery.triage import Stage
from chaski_worker.guard.guard import Guard
from chaski_worker.settings import WorkerSettings
from support.metric_pages import value
from support.worker.harness import FakeTarget, WorkerHarness, make_route

pytestmark = pytest.mark.looptime

DAY = 86_400
URLS = ["mem://old", "mem://p0", "mem://p1", "mem://rung-fast", "mem://rung-medium"]


def expiring_worker(harness: WorkerHarness) -> Worker:
    """A worker that only keeps expiring messages, of a route that is not suspended, with an older generation of queues."""
    older = Generation(1, {"messages": ("mem://old",)})
    current = replace(harness.resolved.generations[-1], number=2)
    return Worker(
        replace(harness.resolved, generations=(older, current)),
        backend=harness.backend,
        guard=Guard(harness.route.allow),
        deliver=harness.target.deliver,
        metrics=harness.worker_metrics,
        clock=harness.clock,
        settings=WorkerSettings(observe_interval_seconds=10.0),
        stages=(Stage.FIRST, Stage.RETRY),
        expire_only=True,
    )


@pytest.fixture
def harness() -> WorkerHarness:
    """A route of two partitions and two rungs, with a target that accepts everything."""
    return WorkerHarness(make_route(partitions=2), FakeTarget(lambda *_: 200))


@pytest.mark.promise(3)
async def test_relaxed_keeps_the_order_of_first_attempts_and_of_each_rung() -> None:
    """Failures move to their rungs; first attempts stay in order, and so do the retries of one rung."""
    chance = random.Random(11)
    harness = WorkerHarness(make_route(), FakeTarget(lambda *_: chance.choice([200, 500, 500, 404])))
    for number, subject in itertools.product(range(15), range(10)):
        await harness.send(f"s{subject}", number)
    harness.start()
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()

    by_attempt: dict[tuple[str, int], list[int]] = defaultdict(list)
    for entry in harness.backend.journal.entries:
        by_attempt[(entry.subject, entry.number)].append(int(entry.id.rpartition("-")[2]))
    for subject in range(10):
        assert list(range(15)) == by_attempt[(f"s{subject}", 1)]
        assert sorted(by_attempt[(f"s{subject}", 2)]) == by_attempt[(f"s{subject}", 2)]


@pytest.mark.promise(5)
async def test_a_message_without_metadata_on_a_rung_is_a_dead_letter() -> None:
    """Its ladder state is unknown, so it is not attempted."""
    harness = WorkerHarness(make_route(), FakeTarget(lambda *_: 200))
    await harness.put("mem://rung-fast", b'{"subject":"s","body":{"url":"http://t0.example/"},"extra":1}')
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()

    (dead_letter,) = harness.backend.dead_letters.kept.values()
    assert dead_letter.reason == Reason.NO_METADATA
    assert dead_letter.envelope == {"subject": "s", "body": {"url": "http://t0.example/"}, "extra": 1}
    assert harness.target.calls == []


async def test_a_suspended_route_dead_letters_expiring_messages_only() -> None:
    """Suspended for 15 days: no request, and each message becomes a dead dead_letter before its queue deletes it."""
    harness = WorkerHarness(make_route(suspended=True), FakeTarget(lambda *_: 200))
    for number, subject in itertools.product(range(15), range(3)):
        await harness.send(f"s{subject}", number)
    harness.start()
    await asyncio.sleep(12 * 86_400)
    assert harness.backend.dead_letters.kept == {}
    await harness.wait_until_empty(3 * 86_400, poll_every=600)
    await harness.stop()

    assert len(harness.backend.dead_letters.kept) == 45
    assert {Reason.EXPIRED} == {dead_letter.reason for dead_letter in harness.backend.dead_letters.kept.values()}
    assert harness.target.calls == []


async def test_a_suspended_route_does_not_poll_queues_without_retention() -> None:
    """Nothing expires: no receive, so that no receive is counted either."""
    harness = WorkerHarness(make_route(suspended=True), FakeTarget(lambda *_: 200), keeps=True)
    await harness.send("s", 0)
    harness.start()
    await asyncio.sleep(20 * 86_400)
    await harness.stop()

    assert {queue.calls["receive"] for queue in harness.backend.queues.values()} == {0}
    assert harness.backend.dead_letters.kept == {}


@pytest.mark.promise(2)
async def test_expiring_messages_of_every_queue_and_rung_become_dead_letters(harness: WorkerHarness) -> None:
    """Nothing is attempted, though the route is not suspended."""
    for number, url in enumerate(URLS):
        await harness.send_to(url, f"old-{number}")
    await asyncio.sleep(12.99 * DAY)
    for number, url in enumerate(URLS):
        await harness.send_to(url, f"young-{number}")
    worker = expiring_worker(harness)
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(600)
    assert harness.backend.dead_letters.kept == {}
    assert worker.last_poll_age() is None  # nothing to be called dead by between two sweeps
    await asyncio.sleep(2 * 3_600)
    kept = harness.backend.dead_letters.kept.values()
    assert {dead_letter.reason for dead_letter in kept} == {Reason.EXPIRED}
    assert sorted(dead_letter.id for dead_letter in kept) == [f"old-{number}" for number in range(5)]
    assert [(await harness.backend.queue(url).counts()).total for url in URLS] == [1] * 5
    worker.stop()
    await running
    assert harness.target.calls == []


@pytest.mark.promise(2)
@pytest.mark.promise(9)
async def test_an_unavailable_queue_does_not_delay_the_others(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is polled again a minute later; the others are polled at each pass."""
    for number, url in enumerate(URLS):
        await harness.send_to(url, f"old-{number}")
    await asyncio.sleep(13.1 * DAY)

    async def outage(**_: object) -> Sequence[ReceivedMessage]:
        raise BackendUnavailableError("unavailable")

    monkeypatch.setattr(harness.backend.queue("mem://p0"), "receive", outage)
    worker = expiring_worker(harness)
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(30)
    assert sorted(each.id for each in harness.backend.dead_letters.kept.values()) == [
        "old-0",
        "old-2",
        "old-3",
        "old-4",
    ]
    monkeypatch.undo()
    await asyncio.sleep(120)
    assert len(harness.backend.dead_letters.kept) == 5
    worker.stop()
    await running


@pytest.mark.promise(2)
async def test_the_metrics_for_the_autoscaler_are_shown(harness: WorkerHarness) -> None:
    """The age of the oldest received message of each queue group, and the lanes: none is held."""
    await harness.send_to("mem://p1", "a")
    await asyncio.sleep(5 * DAY)
    await harness.send_to("mem://p0", "b")
    worker = expiring_worker(harness)
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(1_000)
    labels = {"namespace": "ns", "route": "r", "queue": "messages"}
    for name in ("chaski_queue_oldest_received_age_seconds", "chaski_queue_oldest_message_age_seconds"):
        assert value(harness.metrics, name, **labels) == pytest.approx(5 * DAY, abs=1_100)
    assert value(harness.metrics, "chaski_lanes", state="busy", **labels) == 0
    worker.stop()
    await running
