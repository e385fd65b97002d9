"""The breaker: its states one by one, and what holds for every sequence of attempts, in virtual time."""

import heapq
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaski_core.retry.breaker import Breaker, BreakerRule, BreakerState, FailureShare

RULE = BreakerRule(consecutive_failures=3, probe_seconds=5, max_probe_seconds=40, max_hold_seconds=1_000)
LANES = 8


def opened(rule: BreakerRule = RULE, at: float = 0.0) -> Breaker:
    """A breaker that has just opened."""
    breaker = Breaker(rule, LANES)
    for _ in range(rule.consecutive_failures):
        breaker.end(at, failed=True, started=False)
    assert breaker.state is BreakerState.OPEN
    return breaker


def probe(breaker: Breaker, now: float, *, failed: bool | None) -> None:
    """One attempt that the breaker has to let pass."""
    assert breaker.start(now)
    breaker.end(now, failed=failed, started=True)


def test_only_failures_in_a_row_open_it() -> None:
    """Two of three, an answer, and two more do not; the third does."""
    breaker = Breaker(RULE, LANES)
    for failed in (True, True, False, True, True):
        breaker.end(0, failed=failed, started=False)
    assert not breaker.holds
    breaker.end(0, failed=True, started=False)
    assert breaker.state is BreakerState.OPEN


@pytest.mark.parametrize(
    ("failures", "attempts", "seconds", "expected"),
    [
        (5, 10, 9.0, BreakerState.OPEN),
        (4, 10, 9.0, BreakerState.CLOSED),
        (4, 8, 7.0, BreakerState.CLOSED),  # too few attempts
        (5, 10, 90.0, BreakerState.CLOSED),  # over too long a time
    ],
)
def test_a_share_of_failures_opens_it(failures: int, attempts: int, seconds: float, expected: BreakerState) -> None:
    """50 % of at least 10 attempts within 30 s, failures and successes in turn."""
    breaker = Breaker(BreakerRule(100, FailureShare(50, 30, 10)), LANES)
    for number in range(attempts):
        failed = number % 2 == 0 and number // 2 < failures
        breaker.end(seconds * number / attempts, failed=failed, started=False)
    assert breaker.state is expected


def test_probes_are_made_one_at_a_time_in_intervals_that_double() -> None:
    """5, 10, 20, 40 and again 40 seconds; not while one is under way."""
    breaker, now = opened(), 0.0
    for interval in (5, 10, 20, 40, 40):
        assert not breaker.start(now + interval - 0.001)
        now += interval
        assert breaker.start(now)
        assert not breaker.start(now)
        breaker.end(now, failed=True, started=True)
    assert breaker.start(now + 40)
    breaker.end(now + 40, failed=None, started=True)
    assert breaker.start(now + 40), "a probe that was not made is made up for"


def test_it_closes_by_steps_and_is_as_new() -> None:
    """One lane, two, four; the fourth step has all eight lanes."""
    breaker = opened()
    probe(breaker, 5, failed=False)
    for limit in (1, 2, 4):
        assert breaker.state is BreakerState.CLOSING
        assert [breaker.start(6) for _ in range(limit + 1)] == [True] * limit + [False]
        for _ in range(limit):
            breaker.end(6, failed=False, started=True)
    assert breaker.state is BreakerState.CLOSED
    assert breaker.is_idle(6)


def test_a_failure_while_it_closes_opens_it_once() -> None:
    """Of two attempts side by side both fail: one step of the interval. What began before the outage does not count."""
    breaker = opened()
    probe(breaker, 5, failed=False)
    breaker.end(5, failed=True, started=False)
    probe(breaker, 6, failed=False)
    assert breaker.start(7)
    assert breaker.start(7)
    breaker.end(8, failed=True, started=True)
    assert not breaker.start(18), "the other attempt is still under way"
    breaker.end(18, failed=True, started=True)
    assert breaker.state is BreakerState.OPEN
    assert breaker.probe_at == 18
    assert breaker.start(18)


def test_it_holds_no_longer_than_its_rule_allows() -> None:
    """After that attempts are made and fail, without another hold, until one is answered."""
    breaker = opened()
    assert breaker.start(1_000)
    breaker.end(1_001, failed=True, started=True)
    assert breaker.state is BreakerState.SPENT
    for _ in range(10):
        breaker.end(1_002, failed=True, started=False)
    assert not breaker.holds
    breaker.end(1_003, failed=False, started=False)
    assert breaker.is_idle(1_003)


def test_a_wait_that_ended_is_followed_by_steps() -> None:
    """As after a probe; a breaker that is open already stays as it is."""
    breaker = Breaker(RULE, LANES)
    breaker.begin_closing(10)
    assert [breaker.start(10), breaker.start(10)] == [True, False]
    breaker.end(11, failed=True, started=True)
    assert breaker.state is BreakerState.OPEN
    breaker.begin_closing(12)
    assert breaker.state is BreakerState.OPEN


def test_a_host_that_asks_to_wait_again_is_tried_by_one_lane_each_time() -> None:
    """Its answers with 429 are answers; they do not let more pass after the next wait."""
    breaker = Breaker(RULE, LANES)
    for wait in range(10, 60, 10):
        breaker.begin_closing(wait)
        assert [breaker.start(wait), breaker.start(wait)] == [True, False]
        breaker.end(wait, failed=False, started=True)
    assert breaker.start(60)


@settings(deadline=None, max_examples=60)
@given(
    outages=st.lists(st.tuples(st.floats(0, 400), st.floats(1, 3_000)), min_size=1, max_size=4),
    seconds=st.lists(st.floats(0.01, 30), min_size=1, max_size=20),
    arrivals=st.lists(st.floats(0.5, 20), min_size=1, max_size=20),
    max_hold=st.integers(60, 4_000),
)
def test_outages_of_any_form(  # noqa: C901 - a simulation in one piece
    outages: list[tuple[float, float]], seconds: list[float], arrivals: list[float], max_hold: int
) -> None:
    """A host that is down now and then: charged are the threshold, what is in flight and the probes; it never holds for ever.

    Lanes ask whenever they come, at most eight attempts run at once, each takes its own time, and fails if the host is down when it
    ends. The end of an attempt is known at its start.
    """
    rule = BreakerRule(3, None, 5, 40, max_hold)
    breaker = Breaker(rule, LANES)
    down: list[tuple[float, float]] = []
    at = 0.0
    for pause, length in outages:
        down.append((at + pause, at + pause + length))
        at += pause + length
    end_of_outages = at
    takes, gaps = itertools.cycle(seconds), itertools.cycle(arrivals)
    running: list[tuple[float, int, bool, bool]] = []  # end, number, started, whether it is a probe
    now, number, answered_since_outage = 0.0, 0, False
    probes, charged, closing = 0, 0, 0  # since it was closed last
    while now < end_of_outages + 5 * 300:
        now += next(gaps)
        while running and running[0][0] <= now:
            end, _, started, is_probe = heapq.heappop(running)
            failed = any(first <= end < last for first, last in down)
            before = breaker.state
            charged += failed
            breaker.end(end, failed=failed, started=started)
            if is_probe and before is BreakerState.OPEN and breaker.state is BreakerState.OPEN:
                assert end + rule.probe_seconds <= breaker.probe_at <= end + rule.max_probe_seconds
            if before is BreakerState.OPEN and not failed:
                assert breaker.state is not BreakerState.OPEN
            if breaker.state is BreakerState.OPEN:
                assert charged <= rule.consecutive_failures - 1 + LANES + probes + closing
            elif breaker.state is BreakerState.CLOSED and not failed:
                probes, charged, closing = 0, 0, 0
            answered_since_outage |= not failed and end >= end_of_outages
        if len(running) >= LANES:
            continue
        breaker.expire(now)
        state, started = breaker.state, False
        if breaker.holds:
            assert now - breaker.opened_at < max_hold
            started = breaker.start(now)
            if state is BreakerState.OPEN and started:
                assert now >= breaker.probe_at
                assert not any(each[2] for each in running), "one probe at a time"
                probes += 1
            elif state is BreakerState.CLOSING and started:
                assert sum(each[2] for each in running) < LANES
                closing += 1
            if not started:
                continue
        number += 1
        heapq.heappush(running, (now + next(takes), number, started, started and state is BreakerState.OPEN))
    assert answered_since_outage
    assert breaker.state is not BreakerState.OPEN
