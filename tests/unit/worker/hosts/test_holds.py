"""Held hosts in a worker, in virtual time with the real FIFO rules: by Retry-After, and by `suspend`."""

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from chaski_core.retry.ladder import Reason
from chaski_core.retry.outcome import Outcome
from chaski_core.retry.policy import Ladder, RetryPolicy, Rung
from chaski_core.route.model import AllowRule, Ordering
from chaski_worker.delivery.attempt import AttemptContext
from chaski_worker.guard.guard import Target
from support.metric_pages import value
from support.worker.harness import POLICY, Call, FakeTarget, WorkerHarness, loop_time, make_route

pytestmark = pytest.mark.looptime

BOTH = pytest.mark.parametrize("ordering", list(Ordering), ids=str)
WILD = AllowRule("wild", "http://*.wild.example/")
FIVE = range(5)


@dataclass
class Hosts(FakeTarget):
    """A target that asks each subject of some hosts to wait while a condition holds."""

    asks: Callable[[str], float] = lambda _host: 0.0  # host -> seconds of its Retry-After; 0: it answers as usual

    async def deliver(self, attempt: AttemptContext) -> Outcome:
        """One call, answered with 503 and Retry-After where the host asks for it."""
        assert isinstance(attempt.target, Target)
        seconds = self.asks(attempt.target.host.partition(".")[0])
        if not seconds:
            return await super().deliver(attempt)
        usual, self.answer = self.answer, lambda *_: 503
        try:
            return replace(await super().deliver(attempt), retry_after_seconds=seconds)
        finally:
            self.answer = usual


async def send_to_hosts(harness: WorkerHarness, hosts: str, subjects: int, numbers: range = FIVE) -> None:
    """For each host (a letter) `subjects` subjects that are named after it."""
    for number, host, subject in itertools.product(numbers, hosts, range(subjects)):
        await harness.send(f"{host}{subject}", number, host=f"{host}.wild.example")


def of_host(calls: list[Call], host: str) -> list[Call]:
    """The calls to a host."""
    return [call for call in calls if call.subject.startswith(host)]


def assert_in_order(target: FakeTarget, subjects: list[str]) -> None:
    """Every subject's first attempts are in order, and each message was delivered once."""
    for subject in subjects:
        calls = target.of(subject)
        firsts = list(dict.fromkeys(call.number for call in calls))
        assert firsts == sorted(firsts), subject
        delivered = Counter(call.number for call in calls if call.status == 200)
        assert delivered == Counter(firsts), subject


@BOTH
@pytest.mark.promise(3)
@pytest.mark.promise(4)
@pytest.mark.promise(9)
async def test_a_host_that_asks_to_wait_is_held_for_all_subjects(
    ordering: Ordering, caplog: pytest.LogCaptureFixture
) -> None:
    """503 with Retry-After: 60 to the first: nothing else goes to that host before, another host's subjects go on."""
    caplog.set_level(logging.INFO, "chaski_worker.hosts.holds")
    target = Hosts(lambda *_: 200, asks=lambda host: 60.0 if host == "a" and loop_time() < 1 else 0.0)
    harness = WorkerHarness(make_route(ordering, allow=[WILD]), target)
    await harness.send("a0", 0, host="a.wild.example")
    harness.start()
    await asyncio.sleep(0.5)
    await send_to_hosts(harness, "a", 20, range(1, 5))
    await send_to_hosts(harness, "b", 20)
    await asyncio.sleep(30)
    assert value(harness.metrics, "chaski_target_held", target="wild", reason="RetryAfter") == 1
    assert len(of_host(target.calls, "a")) == 1
    assert len(of_host(target.calls, "b")) == 100
    await harness.wait_until_empty(within=70)
    await harness.stop()

    later = of_host(target.calls, "a")[1:]
    assert min(call.at for call in later) >= 60
    assert_in_order(target, [f"{host}{n}" for host in "ab" for n in range(20)])
    assert harness.backend.dead_letters.kept == {}
    attempts = Counter((entry.subject, entry.id) for entry in harness.backend.journal.entries)
    assert {key: number for key, number in attempts.items() if number > 1} == {("a0", "a0-0"): 2}
    assert harness.repeats() == 0, "a message that was received and not attempted is not a repeat"
    assert value(harness.metrics, "chaski_target_held", target="wild", reason="RetryAfter") == 0
    started, ended = (record.getMessage() for record in caplog.records)
    assert started.startswith("ns/r holds http://a.wild.example of target wild (RetryAfter) until 20")
    assert ended == "ns/r no longer holds http://a.wild.example of target wild (RetryAfter) after 60 s"


@BOTH
async def test_a_wait_that_the_route_ignores_holds_nothing(ordering: Ordering) -> None:
    """`maxRetryAfterSeconds: 0`; and a longer one than it allows is cut."""
    for most, expected in ((0, 0), (10, 10)):
        target = Hosts(lambda *_: 200, asks=lambda host: 5_000.0 if host == "a" else 0.0)
        harness = WorkerHarness(
            make_route(ordering, allow=[WILD], policy=replace(POLICY, max_retry_after_seconds=most)), target
        )
        began = loop_time()
        await harness.send("a0", 0, host="a.wild.example")
        harness.start()
        await asyncio.sleep(1)
        target.asks = lambda _host: 0.0
        await harness.send("a1", 0, host="a.wild.example")
        await harness.wait_until_empty(within=100)
        await harness.stop()
        assert of_host(target.calls, "a1")[0].at - began == pytest.approx(max(1, expected), abs=1.5)


@BOTH
@pytest.mark.promise(4)
async def test_a_host_that_asks_again_is_held_again(ordering: Ordering) -> None:
    """The failed messages climb their ladders as usual; while the host is held, no other message is charged."""
    until = 400.0
    target = Hosts(lambda *_: 200, asks=lambda _host: 60.0 if loop_time() < until else 0.0)
    policy = RetryPolicy((Rung("fast", 5),), (Ladder("any", 20, ("fast",)),))
    harness = WorkerHarness(make_route(ordering, allow=[WILD], policy=policy, concurrency=1), target)
    await send_to_hosts(harness, "a", 10)
    harness.start()
    await harness.wait_until_empty(within=1_000)
    await harness.stop()

    asked = [call.at for call in target.calls if call.status == 503]
    consumers = 2 if ordering is Ordering.RELAXED else 1  # each with one slot
    assert len(asked) <= consumers * (until // 60 + 1)
    assert harness.backend.dead_letters.kept == {}
    for subject in range(10):
        numbers = [call.number for call in target.of(f"a{subject}") if call.status == 200]
        assert sorted(numbers) == list(FIVE)


@BOTH
@pytest.mark.promise(3)
@pytest.mark.promise(4)
@pytest.mark.promise(9)
async def test_a_suspended_target_waits_until_it_is_released(ordering: Ordering) -> None:
    """From the start: nothing is attempted, recorded or charged for five hours; then each message once, in order."""
    rules = [AllowRule("t0", "http://t0.example/", suspend=True), AllowRule("t1", "http://t1.example/")]
    harness = WorkerHarness(make_route(ordering, allow=rules), FakeTarget(lambda *_: 200))
    for number, subject in itertools.product(FIVE, range(20)):
        await harness.send(f"held{subject}", number)
        await harness.send(f"free{subject}", number, target=1)
    worker = harness.start()
    await asyncio.sleep(5)
    assert len(harness.target.calls) == 100
    await asyncio.sleep(5 * 3_600)
    assert value(harness.metrics, "chaski_target_held", target="t0", reason="Suspended") == 1
    assert {call.subject[:4] for call in harness.target.calls} == {"free"}
    assert harness.backend.attempt_records.kept == {}
    released = loop_time()
    worker.suspend_targets(["unknown"])
    assert value(harness.metrics, "chaski_target_held", target="t0", reason="Suspended") == 0
    await harness.wait_until_empty(within=310)
    await harness.stop()

    held = of_host(harness.target.calls, "held")
    assert Counter((call.subject, call.number) for call in held) == Counter(
        (f"held{subject}", number) for subject, number in itertools.product(range(20), FIVE)
    )
    assert min(call.at for call in held) >= released
    assert_in_order(harness.target, [f"held{n}" for n in range(20)])
    assert {entry.number for entry in harness.backend.journal.entries} == {1}
    assert (harness.repeats(), harness.backend.dead_letters.kept) == (0, {})


@BOTH
@pytest.mark.promise(4)
async def test_a_target_that_is_suspended_meanwhile_keeps_its_ladder(ordering: Ordering) -> None:
    """Between two retries: the next one is made after the release, and none is lost or added."""
    harness = WorkerHarness(make_route(ordering), FakeTarget(lambda *_: 404))
    await harness.send("s", 0)
    await harness.send("s", 1)
    worker = harness.start()
    await asyncio.sleep(7)
    made = len(harness.target.calls)
    worker.suspend_targets(["t0"])
    await asyncio.sleep(3_600)
    assert len(harness.target.calls) == made
    worker.suspend_targets([])
    await harness.wait_until_empty()
    await harness.stop()

    letters = harness.backend.dead_letters.kept.values()
    assert [(each.id, each.attempts, each.reason) for each in sorted(letters, key=lambda each: each.id)] == [
        ("s-0", 5, Reason.EXHAUSTED),
        ("s-1", 5, Reason.EXHAUSTED),
    ]
    assert len(harness.target.calls) == 10


@BOTH
@pytest.mark.promise(2)
@pytest.mark.promise(3)
async def test_a_kill_during_a_hold_loses_nothing(ordering: Ordering) -> None:
    """Killed twice while a target is suspended, and released in the third process: each message once, in order."""
    rules = [AllowRule("t0", "http://t0.example/", suspend=True)]
    harness = WorkerHarness(make_route(ordering, allow=rules), FakeTarget(lambda *_: 200))
    for number, subject in itertools.product(range(15), range(5)):
        await harness.send(f"s{subject}", number)
    for seconds in (3, 1_000):
        harness.start()
        await asyncio.sleep(seconds)
        await harness.kill()
    assert harness.target.calls == []
    worker = harness.start()
    worker.suspend_targets([])
    await harness.wait_until_empty(within=400)
    await harness.stop()

    assert len(harness.target.calls) == 75
    assert_in_order(harness.target, [f"s{n}" for n in range(5)])


@BOTH
@pytest.mark.promise(3)
async def test_a_subject_of_several_targets_waits_as_a_whole(ordering: Ordering) -> None:
    """Its next message goes to a held target, so the one behind it waits too; what is before it was delivered."""
    harness = WorkerHarness(make_route(ordering, targets=2), FakeTarget(lambda *_: 200))
    for number, target in enumerate((1, 1, 0, 1)):
        await harness.send("s", number, target=target)
    worker = harness.start()
    worker.suspend_targets(["t0"])
    await asyncio.sleep(100)
    assert [call.number for call in harness.target.calls] == [0, 1]
    worker.suspend_targets([])
    await harness.wait_until_empty(within=60)
    await harness.stop()
    assert [call.number for call in harness.target.calls] == [0, 1, 2, 3]


@BOTH
@pytest.mark.promise(2)
async def test_held_messages_that_get_too_old_become_dead_letters(ordering: Ordering) -> None:
    """When they are received next: at most a step of five minutes later. The subject waits for no message that has ended."""
    harness = WorkerHarness(make_route(ordering, targets=2, max_age_seconds=3_600), FakeTarget(lambda *_: 200))
    worker = harness.start()
    worker.suspend_targets(["t0"])
    await harness.send("s", 0)
    await asyncio.sleep(1_000)
    await harness.send("s", 1)
    await harness.send("s", 2, target=1)
    await asyncio.sleep(2_950)
    (dead_letter,) = harness.backend.dead_letters.kept.values()
    assert (dead_letter.id, dead_letter.reason, dead_letter.attempts) == ("s-0", Reason.TOO_OLD, 0)
    await harness.wait_until_empty(within=1_400)
    await harness.stop()

    assert [each.id for each in harness.backend.dead_letters.kept.values()][:2] == ["s-0", "s-1"]
    assert len(harness.backend.dead_letters.kept) == 3
    assert harness.target.calls == []


@BOTH
async def test_calls_for_a_thousand_waiting_subjects(ordering: Ordering, report: Callable[[str], None]) -> None:
    """What an hour of a suspended target costs with 1,000 subjects of one and of ten messages, in calls of the queue."""
    for messages, most in ((1, 5_000), (10, 50_000)):
        rules = [AllowRule("t0", "http://t0.example/", suspend=True)]
        harness = WorkerHarness(make_route(ordering, allow=rules), FakeTarget(lambda *_: 200))
        for number, subject in itertools.product(range(messages), range(1_000)):
            await harness.send(f"s{subject}", number)
        harness.start()
        await asyncio.sleep(3_600)
        queue = harness.backend.queues["mem://p0"]
        first = dict(queue.calls)
        await asyncio.sleep(3_600)
        made = {name: queue.calls[name] - first[name] for name in ("receive", "change_visibility")}
        assert sum(made.values()) < most, made
        report(f"{messages} messages a subject: {made} in the second hour")
        await harness.stop()
