"""Visibility timeouts, deletes and releases: heartbeats, pauses and refused calls, in virtual time."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Sequence

import pytest

from chaski_core.ports import Failed, ReceivedMessage, VisibilityChange
from chaski_core.route.model import Ordering
from chaski_worker.lanes.deletes import LaneDeletes
from chaski_worker.lanes.lane import Lane
from chaski_worker.lanes.visibility import VisibilityManager
from chaski_worker.settings import WorkerSettings
from support.worker.harness import FakeTarget, WorkerHarness, make_route
from support.worker.memory_backend import LoopClock, refuse_delete

pytestmark = pytest.mark.looptime

BOTH = pytest.mark.parametrize("ordering", [Ordering.RELAXED, Ordering.STRICT], ids=str)
NO_HEARTBEAT = WorkerSettings(renew_below=-1, observe_interval_seconds=0)


class SlowQueue:
    """A queue whose visibility calls take a second; it records when each began and ended."""

    url = "slow"
    atomic_batches = False
    retention_seconds = None

    def __init__(self) -> None:
        self.calls: list[tuple[float, float, list[int]]] = []

    async def change_visibility(self, changes: Sequence[VisibilityChange]) -> Sequence[Failed | None]:
        """As `ports.Queue`, slowly."""
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(1)
        self.calls.append((began, asyncio.get_running_loop().time(), [change.seconds for change in changes]))
        return [None for _ in changes]

    async def delete(self, receipt_handles: Sequence[str]) -> Sequence[Failed | None]:
        """As in `chaski_core.ports`."""
        self.calls.append((asyncio.get_running_loop().time(), asyncio.get_running_loop().time(), []))
        return [None for _ in receipt_handles]


async def ignore(_message: ReceivedMessage, _end: None) -> None:
    """Nothing is to be done for a deleted message."""


async def test_a_heartbeat_under_way_never_overwrites_a_backoff_or_lands_after_a_delete() -> None:
    """Both wait for it; and once the head is hidden for its backoff, no heartbeat touches the lane any more."""
    queue = SlowQueue()
    holder = VisibilityManager(queue, clock=LoopClock(), visibility_seconds=60)  # type: ignore[arg-type]
    messages = [ReceivedMessage(str(n), f"h{n}", b"", "g", f"d{n}", n, 0, 1, 0) for n in range(3)]
    lane = Lane("slow", messages, 0.0, 60.0)

    beat = asyncio.create_task(holder.extend(lane))
    await asyncio.sleep(0.5)
    deletes = LaneDeletes(lane, holder, ignore, lambda: 0.5)
    deletes.add(messages[0], None)
    await deletes.finish()
    assert [seconds for _, _, seconds in queue.calls] == [[60, 60, 60], []]
    await beat
    beat = asyncio.create_task(holder.extend(lane))
    await asyncio.sleep(0.5)
    await holder.hide_head_and_release_rest(lane, 900)
    await asyncio.gather(beat, holder.extend(lane))
    assert [seconds for _, _, seconds in queue.calls[2:]] == [[60, 60], [900], [0]]
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(queue.calls))


async def test_long_waits_behind_slow_messages_are_covered_by_the_heartbeat() -> None:
    """Ten messages of 29 s each, held far longer than the visibility timeout, are each attempted once."""

    async def answer(_subject: str, _number: int, _attempt: int) -> int:
        await asyncio.sleep(29)
        return 200

    harness = WorkerHarness(make_route(), FakeTarget(answer))
    for number in range(10):
        await harness.send("s", number)
    harness.start()
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()

    assert list(range(10)) == [call.number for call in harness.target.calls]


async def test_a_refused_delete_ends_the_lane_and_the_message_is_redelivered() -> None:
    """The receipt handle is no longer valid: the rest of the lane is left alone, and nothing hangs."""
    harness = WorkerHarness(make_route(), FakeTarget(lambda *_: 200))
    for number in range(5):
        await harness.send("s", number)
    harness.backend.faults.entry = refuse_delete(1)
    harness.start()
    await harness.wait_until_empty(within=300)
    await harness.stop()

    attempts = Counter(call.number for call in harness.target.calls)
    assert attempts[0] == 1
    assert attempts[1] == 2
    assert set(attempts) == {0, 1, 2, 3, 4}


@BOTH
@pytest.mark.parametrize("late", [200, 500], ids=["late-success", "late-failure"])
async def test_a_worker_that_was_paused_drops_its_lane(ordering: Ordering, late: int) -> None:
    """A pause longer than the visibility timeout: another worker takes over, and the paused one does not touch the messages."""

    async def answer(_subject: str, number: int, _attempt: int) -> int:
        if number == 1 and asyncio.get_running_loop().time() < 10:
            await asyncio.sleep(200)  # the process stands still: its heartbeat does not beat either
            return late
        await asyncio.sleep(1)
        return 200

    harness = WorkerHarness(make_route(ordering), FakeTarget(answer), NO_HEARTBEAT)
    for number in range(5):
        await harness.send("s", number)
    harness.start()
    await asyncio.sleep(5)
    harness.start()
    await harness.wait_until_empty()
    await asyncio.sleep(200)
    await harness.wait_until_empty()
    await harness.stop()

    assert list(dict.fromkeys(call.number for call in harness.target.of("s"))) == [0, 1, 2, 3, 4]
    assert Counter(call.number for call in harness.target.calls) == Counter({0: 1, 1: 2, 2: 1, 3: 1, 4: 1})


@pytest.mark.promise(9)
async def test_parked_lanes_are_received_again_soon() -> None:
    """40 subjects of one target and few slots: parked lanes are received again in seconds, not after a visibility timeout."""

    async def answer(_subject: str, _number: int, _attempt: int) -> int:
        await asyncio.sleep(1)
        return 200

    harness = WorkerHarness(make_route(targets=2, concurrency=4), FakeTarget(answer))
    for subject in range(40):
        await harness.send(f"s{subject}", 0)
    harness.start()
    await harness.wait_until_empty(within=45)
    await harness.stop()

    assert len(harness.target.calls) == 40
