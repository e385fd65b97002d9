"""Slots shared out by host: the decision by itself, and a worker with a wildcard rule, in virtual time."""

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaski_core.route.model import AllowRule, Ordering
from chaski_worker.delivery.limits import MAX_HOSTS, HostShares
from support.worker.harness import FakeTarget, WorkerHarness, make_route

TOTALS = st.integers(min_value=1, max_value=80)


@dataclass
class Model:
    """What the shares should know, kept in the plainest way."""

    shares: HostShares
    held: dict[str, int] = field(default_factory=dict)
    answers: set[str] = field(default_factory=set)

    def take(self, host: str) -> bool:
        """Takes a slot."""
        if self.shares.take(host):
            self.held[host] = self.held.get(host, 0) + 1
            return True
        return False

    def end(self, host: str, *, answered: bool | None) -> None:
        """Returns a slot."""
        self.held[host] -= 1
        self.shares.end(host, answered=answered)
        if answered is not None:
            (self.answers.add if answered else self.answers.discard)(host)


@pytest.mark.promise(9)
@given(TOTALS, st.lists(st.tuples(st.integers(0, 9), st.sampled_from([True, False, None])), max_size=300))
def test_limits_hold_whatever_comes(total: int, steps: list[tuple[int, bool | None]]) -> None:
    """No more slots than there are; no host more than its most; and every host that is limited is so only beside others."""
    model = Model(HostShares(total, several=True))
    for number, answered in steps:
        host = f"h{number}"
        if not model.take(host) and model.held.get(host):
            model.end(host, answered=answered)
        taken = sum(model.held.values())
        assert (model.shares.taken, model.shares.free) == (taken, total - taken)
        assert max(model.held.values()) <= max(1, total - total // 4)
        assert model.shares.take("new") or taken >= max(1, total - total // 4), "a free slot that nobody may have"
        if model.shares.taken > taken:
            model.shares.end("new", answered=None)


@pytest.mark.promise(9)
@given(st.integers(min_value=4, max_value=80), st.lists(st.integers(0, 999), min_size=200, max_size=1_000))
def test_however_many_hosts_hang_a_quarter_stays(total: int, arrivals: list[int]) -> None:
    """Hosts that never answer, known or not, leave a quarter to one that does."""
    shares = HostShares(total, several=True)
    assert shares.take("good")
    shares.end("good", answered=True)
    running: list[str] = []
    for count, number in enumerate(arrivals):
        if shares.take(f"h{number}"):
            running.append(f"h{number}")
        elif running and count % 7 == 0:
            shares.end(running.pop(0), answered=False)
    quarter = max(1, total // 4)
    assert sum(shares.take("good") for _ in range(total)) >= quarter


@pytest.mark.promise(9)
@given(st.integers(min_value=8, max_value=80))
def test_a_host_is_tried_beside_many_that_hang(total: int) -> None:
    """A host that was not attempted yet gets a slot beside hosts that are known to hang."""
    shares = HostShares(total, several=True)
    for number in range(total):
        if shares.take(f"h{number}"):
            shares.end(f"h{number}", answered=False)
    while any(shares.take(f"h{number}") for number in range(total)):
        pass
    assert shares.take("new")
    assert not shares.take("new"), "on trial it has one"
    shares.end("new", answered=True)
    assert sum(shares.take("new") for _ in range(total)) >= max(1, total // 4)


def test_a_host_that_stops_answering_is_noticed_while_its_attempts_run() -> None:
    """Between one and two seconds after its last response it counts as silent, and gets no further slot of the reserve."""
    shares = HostShares(16, several=True)
    for host in ("a", "b"):
        assert shares.take(host)
        shares.end(host, answered=True)
    for _ in range(6):
        assert shares.take("a")
        assert shares.take("b")
    shares.check(10.0)
    shares.check(10.9)
    shares.end("b", answered=True)
    shares.check(11.0)
    assert shares.crowds_out("a") is False, "all silent hosts together hold less than they may"
    assert shares.take("b")
    assert [shares.take("a") for _ in range(6)] == [True, True, True, True, False, False]
    assert [shares.take("b") for _ in range(6)] == [False] * 6, "none is free"
    shares.end("a", answered=False)
    assert shares.choose(["a", "b"]) == "b"
    shares.end("a", answered=True)
    assert shares.choose(["b", "a"]) == "b"


def test_a_quiet_moment_without_attempts_makes_no_host_silent() -> None:
    """What began after the last check has had no time to answer."""
    shares = HostShares(8, several=True)
    assert shares.take("a")
    shares.end("a", answered=True)
    shares.check(1.0)
    shares.check(50.0)
    for _ in range(6):
        assert shares.take("a")
    shares.check(100.0)
    assert not shares.crowds_out("a")
    assert shares.take("b")
    assert shares.take("c")


def test_the_number_of_hosts_is_bounded() -> None:
    """Hosts that hold slots are kept."""
    shares = HostShares(8, several=True)
    assert shares.take("busy")
    for number in range(3 * MAX_HOSTS):
        assert shares.take(f"h{number}")
        shares.end(f"h{number}", answered=True)
    assert len(shares._hosts) == MAX_HOSTS
    shares.end("busy", answered=True)


@pytest.mark.looptime
@pytest.mark.promise(9)
@pytest.mark.parametrize("ordering", [Ordering.RELAXED, Ordering.STRICT], ids=str)
@pytest.mark.parametrize("known", [True, False], ids=["known-before", "first-seen-in-the-outage"])
async def test_one_good_host_beside_a_hundred_that_hang(ordering: Ordering, *, known: bool) -> None:
    """One wildcard rule, 16 slots, 100 hosts that hang with two subjects each: four subjects of a good host go on.

    Four attempts at once are a quarter of the slots. Alone they take 10 seconds; beside the outage less than twice as long, and if
    the host was not attempted before, a timeout more: until a slot for first attempts is free.
    """

    async def answer(subject: str, _number: int, _attempt: int) -> int:
        if subject.startswith("bad"):
            await asyncio.sleep(30)
            return 0
        await asyncio.sleep(0.1)
        return 200

    rule = AllowRule("wild", "http://*.wild.example/")
    harness = WorkerHarness(make_route(ordering, allow=[rule], concurrency=16), FakeTarget(answer))
    if known:
        await harness.send("good0", 0, host="good.wild.example")
    for host in range(100):
        for subject in range(2):
            await harness.send(f"bad{host}-{subject}", 0, host=f"bad{host}.wild.example")
    harness.start()
    await asyncio.sleep(40)
    began = asyncio.get_running_loop().time()
    for number in range(1, 101):
        for subject in range(4):
            await harness.send(f"good{subject}", number, host="good.wild.example")
    wanted = 400 + known
    async with asyncio.timeout(600):
        while len([call for call in harness.target.calls if call.subject.startswith("good")]) < wanted:
            await asyncio.sleep(0.1)
    took = asyncio.get_running_loop().time() - began
    assert harness.target.most_running <= 16 * len(harness.running[0][0]._consumers)
    for subject in range(4):
        numbers = [call.number for call in harness.target.of(f"good{subject}")]
        assert numbers == sorted(numbers)
    assert took < (20 if known else 50), f"{took:.1f} s"
    await harness.stop()
