"""Leases of limits: what holds for every sequence of reads, writes, crashes and pauses of many workers, in virtual time."""

import heapq
import itertools
import math
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaski_core.retry.leases import MAX_LEASES, TURN_SECONDS, Demand, Lease, LeaseHolder, fair_shares
from chaski_core.retry.limit import LimitRule

RULE = LimitRule(rate_per_second=50, concurrency=4)
ATTEMPT_SECONDS = 10.0
EXPIRY = 15 + ATTEMPT_SECONDS


def lease(holder: str, shares: int, wants: int, whole: int = 4) -> Lease:
    """One that has just been written."""
    return Lease(holder, shares, whole, wants, 1, 25)


@pytest.mark.parametrize(
    ("wants", "expected"),
    [
        ([4], [4]),
        ([4, 4], [2, 2]),
        ([4, 4, 4], [2, 1, 1]),
        ([4, 1], [3, 1]),
        ([1, 1], [1, 1]),
        ([4, 0, 2], [2, 0, 2]),
        ([4] * 6, [1, 1, 1, 1, 0, 0]),
        ([], []),
    ],
)
def test_shares_are_given_evenly_and_first_come_first(wants: list[int], expected: list[int]) -> None:
    """To those that want them."""
    assert fair_shares([lease(str(at), 0, want) for at, want in enumerate(wants)], 4) == expected


@dataclass
class World:
    """A table, its workers, and the attempts that the target sees."""

    rule: LimitRule = RULE
    now: float = 0.0
    version: int = 0
    table: tuple[Lease, ...] = ()
    events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    workers: list["Worker"] = field(default_factory=list)
    running: int = 0
    most_running: int = 0
    used_seconds: float = 0.0  # shares by seconds, that attempts used or could use
    held_by: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def at(self, seconds: float, run: Callable[[], None]) -> None:
        """Runs something after this number of seconds."""
        heapq.heappush(self.events, (self.now + seconds, next(self.numbers), run))

    def run_until(self, end: float) -> None:
        """Runs all events, and checks after each that no more is used than there is."""
        while self.events and self.events[0][0] <= end:
            at, _, run = heapq.heappop(self.events)
            self._account(at)
            run()
            self._check()
        self._account(end)

    def _account(self, until: float) -> None:
        for worker in self.workers:
            used = max(worker.usable(), self.rule.shares_for(worker.running))
            self.held_by[worker.holder.name] += used * (until - self.now)
            self.used_seconds += used * (until - self.now)
        self.now = until

    def _check(self) -> None:
        assert sum(worker.usable() for worker in self.workers) <= self.rule.shares
        assert self.running <= (self.rule.concurrency or math.inf)
        self.most_running = max(self.most_running, self.running)


@dataclass
class Worker:
    """One with its own clock, that uses all that it may."""

    world: World
    wants: Callable[[], int]
    randomness: random.Random
    offset: float = 0.0
    drift: float = 1.0  # its clock runs so much faster
    faults: float = 0.0  # share of the writes whose response is lost
    attempt_seconds: float = 1.0
    paused_until: float = 0.0
    dead: bool = False
    running: int = 0

    def __post_init__(self) -> None:
        self.holder = LeaseHolder(f"w{len(self.world.workers)}", self.world.rule, ATTEMPT_SECONDS)
        self.world.workers.append(self)
        self.world.at(0, self.read)
        self.world.at(0, self.start)

    def clock(self) -> float:
        """Its monotonic seconds."""
        return self.offset + self.world.now * self.drift

    def usable(self) -> int:
        """The shares that it would use now; a process that is paused starts nothing, but may go on at any time."""
        return 0 if self.dead else self.holder.usable(self.clock())

    def wait(self, seconds: float, run: Callable[[], None]) -> None:
        """Goes on after this number of seconds, and not while it is paused or dead."""

        def go_on() -> None:
            if self.dead:
                return
            if self.world.now < self.paused_until:
                self.wait(self.paused_until - self.world.now, run)
            else:
                run()

        self.world.at(seconds, go_on)

    def start(self) -> None:
        """Starts as many attempts as it may, and tries again soon."""
        while self.wants() and self.running < min(20, self.wants(), self.world.rule.slots_of(self.usable())):
            self.running += 1
            self.world.running += 1
            self.world.at(self.attempt_seconds, self.end)
        self.wait(0.2, self.start)

    def end(self) -> None:
        """The target has answered one; also where the worker is gone."""
        self.running -= 1
        self.world.running -= 1

    def latency(self) -> float:
        """Of half a request."""
        return self.randomness.uniform(0.001, 0.1)

    def read(self) -> None:
        """One turn: a read, a decision, a write under the condition that nothing has changed."""
        self.wait(self.latency(), self.decide)

    def decide(self) -> None:
        """With the table as it is now, applied a while later."""
        table, version = self.world.table, self.world.version

        def plan() -> None:
            wants = self.wants()
            busy = self.world.rule.shares_for(self.running)
            planned = self.holder.plan(table, Demand(max(wants, busy) if wants else 0, busy), self.clock())
            again = 0.5 if self.holder.entitled or self.holder.yields else 2.0
            if planned is None:
                self.wait(again, self.read)
            else:
                asked_at = self.clock()
                self.world.at(self.latency(), lambda: self.write(version, planned, asked_at, again))

        self.wait(self.latency(), plan)

    def write(self, version: int, planned: tuple[Lease, ...], asked_at: float, again: float) -> None:
        """Takes effect whatever has become of the worker."""
        if self.world.version != version:
            self.wait(self.randomness.uniform(0, 0.1), self.read)
            return
        self.world.table, self.world.version = planned, version + 1
        if self.randomness.random() < self.faults:
            self.wait(1.0, self.read)
            return

        def confirm() -> None:
            self.holder.confirm(planned, asked_at)
            self.wait(again, self.read)

        self.wait(self.latency(), confirm)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    rule=st.sampled_from([RULE, LimitRule(concurrency=7), LimitRule(rate_per_second=1), LimitRule(50, 8, 16)]),
    workers=st.integers(1, 12),
    kills=st.lists(st.tuples(st.integers(0, 11), st.floats(1, 100)), max_size=4),
    pauses=st.lists(st.tuples(st.integers(0, 11), st.floats(1, 100), st.floats(0.1, 60)), max_size=6),
    faults=st.sampled_from([0.0, 0.1, 0.5]),
)
def test_workers_together_never_use_more_than_the_limit(
    seed: int,
    rule: LimitRule,
    workers: int,
    kills: Sequence[tuple[int, float]],
    pauses: Sequence[tuple[int, float, float]],
    faults: float,
) -> None:
    """Whatever their clocks, their demand, lost responses, conflicts, pauses and crashes; attempts go on at the target meanwhile."""
    randomness = random.Random(seed)
    world = World(rule)

    def join(number: int) -> None:
        phase = randomness.uniform(5, 60)
        Worker(
            world,
            lambda: rule.shares if (world.now + number) % phase < phase * 0.7 else 0,
            randomness,
            offset=randomness.uniform(-1e6, 1e6),
            drift=randomness.uniform(0.98, 1.02),
            faults=faults,
            attempt_seconds=randomness.uniform(0.05, ATTEMPT_SECONDS),
        )

    for number in range(workers):
        world.at(randomness.uniform(0, 30), partial(join, number))

    def kill(number: int) -> None:
        for worker in world.workers[number : number + 1]:
            worker.dead = True

    def pause(number: int, seconds: float) -> None:
        for worker in world.workers[number : number + 1]:
            worker.paused_until = world.now + seconds

    for number, at in kills:
        world.at(at, partial(kill, number))
    for number, at, seconds in pauses:
        world.at(at, partial(pause, number, seconds))
    world.run_until(150)


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 5, 10, 30])
def test_a_limit_is_used_and_everyone_gets_a_turn(workers: int) -> None:
    """With work for all: nearly all shares are used, and evenly so over a few turns."""
    world, randomness = World(), random.Random(workers)
    for number in range(workers):
        Worker(world, lambda: 4, randomness, offset=1_000.0 * number)
    world.run_until(10)
    world.used_seconds = 0.0
    world.held_by.clear()
    turns = math.ceil(workers / 4)
    seconds = 20 * turns * TURN_SECONDS
    world.run_until(10 + seconds)
    assert world.used_seconds >= (0.9 if workers <= 10 else 0.8) * 4 * seconds
    mean = world.used_seconds / workers
    assert all(0.3 * mean <= each <= 2 * mean for each in world.held_by.values()), dict(world.held_by)
    assert world.most_running == 4


def test_shares_go_to_those_that_need_them() -> None:
    """One that needs one of four leaves the others to its neighbour, until it needs more."""
    world, randomness = World(), random.Random(1)
    needs = [4, 4]
    first, second = (Worker(world, lambda at=at: needs[at], randomness) for at in range(2))  # type: ignore[misc]
    world.run_until(10)
    assert (first.usable(), second.usable()) == (2, 2)
    needs[0] = 1
    world.run_until(20)
    assert (first.usable(), second.usable()) == (1, 3)
    needs[0] = 0
    world.run_until(30)
    assert (first.usable(), second.usable()) == (0, 4)
    assert [each.holder for each in world.table] == [second.holder.name], "it has left the table"
    needs[0] = 4
    world.run_until(40)
    assert (first.usable(), second.usable()) == (2, 2)


def test_a_lost_worker_gives_its_shares_back_after_the_expiry() -> None:
    """Not before: its attempts may still be under way at the target."""
    world, randomness = World(), random.Random(1)
    first, second = (Worker(world, lambda: 4, randomness, offset=at * 500.0) for at in range(2))
    world.run_until(10)
    first.dead = True
    world.run_until(10 + EXPIRY - 2.5)  # its last write is 2.2 s older than its end at most
    assert second.usable() == 2
    world.run_until(10 + EXPIRY + 2.5)
    assert second.usable() == 4


def test_a_worker_that_cannot_renew_stops_in_time() -> None:
    """Ten seconds after its last write was sent, by its own clock."""
    holder = LeaseHolder("a", RULE, ATTEMPT_SECONDS)
    table = holder.plan((), Demand(4, 0), 100.0)
    assert table is not None
    assert holder.usable(100.0) == 0
    holder.confirm(table, 100.0)
    assert holder.usable(109.9) == 4
    assert holder.usable(110.0) == 0


def test_a_worker_whose_lease_was_taken_over_starts_again() -> None:
    """It takes part as a new one, with a count that others have not seen."""
    holder = LeaseHolder("a", RULE, ATTEMPT_SECONDS)
    table = holder.plan((), Demand(4, 0), 0.0)
    assert table is not None
    holder.confirm(table, 0.0)
    others = (lease("b", 4, 4),)
    again = holder.plan(others, Demand(4, 0), 60.0)
    assert again is not None
    assert holder.usable(60.0) == 0
    assert [(each.holder, each.shares) for each in again] == [("b", 4), ("a", 0)]
    assert again[1].beat > table[0].beat


def test_shares_are_given_back_once_their_attempts_have_ended() -> None:
    """Nothing starts with them meanwhile, also where the write's end is not known."""
    holder = LeaseHolder("a", RULE, ATTEMPT_SECONDS)
    table = holder.plan((), Demand(4, 0), 0.0)
    assert table is not None
    holder.confirm(table, 0.0)
    asked = (*table, lease("b", 0, 4))
    planned = holder.plan(asked, Demand(4, 3), 1.0)
    assert planned is not None
    assert holder.usable(1.0) == 2
    assert holder.yields
    assert planned[0].shares == 3
    planned = holder.plan(asked, Demand(4, 2), 2.0)
    assert planned is not None
    assert planned[0].shares == 2
    assert not holder.yields


def test_releases_with_other_limits_share_by_parts() -> None:
    """While a route changes its limits: half of the old one leaves half of the new one."""
    holder = LeaseHolder("new", LimitRule(concurrency=3), ATTEMPT_SECONDS)
    planned = holder.plan((lease("old", 2, 2, whole=4),), Demand(3, 0), 0.0)
    assert planned is not None
    assert planned[1].shares == 1, "one third: two are more than a half"


def test_a_table_has_a_bounded_number_of_workers() -> None:
    """One more waits, and asks again."""
    holder = LeaseHolder("new", RULE, ATTEMPT_SECONDS)
    full = [lease(f"w{number}", 0, 1) for number in range(MAX_LEASES)]
    assert holder.plan(full, Demand(1, 0), 0.0) is None
    assert holder.plan(full[1:], Demand(1, 0), 0.0) is not None
