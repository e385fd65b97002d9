"""Generations of queues: the older one is drained before the newer one is consumed."""

import asyncio
import dataclasses

import pytest

from chaski_core.errors import BackendRejectedError
from chaski_core.route.resolved import Generation
from chaski_worker.settings import WorkerSettings
from support.worker.harness import FakeTarget, WorkerHarness, make_route
from support.worker.memory_backend import unavailable

pytestmark = pytest.mark.looptime


@pytest.mark.promise(3)
async def test_the_newer_generation_waits_for_the_older_one() -> None:
    """Messages of the same subject in both: not one of the newer is attempted before the older queue is empty."""

    async def answer(_subject: str, number: int, attempt: int) -> int:
        await asyncio.sleep(1)
        return 404 if number == 3 and attempt == 1 else 200

    settings = WorkerSettings(drained_polls=3, drained_over_seconds=60, observe_interval_seconds=0)
    harness = WorkerHarness(make_route(), FakeTarget(answer), settings)
    for number in range(20):
        await harness.send("s", number)
    harness.resolved = dataclasses.replace(
        harness.resolved, generations=(harness.resolved.current, Generation(2, {"messages": ("mem://new",)}))
    )
    for number in range(20, 30):
        await harness.send("s", number)
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()

    firsts = list(dict.fromkeys(call.number for call in harness.target.of("s")))
    assert list(range(30)) == firsts
    old_done = max(call.done for call in harness.target.calls if call.number < 20 and call.number != 3)
    new_from = min(call.at for call in harness.target.calls if call.number >= 20)
    assert new_from - old_done >= 60


async def test_no_generation_is_skipped_while_counts_are_unavailable() -> None:
    """Failed counts are unknown, and unknown is not empty."""
    harness = WorkerHarness(make_route(), FakeTarget(lambda *_: 200))
    harness.resolved = dataclasses.replace(
        harness.resolved, generations=(harness.resolved.current, Generation(2, {"messages": ("mem://new",)}))
    )
    await harness.send("s", 0)

    def blind(action: str) -> None:
        if action == "counts" and asyncio.get_running_loop().time() < 500:
            raise unavailable()

    harness.backend.faults.before = blind
    harness.start()
    await asyncio.sleep(499)
    assert harness.target.calls == []
    await asyncio.sleep(2)
    await harness.wait_until_empty()
    await harness.stop()
    assert len(harness.target.calls) == 1


@pytest.mark.promise(3)
async def test_a_queue_waits_for_the_older_generation_of_all_queues() -> None:
    """A subject that moved from one queue to another: the new one's worker waits until the old one is empty."""
    settings = WorkerSettings(drained_polls=3, drained_over_seconds=60, observe_interval_seconds=0)
    harness = WorkerHarness(make_route(), FakeTarget(lambda *_: 200), settings)
    await harness.send("s", 0)
    old = Generation(1, {"old": harness.resolved.current.queues["messages"]})
    harness.resolved = dataclasses.replace(
        harness.resolved, generations=(old, Generation(2, {"messages": ("mem://new",)}))
    )
    await harness.send("s", 1)
    harness.start(only_queue="messages")
    await asyncio.sleep(1000)
    assert harness.target.calls == []  # `old` is another worker's, and still holds a message

    harness.start(only_queue="old")
    await harness.wait_until_empty()
    await harness.stop()
    assert [call.number for call in harness.target.of("s")] == [0, 1]


async def test_a_deleted_older_generation_does_not_block_the_newer_one() -> None:
    """A worker that still reads its name from an old file: it was deleted because it was empty."""
    harness = WorkerHarness(make_route(), FakeTarget(lambda *_: 200))
    harness.resolved = dataclasses.replace(
        harness.resolved, generations=(Generation(1, {"messages": ("mem://gone",)}), harness.resolved.current)
    )

    async def gone(**_arguments: object) -> None:
        raise BackendRejectedError("QueueDoesNotExist", "there is no such queue")

    queue = harness.backend.queue("mem://gone")
    queue.counts = queue.receive = gone  # type: ignore[method-assign,assignment]
    await harness.send("s", 0)
    harness.start()
    async with asyncio.timeout(1_000):
        while not harness.target.calls:
            await asyncio.sleep(1)
    await harness.stop()
    assert len(harness.target.calls) == 1
