"""Hosts that fail, held by their breakers, in virtual time with the real FIFO rules."""

import asyncio
import contextlib
import itertools
import logging
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from types import FrameType

import pytest

from chaski_core.retry.breaker import BreakerRule
from chaski_core.retry.ladder import Reason
from chaski_core.retry.outcome import Outcome
from chaski_core.retry.policy import Ladder, RetryPolicy, Rung
from chaski_core.route.model import AllowRule, Delivery, Ordering, Route
from chaski_worker.consumer import queue_groups
from chaski_worker.delivery.attempt import AttemptContext
from chaski_worker.guard.guard import Target
from chaski_worker.settings import WorkerSettings
from support.metric_pages import value
from support.worker.harness import Call, FakeTarget, WorkerHarness, loop_time, make_route

pytestmark = pytest.mark.looptime

BOTH = pytest.mark.parametrize("ordering", list(Ordering), ids=str)
BREAKER = BreakerRule(consecutive_failures=5, probe_seconds=5, max_probe_seconds=60)
POLICY = RetryPolicy((Rung("fast", 5), Rung("slow", 600)), (Ladder("any", 2, ("fast", "slow")),))
FIVE = range(5)


@contextlib.contextmanager
def calls_of_chaski() -> Iterator[Counter[str]]:
    """The calls of Chaski's functions meanwhile, by name."""
    calls = Counter[str]()

    def on_event(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and "chaski_" in frame.f_code.co_filename:
            calls[frame.f_code.co_qualname] += 1

    sys.setprofile(on_event)
    try:
        yield calls
    finally:
        sys.setprofile(None)


@dataclass
class Hosts(FakeTarget):
    """Hosts named by a letter; each answers as `down` says: 0 hangs for 30 s, any other status comes at once."""

    down: Callable[[str], int] = lambda _host: 200
    seconds: float = 0.1  # of an answer
    running_by_host: Counter[str] = field(default_factory=Counter)
    most_by_host: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    async def deliver(self, attempt: AttemptContext) -> Outcome:
        """One call."""
        assert isinstance(attempt.target, Target)
        host = attempt.target.host.partition(".")[0]
        self.running_by_host[host] += 1
        self.most_by_host[host] = max(self.most_by_host[host], self.running_by_host[host])

        async def answer(*_: object) -> int:
            await asyncio.sleep(0)
            status = self.down(host)
            await asyncio.sleep(self.seconds if status else 30)
            return status

        one = FakeTarget(answer)
        try:
            return await one.deliver(attempt)
        finally:
            self.calls += one.calls
            self.running_by_host[host] -= 1


def route(ordering: Ordering, breaker: BreakerRule | None = BREAKER, concurrency: int = 16) -> Route:
    """One wildcard rule."""
    rule = AllowRule("wild", "http://*.wild.example/", breaker=breaker)
    return make_route(ordering, allow=[rule], policy=POLICY, concurrency=concurrency)


async def send(harness: WorkerHarness, hosts: str, subjects: int, numbers: range = FIVE) -> None:
    """For each host `subjects` subjects that are named after it."""
    for number, host, subject in itertools.product(numbers, hosts, range(subjects)):
        await harness.send(f"{host}{subject}", number, host=f"{host}.wild.example")


def of_host(target: FakeTarget, host: str) -> list[Call]:
    """The calls to a host, in the order in which they began."""
    return sorted((call for call in target.calls if call.subject.startswith(host)), key=lambda call: call.at)


def assert_delivered_in_order(target: FakeTarget, hosts: str, subjects: int) -> None:
    """Each message was delivered once; the first attempts of each subject are in order."""
    for host, subject in itertools.product(hosts, range(subjects)):
        calls = target.of(f"{host}{subject}")
        assert list(dict.fromkeys(call.number for call in calls)) == list(FIVE), (host, subject)
        assert Counter(call.number for call in calls if call.status == 200) == Counter(FIVE)


@BOTH
@pytest.mark.promise(2)
@pytest.mark.promise(3)
@pytest.mark.promise(4)
@pytest.mark.promise(9)
async def test_an_outage_uses_up_the_threshold_and_the_probes(
    ordering: Ordering, caplog: pytest.LogCaptureFixture
) -> None:
    """A host that hangs and one that answers 503 for half an hour: nothing is a dead letter, and others are not delayed."""
    caplog.set_level(logging.INFO, "chaski_worker.hosts.holds")
    end = 1_800.0
    target = Hosts(lambda *_: 200, down=lambda host: {"a": 503, "b": 0}.get(host, 200) if loop_time() < end else 200)
    harness = WorkerHarness(route(ordering), target)
    await send(harness, "abc", 20)
    harness.start()
    await asyncio.sleep(120)
    assert len(of_host(target, "c")) == 100
    assert value(harness.metrics, "chaski_target_held", target="wild", reason="Breaker") == 1
    await asyncio.sleep(end - loop_time())
    for host, takes in (("a", 0), ("b", 30)):
        calls = [call for call in of_host(target, host) if call.at < end]
        in_flight = 16
        probes = [call for call in calls if call.at > 180]
        assert (end - 180) / (60 + takes) - 1 <= len(probes) <= (end - 180) / (60 + takes) + 1
        assert len(calls) <= 5 - 1 + in_flight + 6 + len(probes)
        assert all(later.at - earlier.at >= 60 for earlier, later in itertools.pairwise(probes))
        entries = [each for each in harness.backend.journal.entries if each.subject.startswith(host)]
        charged = {each.id: each.number - 1 for each in sorted(entries, key=lambda each: each.number)}
        assert sum(charged.values()) <= 5 - 1 + in_flight, "what was let pass by the breaker is not counted"
    await harness.wait_until_empty(within=2 * 60 + 60 + 90)  # two intervals, one step of hiding, the drain
    await harness.stop()

    assert harness.backend.dead_letters.kept == {}
    assert_delivered_in_order(target, "abc", 20)
    assert harness.repeats() == 0
    assert value(harness.metrics, "chaski_target_held", target="wild", reason="Breaker") == 0
    texts = [record.getMessage() for record in caplog.records]
    assert any(
        text.startswith("ns/r holds http://a.wild.example of target wild (Breaker) until it answers") for text in texts
    )
    assert sum("no longer holds http://b.wild.example" in text for text in texts) == 1
    for host in "ab":
        later = [call for call in of_host(target, host) if call.at >= end]
        firsts = [call for call in later if call.done <= later[0].done]
        assert len(firsts) == 1, "one lane first"


@BOTH
@pytest.mark.promise(9)
async def test_a_message_that_always_fails_does_not_keep_its_host_held(ordering: Ordering) -> None:
    """It opened the breaker and makes the first probes; then others make them in turn, so that the recovery is seen."""
    end = 100.0
    target = Hosts(lambda *_: 200)

    async def deliver(attempt: AttemptContext) -> Outcome:
        fails = attempt.label == "a0-0" or loop_time() < end
        target.down = lambda _host: 503 if fails else 200
        return await Hosts.deliver(target, attempt)

    harness = WorkerHarness(route(ordering, replace(BREAKER, consecutive_failures=1)), target)
    harness.target.deliver = deliver  # type: ignore[method-assign]
    await send(harness, "a", 1, range(1))
    harness.start()
    await asyncio.sleep(30)
    for subject in range(1, 6):
        await harness.send(f"a{subject}", 0, host="a.wild.example")
    await asyncio.sleep(end + 2 * 60 + 60 - loop_time())
    assert {call.subject for call in target.calls if call.status == 200} == {f"a{subject}" for subject in range(1, 6)}
    await harness.stop()


@BOTH
@pytest.mark.promise(4)
async def test_after_the_longest_hold_messages_climb_their_ladders(ordering: Ordering) -> None:
    """And nothing is held again before the host answers."""
    target = Hosts(lambda *_: 200, down=lambda _host: 503)
    harness = WorkerHarness(route(ordering, replace(BREAKER, max_hold_seconds=3_600)), target)
    await send(harness, "a", 10, range(1))
    harness.start()
    await asyncio.sleep(3_500)
    assert harness.backend.dead_letters.kept == {}
    await harness.wait_until_empty(within=10 * 1_400)
    await harness.stop()
    kept = harness.backend.dead_letters.kept.values()
    assert {(each.reason, each.attempts) for each in kept} == {(Reason.EXHAUSTED, 5)}
    assert len(kept) == 10
    assert value(harness.metrics, "chaski_target_held", target="wild", reason="Breaker") == 0


@BOTH
@pytest.mark.promise(9)
async def test_many_held_hosts_leave_lanes_for_others(ordering: Ordering) -> None:
    """Of 26 failing hosts with 4 slots: at most a quarter of the lanes waits for probes, so others are delivered at once."""
    target = Hosts(lambda *_: 200, down=lambda host: 200 if host == "z" else 503)
    harness = WorkerHarness(route(ordering, replace(BREAKER, consecutive_failures=1), concurrency=4), target)
    await send(harness, "abcdefghijklmnopqrstuvwxy", 2)
    harness.start()
    await asyncio.sleep(300)
    waiting = value(harness.metrics, "chaski_lanes", queue="messages", state="waiting")
    assert waiting <= 2
    assert value(harness.metrics, "chaski_subjects", queue="messages") <= 10, "subjects of held hosts need no Pods"
    await send(harness, "z", 10)
    at = loop_time()
    while len(of_host(target, "z")) < 50:
        await asyncio.sleep(1)
    assert loop_time() - at < 30
    await harness.stop()


@BOTH
@pytest.mark.promise(9)
async def test_a_queue_at_its_backlog_limit_holds_nothing(ordering: Ordering, monkeypatch: pytest.MonkeyPatch) -> None:
    """The messages of a failing host climb their ladders, so that the other subjects of the queue stay visible."""
    monkeypatch.setattr(queue_groups, "BACKLOG_LIMIT", 80)
    monkeypatch.setattr(queue_groups, "_BELOW_LIMIT", 60)
    target = Hosts(lambda *_: 200, down=lambda _host: 503)
    harness = WorkerHarness(route(ordering), target, WorkerSettings(observe_interval_seconds=10))
    await send(harness, "a", 14)
    harness.start()
    await asyncio.sleep(600)
    assert value(harness.metrics, "chaski_target_held", target="wild", reason="Breaker") == 1
    held = len(target.calls)
    await send(harness, "a", 30, range(5, 6))
    await asyncio.sleep(120)
    assert len(target.calls) > held + 30
    await harness.stop()


@BOTH
@pytest.mark.promise(2)
@pytest.mark.promise(3)
@pytest.mark.promise(4)
async def test_kills_during_an_outage_charge_the_threshold_each(ordering: Ordering) -> None:
    """Three processes, each killed during the hold: nothing is lost or reordered, and each is charged no more."""
    target = Hosts(lambda *_: 200, down=lambda _host: 503 if loop_time() < 900 else 200)
    harness = WorkerHarness(route(ordering), target)
    await send(harness, "a", 20)
    for _ in range(3):
        before = len(target.calls)
        harness.start()
        await asyncio.sleep(200)
        await harness.kill()
        in_flight = target.most_by_host["a"]  # of first attempts, and in Relaxed of retries beside them
        assert len(target.calls) - before <= 5 - 1 + in_flight + 6
    harness.start()
    await harness.wait_until_empty(within=3_000)
    await harness.stop()
    assert harness.backend.dead_letters.kept == {}
    assert_delivered_in_order(target, "a", 20)


@BOTH
@pytest.mark.promise(4)
async def test_a_wait_that_a_host_asked_for_ends_with_one_lane(ordering: Ordering) -> None:
    """With a breaker, a Retry-After of a minute is followed by one attempt, two, four; not by all that has waited."""
    target = Hosts(lambda *_: 200, seconds=1.0)
    asks = True

    async def deliver(attempt: AttemptContext) -> Outcome:
        outcome = await Hosts.deliver(target, attempt)
        return replace(outcome, retry_after_seconds=60.0) if asks else outcome

    harness = WorkerHarness(route(ordering), target)
    target.down = lambda _host: 503 if asks else 200
    harness.target.deliver = deliver  # type: ignore[method-assign]
    await send(harness, "a", 1)
    harness.start()
    await asyncio.sleep(30)
    asks = False
    await send(harness, "b", 1)
    for subject in range(1, 20):
        await harness.send(f"a{subject}", 0, host="a.wild.example")
    await harness.wait_until_empty(within=900)
    await harness.stop()
    later = [call for call in of_host(target, "a") if call.at > 30]
    assert later[0].at >= 60
    assert sum(call.at < later[0].done for call in later) == 1
    assert len(of_host(target, "b")) == 5


@BOTH
@pytest.mark.promise(2)
@pytest.mark.promise(4)
async def test_one_subject_waits_for_most_of_a_day(ordering: Ordering) -> None:
    """Longer than a message can be hidden without being received again: nothing is repeated, and no retry is used up."""
    end = 46_800.0
    target = Hosts(lambda *_: 200, down=lambda _host: 503 if loop_time() < end else 200)
    settings = WorkerSettings(observe_interval_seconds=0, visibility_seconds=600, wait_seconds=200)
    rule = replace(BREAKER, consecutive_failures=1, max_probe_seconds=300)
    harness = WorkerHarness(route(ordering, rule), target, settings)
    await send(harness, "a", 1)
    harness.start()
    await asyncio.sleep(end)
    assert (end - 2_000) / 301 <= len(target.calls) <= end / 300 + 8
    await harness.wait_until_empty(within=2 * 300 + 60, poll_every=5)
    await harness.stop()
    assert harness.backend.dead_letters.kept == {}
    assert_delivered_in_order(target, "a", 1)
    assert harness.repeats() == 0
    assert {entry.number for entry in harness.backend.journal.entries} == {1, 2}


async def test_a_hold_that_no_message_waits_for_ends() -> None:
    """Its messages have got too old: the metric does not report it for days."""
    target = Hosts(lambda *_: 200, down=lambda _host: 503)
    harness = WorkerHarness(replace(route(Ordering.STRICT), delivery=Delivery(30, 16, 600)), target)
    await send(harness, "a", 10, range(1))
    worker = harness.start()
    await asyncio.sleep(1_300)
    assert len(harness.backend.dead_letters.kept) == 10, "also the one that makes the probes"
    assert value(harness.metrics, "chaski_target_held", target="wild", reason="Breaker") == 1
    await asyncio.sleep(2 * 3_600)
    assert value(harness.metrics, "chaski_target_held", target="wild", reason="Breaker") == 0
    assert worker._holds.failing == {}
    await harness.stop()


async def test_an_idle_breaker_makes_no_delivery_longer() -> None:
    """As many calls of functions of Chaski with a breaker as without, for messages of which none fails: it costs nothing."""
    numbers = []
    for breaker in (None, BREAKER):
        harness = WorkerHarness(route(Ordering.RELAXED, breaker), Hosts(lambda *_: 200))
        harness.start()
        await send(harness, "a", 1)  # what happens once
        await harness.wait_until_empty()
        await send(harness, "b", 40)
        with calls_of_chaski() as calls:
            await harness.wait_until_empty()
        numbers.append(calls.total())
        await harness.stop()
    assert numbers[0] > 40 * len(FIVE) * 10
    assert abs(numbers[0] - numbers[1]) <= numbers[0] / 1_000, "the entries of caches differ by a few"


async def test_a_rule_without_a_breaker_remembers_nothing() -> None:
    """Its failures cost a check of an empty dictionary."""
    target = Hosts(lambda *_: 200, down=lambda _host: 503 if loop_time() < 60 else 200)
    harness = WorkerHarness(route(Ordering.RELAXED, None), target)
    await send(harness, "a", 5)
    worker = harness.start()
    await asyncio.sleep(30)
    assert worker._holds.failing == {}
    assert worker._holds.held == {}
    await harness.wait_until_empty(within=2_000)
    await harness.stop()
