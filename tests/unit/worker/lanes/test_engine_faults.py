"""The consumer engine when it is paused, killed, refused or crowded, in virtual time with the real FIFO rules."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Sequence

import pytest

from chaski_core.ports import Failed, ReceivedMessage, VisibilityChange
from chaski_core.retry.ladder import Reason
from chaski_core.route.model import Ordering
from chaski_worker.lanes.lane import Lane
from chaski_worker.lanes.visibility import VisibilityManager
from chaski_worker.settings import WorkerSettings
from support.worker.harness import FakeTarget, World, make_route
from support.worker.memory_backend import EPOCH_MS, LoopClock, unavailable

pytestmark = pytest.mark.looptime

BOTH = pytest.mark.parametrize("ordering", [Ordering.RELAXED, Ordering.STRICT], ids=str)
NO_HEARTBEAT = WorkerSettings(renew_below=-1, observe_interval_seconds=0)


@BOTH
@pytest.mark.parametrize("late", [200, 500], ids=["late-success", "late-failure"])
async def test_a_worker_that_was_paused_drops_its_lane(ordering: Ordering, late: int) -> None:
    """A pause longer than the hold: another worker goes on with the messages, and the paused one does not touch them."""

    async def answer(_subject: str, number: int, _attempt: int) -> int:
        if number == 1 and asyncio.get_running_loop().time() < 10:
            await asyncio.sleep(200)  # the process stands still: its heartbeat does not beat either
            return late
        await asyncio.sleep(1)
        return 200

    world = World(make_route(ordering), FakeTarget(answer), NO_HEARTBEAT)
    for number in range(5):
        await world.send("s", number)
    world.start()
    await asyncio.sleep(5)
    world.start()
    await world.settled()
    await asyncio.sleep(200)
    await world.settled()
    await world.stop()

    assert list(dict.fromkeys(call.number for call in world.target.of("s"))) == [0, 1, 2, 3, 4]
    assert Counter(call.number for call in world.target.calls) == Counter({0: 1, 1: 2, 2: 1, 3: 1, 4: 1})


@BOTH
async def test_one_worker_never_runs_two_lanes_of_a_subject_side_by_side(ordering: Ordering) -> None:
    """Its own hold ran out during an attempt and the same messages come again: the second lane waits for the first."""

    async def answer(_subject: str, number: int, _attempt: int) -> int:
        await asyncio.sleep(150 if number == 1 and asyncio.get_running_loop().time() < 10 else 1)
        return 200

    world = World(make_route(ordering), FakeTarget(answer), NO_HEARTBEAT)
    for number in range(4):
        await world.send("s", number)
    world.start()
    await world.settled()
    await asyncio.sleep(150)
    await world.stop()

    calls = world.target.of("s")
    assert len(calls) == 5
    assert all(before.done <= after.at for before, after in itertools.pairwise(calls))
    assert {call.number for call in calls} == {0, 1, 2, 3}


async def test_a_refused_delete_ends_the_lane_and_the_message_comes_again() -> None:
    """A handle that the queue does not take any more: the rest of the lane is left alone, and nothing hangs."""
    world = World(make_route(), FakeTarget(lambda *_: 200))
    for number in range(5):
        await world.send("s", number)
    refusals = itertools.count()

    def refuse(action: str, _index: int) -> Failed | None:
        if action == "delete" and next(refusals) == 1:
            return Failed("InvalidParameterValue", "The receipt handle has expired", sender_fault=True)
        return None

    world.backend.faults.entry = refuse
    world.start()
    await world.settled(within=300)
    await world.stop()

    attempts = Counter(call.number for call in world.target.calls)
    assert attempts[0] == 1
    assert attempts[1] == 2
    assert set(attempts) == {0, 1, 2, 3, 4}


async def test_what_a_rung_refuses_for_good_is_a_dead_letter() -> None:
    """The rung's queue does not take the message (it is too large, say): it is kept, and the lane goes on."""
    world = World(make_route(), FakeTarget(lambda _s, number, _a: 500 if number == 0 else 200))
    for number in range(3):
        await world.send("s", number)

    def refuse(action: str, _index: int) -> Failed | None:
        return Failed("InvalidParameterValue", "too large", sender_fault=True) if action == "send" else None

    world.backend.faults.entry = refuse
    world.start()
    await world.settled(within=300)
    await world.stop()

    (letter,) = world.backend.dead_letters.kept.values()
    assert (letter.id, letter.reason, letter.attempts) == ("s-0", Reason.UNSENDABLE, 1)
    assert "too large" in letter.errors[-1].detail
    assert [call.number for call in world.target.calls] == [0, 1, 2]


@BOTH
@pytest.mark.promise(2)
@pytest.mark.promise(4)
async def test_a_crash_before_the_dead_letter_is_kept_repeats_the_put_and_not_the_ladder(ordering: Ordering) -> None:
    """Killed while the store is away: the next worker keeps the dead letter, once, with the time at which it is kept."""
    world = World(make_route(ordering), FakeTarget(lambda *_: 500))
    await world.send("s", 0)

    def away(action: str) -> None:
        if action == "put" and asyncio.get_running_loop().time() < 200:
            raise unavailable()

    world.backend.faults.before = away
    world.start()
    await asyncio.sleep(100)
    (first,) = (task for _, task in world.running)
    world.running.clear()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()  # SIGKILL: nothing of the process goes on
    await asyncio.gather(first, return_exceptions=True)
    world.start()
    await world.settled()
    await world.stop()

    (letter,) = world.backend.dead_letters.kept.values()
    times = [call.at for call in world.target.calls]
    assert len(times) == (6 if ordering is Ordering.STRICT else 7)  # Relaxed can't know that the last one was made
    assert 200_000 <= letter.dead_lettered_at - EPOCH_MS < 260_000  # by then every put succeeds
    assert letter.attempts == 6


@pytest.mark.promise(11)
async def test_a_stop_attempts_nothing_that_was_waiting_for_a_slot() -> None:
    """One slot, two subjects: after a stop the one under way finishes, and the one that waited is given back."""

    async def answer(_subject: str, _number: int, _attempt: int) -> int:
        await asyncio.sleep(10)
        return 200

    world = World(
        make_route(concurrency=1), FakeTarget(answer), WorkerSettings(lanes_per_slot=9, observe_interval_seconds=0)
    )
    await world.send("a", 0)
    await world.send("b", 0)
    world.start()
    await asyncio.sleep(5)
    await world.stop()

    assert len(world.target.calls) == 1
    counts = await world.backend.queue("mem://p0").counts()
    assert (counts.visible, counts.in_flight) == (1, 0)


@pytest.mark.promise(9)
async def test_lanes_that_made_room_come_back_after_a_moment() -> None:
    """40 subjects of one target and few slots: those that were put back return in seconds, not when a hold runs out."""

    async def answer(_subject: str, _number: int, _attempt: int) -> int:
        await asyncio.sleep(1)
        return 200

    world = World(make_route(targets=2, concurrency=4), FakeTarget(answer))
    for subject in range(40):
        await world.send(f"s{subject}", 0)
    world.start()
    await world.settled(within=45)
    await world.stop()

    assert len(world.target.calls) == 40


async def test_strict_gives_the_followers_of_a_failing_head_back_at_once() -> None:
    """When the head comes back after 5 s and is delivered, the next ones follow within moments."""
    world = World(
        make_route(Ordering.STRICT), FakeTarget(lambda _s, number, attempt: 500 if (number, attempt) == (0, 1) else 200)
    )
    for number in range(3):
        await world.send("s", number)
    world.start()
    await world.settled(within=30)
    await world.stop()

    assert [call.number for call in world.target.calls] == [0, 0, 1, 2]
    assert world.target.calls[-1].at < 8


class SlowQueue:
    """A queue whose visibility calls take a second; it notes when each began and ended."""

    url = "slow"
    atomic_batches = False
    retention_seconds = None

    def __init__(self) -> None:
        self.calls: list[tuple[float, float, list[int]]] = []

    async def change_visibility(self, changes: Sequence[VisibilityChange]) -> Sequence[Failed | None]:
        """As the port says, slowly."""
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(1)
        self.calls.append((began, asyncio.get_running_loop().time(), [change.seconds for change in changes]))
        return [None for _ in changes]

    async def delete(self, receipt_handles: Sequence[str]) -> Sequence[Failed | None]:
        """As the port says."""
        self.calls.append((asyncio.get_running_loop().time(), asyncio.get_running_loop().time(), []))
        return [None for _ in receipt_handles]


async def test_a_heartbeat_under_way_never_overwrites_a_backoff_or_lands_after_a_delete() -> None:
    """Both wait for it; and once the lane was put back, no heartbeat touches it any more."""
    queue = SlowQueue()
    holder = VisibilityManager(queue, clock=LoopClock(), random=lambda: 0.5, visibility_seconds=60)  # type: ignore[arg-type]
    messages = [ReceivedMessage(str(n), f"h{n}", b"", "g", f"d{n}", n, 0, 1, 0) for n in range(3)]
    lane = Lane("slow", messages, 0.0, 60.0)

    beat = asyncio.create_task(holder.extend(lane))
    await asyncio.sleep(0.5)
    await holder.delete(lane, messages[0])
    assert [seconds for _, _, seconds in queue.calls] == [[60, 60, 60], []]
    await beat
    beat = asyncio.create_task(holder.extend(lane))
    await asyncio.sleep(0.5)
    await holder.put_back(lane, 900)
    await asyncio.gather(beat, holder.extend(lane))
    assert [seconds for _, _, seconds in queue.calls[2:]] == [[60, 60], [900], [0]]
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(queue.calls))
