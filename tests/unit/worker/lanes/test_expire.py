"""A worker that attempts nothing and keeps what is about to expire."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from chaski_core.errors import BackendUnavailableError
from chaski_core.message.envelope import Metadata, write_envelope
from chaski_core.ports import OutgoingMessage, ReceivedMessage
from chaski_core.retry.ladder import Reason
from chaski_core.route.resolved import Generation
from chaski_worker.consumer.worker import Worker
from chaski_worker.delivery.triage import Stage
from chaski_worker.settings import WorkerSettings
from chaski_worker.shortage.sightings import Sightings
from support.metric_pages import value
from support.worker.harness import FakeTarget, World, make_route
from support.worker.memory_backend import LoopClock, MemoryBackend

pytestmark = [pytest.mark.looptime, pytest.mark.promise(2)]

DAY = 86_400
URLS = ["mem://old", "mem://p0", "mem://p1", "mem://rung-fast", "mem://rung-medium"]


def sweeper(world: World) -> Worker:
    """Of a route that is not suspended, an older generation of queues included."""
    older = Generation(1, {"messages": ("mem://old",)})
    current = replace(world.resolved.generations[-1], number=2)
    return Worker(
        replace(world.resolved, generations=(older, current)),
        backend=world.backend,
        deliverer=world.target,
        metrics=world.metrics,
        clock=world.clock,
        settings=WorkerSettings(observe_interval_seconds=10.0),
        stages=(Stage.FIRST, Stage.RETRY),
        sweep=True,
    )


async def put(backend: MemoryBackend, url: str, name: str) -> None:
    """A message on a queue, as ingest or a worker put it there."""
    metadata = Metadata(id=name, route="ns/r", accepted_at=0)
    body = write_envelope({"subject": name, "body": {"url": "http://t0.example/"}}, metadata)
    await backend.queue(url).send([OutgoingMessage(body, name, name)])


@pytest.fixture
def world() -> World:
    """A route of two partitions and two rungs, with a target that would take everything."""
    return World(make_route(partitions=2), FakeTarget(lambda *_: 200))


async def test_old_messages_of_every_queue_and_rung_are_kept_and_young_ones_stay(world: World) -> None:
    """Nothing is attempted, though the route is not suspended."""
    for number, url in enumerate(URLS):
        await put(world.backend, url, f"old-{number}")
    await asyncio.sleep(12.99 * DAY)
    for number, url in enumerate(URLS):
        await put(world.backend, url, f"young-{number}")
    worker = sweeper(world)
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(600)
    assert world.backend.dead_letters.kept == {}
    assert worker.last_poll_age() is None  # nothing to be called dead by between two sweeps
    await asyncio.sleep(2 * 3_600)
    kept = world.backend.dead_letters.kept.values()
    assert {letter.reason for letter in kept} == {Reason.EXPIRED}
    assert sorted(letter.id for letter in kept) == [f"old-{number}" for number in range(5)]
    assert [(await world.backend.queue(url).counts()).total for url in URLS] == [1] * 5
    worker.stop()
    await running
    assert world.target.calls == []


@pytest.mark.promise(9)
async def test_queue_that_can_not_be_received_from_does_not_hold_up_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked at again a minute later, and all of them are each time."""
    for number, url in enumerate(URLS):
        await put(world.backend, url, f"old-{number}")
    await asyncio.sleep(13.1 * DAY)

    async def away(**_: object) -> Sequence[ReceivedMessage]:
        raise BackendUnavailableError("away")

    monkeypatch.setattr(world.backend.queue("mem://p0"), "receive", away)
    worker = sweeper(world)
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(30)
    assert sorted(each.id for each in world.backend.dead_letters.kept.values()) == ["old-0", "old-2", "old-3", "old-4"]
    monkeypatch.undo()
    await asyncio.sleep(120)
    assert len(world.backend.dead_letters.kept) == 5
    worker.stop()
    await running


async def test_what_the_operator_goes_by_is_shown(world: World) -> None:
    """The age of the oldest message that was received, for each line, and lanes: none is held."""
    await put(world.backend, "mem://p1", "a")
    await asyncio.sleep(5 * DAY)
    await put(world.backend, "mem://p0", "b")
    worker = sweeper(world)
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(1_000)
    labels = {"namespace": "ns", "route": "r", "queue": "messages"}
    for name in ("chaski_queue_oldest_received_age_seconds", "chaski_queue_oldest_message_age_seconds"):
        assert value(world.metrics, name, **labels) == pytest.approx(5 * DAY, abs=1_100)
    assert value(world.metrics, "chaski_lanes", state="busy", **labels) == 0
    worker.stop()
    await running


async def test_sightings_are_forgotten_after_one_window_or_two() -> None:
    """So that an old message that was delivered does not stand for what waits."""
    world = World(make_route(), FakeTarget(lambda *_: 200))
    await put(world.backend, "mem://p0", "a")
    messages = await world.backend.queue("mem://p0").receive(
        max_messages=10, wait_seconds=0, visibility_seconds=1, attempt_id=""
    )
    seen = Sightings(LoopClock(), 600)
    seen.note("q", messages)
    assert seen.oldest(["q", "other"]) == messages[0].sent_at
    await asyncio.sleep(900)
    assert seen.oldest(["q"]) == messages[0].sent_at
    await asyncio.sleep(400)
    assert seen.oldest(["q"]) is None
