"""The autoscaler's decisions: a table of cases, and properties that hold for every observation."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaski_core.ports import QueueCounts
from chaski_operator.autoscaling.policy import (
    DEFAULT_LIMITS,
    Decision,
    Limit,
    Mode,
    Observation,
    ScalerState,
    ScalingLimits,
    ScalingSpec,
    UnknownReason,
    decide,
    with_window,
)
from chaski_operator.pods.worker_metrics import Pods

CHECK_SECONDS = 10.0
NOTHING = QueueCounts(0, 0, 0)
UNKNOWN = Observation(0, None, unknown=UnknownReason.DENIED)


@dataclass
class Simulation:
    """A queue, a Deployment that follows its spec, and checks of both."""

    spec: ScalingSpec = field(default_factory=ScalingSpec)
    replicas: int = 1
    now: float = 1_000.0
    state: ScalerState = field(default_factory=lambda: ScalerState(1_000.0))
    history: list[int] = field(default_factory=list)
    limits: ScalingLimits = DEFAULT_LIMITS

    def check(
        self, counts: QueueCounts | None, pods: Pods | None = None, unknown: UnknownReason | None = None
    ) -> Decision:
        """One check; the Deployment follows the decision."""
        decision = decide(
            self.spec, Observation(self.replicas, counts, pods, unknown), self.state, self.now, self.limits
        )
        self.state = decision.state
        self.now += CHECK_SECONDS
        if decision.replicas is not None:
            self.replicas = decision.replicas
        self.history.append(self.replicas)
        return decision

    def checks(self, seconds: float, counts: QueueCounts | None, subjects: int | None = None) -> Decision:
        """Checks for a time; the Pods hold the subjects up to their limits."""
        decision = None
        for _ in range(round(seconds / CHECK_SECONDS)):
            decision = self.check(counts, None if subjects is None else self.pods(subjects))
        assert decision is not None
        return decision

    def pods(self, subjects: int, attempt_seconds: float = 1.0, running: int | None = None) -> Pods:
        """The figures of Pods that share the subjects."""
        reporting = self.replicas if running is None else running
        limit = 2 * self.spec.concurrency_per_pod
        lanes = min(subjects, reporting * limit)
        full = reporting if lanes == reporting * limit else 0
        return Pods(reporting, full=full, lanes=lanes, subjects=min(subjects, limit), attempt_seconds=attempt_seconds)

    def restart(self) -> None:
        """A new operator has no state."""
        self.state = ScalerState(self.now)


def steps(history: Sequence[int]) -> list[int]:
    """A history without repetitions."""
    return [number for index, number in enumerate(history) if index == 0 or history[index - 1] != number]


# ---- the table


@pytest.mark.parametrize("concurrency", [1, 8, 64])
def test_one_subject_stays_at_one_pod_with_the_reason(concurrency: int) -> None:
    """10,000 messages of one subject: more Pods would not help."""
    sim = Simulation(ScalingSpec(concurrency_per_pod=concurrency))
    decision = sim.checks(600, QueueCounts(9_990, 10, 0), subjects=1)
    assert set(sim.history) == {1}
    assert (decision.limit, decision.max_useful) == (Limit.GROUPS, 1)


def test_two_hundred_subjects_get_the_pods_that_they_fill() -> None:
    """200 subjects at 64 a Pod are four Pods, although the backlog would keep ten busy."""
    sim = Simulation()
    decision = sim.checks(120, QueueCounts(100_000, 128, 0), subjects=200)
    assert steps(sim.history)[-1] == 4
    assert steps(sim.history) == sorted(steps(sim.history))
    assert (decision.limit, decision.max_useful) == (Limit.GROUPS, 4)


def test_many_subjects_scale_to_the_maximum_by_steps() -> None:
    """While all Pods are full there may be more subjects: the number doubles, but not more."""
    sim = Simulation(ScalingSpec(max_replicas=30))
    decision = sim.checks(300, QueueCounts(1_000_000, 128, 0), subjects=100_000)
    assert steps(sim.history) == [2, 4, 8, 16, 30]
    assert decision.limit is Limit.MAX_REPLICAS


def test_backlog_gets_no_more_pods_than_drain_it_in_time() -> None:
    """12,000 messages of a second each, 64 at once: a Pod takes 3,840 in 60 s."""
    sim = Simulation()
    decision = sim.checks(120, QueueCounts(12_000, 0, 0), subjects=100_000)
    assert (sim.replicas, decision.limit) == (4, None)


@pytest.mark.promise(8)
@pytest.mark.parametrize("reason", [UnknownReason.DENIED, UnknownReason.UNAVAILABLE])
def test_unknown_counts_change_nothing(reason: UnknownReason) -> None:
    """AccessDenied in the middle of the work, for an hour."""
    sim = Simulation(replicas=7)
    sim.checks(60, QueueCounts(50_000, 100, 0), subjects=100_000)
    before = sim.replicas
    for _ in range(360):
        assert sim.check(None, unknown=reason).unknown is reason
    assert sim.replicas == before


@pytest.mark.promise(8)
def test_unknown_counts_start_one_pod_from_zero() -> None:
    """Not after a single failure, and never a second Pod."""
    sim = Simulation(replicas=0)
    for _ in range(100):
        sim.check(None, unknown=UnknownReason.DENIED)
    assert sim.history[:3] == [0, 0, 1]
    assert sim.replicas == 1


@pytest.mark.promise(8)
def test_empty_queue_scales_to_zero_late_and_by_steps() -> None:
    """Never from several to none, and only after `scaleToZeroAfterSeconds` of empty checks."""
    sim = Simulation(replicas=9)
    sim.checks(1_200, NOTHING, subjects=0)
    assert steps(sim.history) == [9, 7, 6, 5, 4, 3, 2, 1, 0]
    first = sim.history.index(7)
    assert first * CHECK_SECONDS >= 300


def test_shorter_window_removes_pods_sooner() -> None:
    """Still by steps, and the last one only after `scaleToZeroAfterSeconds`."""
    sim = Simulation(ScalingSpec(scale_to_zero_after_seconds=200), replicas=4, limits=with_window(20))
    sim.checks(300, NOTHING, subjects=0)
    assert steps(sim.history) == [4, 3, 2, 1, 0]
    assert sim.history.index(3) * CHECK_SECONDS == 20
    assert sim.history.index(1) * CHECK_SECONDS == 60
    assert sim.history.index(0) * CHECK_SECONDS == 200
    assert with_window(300) == DEFAULT_LIMITS


def test_last_pod_stays_until_three_consecutive_empty_checks() -> None:
    """A failed check between two empty ones resets the count."""
    sim = Simulation(ScalingSpec(scale_to_zero_after_seconds=10), replicas=1)
    sim.check(NOTHING)
    sim.check(None)
    sim.check(NOTHING)
    sim.check(NOTHING)
    assert sim.replicas == 1
    sim.check(NOTHING)
    assert sim.replicas == 0


def test_delivery_between_empty_checks_keeps_the_last_pod() -> None:
    """A message arrives and is delivered between two checks, which both find the queue empty."""
    sim = Simulation(replicas=1)
    for number in range(100):
        sim.check(NOTHING, Pods(1, attempts=number // 20))
    assert sim.replicas == 1
    for _ in range(40):
        sim.check(NOTHING, Pods(1, attempts=5))
    assert sim.replicas == 0


@pytest.mark.parametrize("counts", [QueueCounts(1, 0, 0), QueueCounts(0, 0, 1)], ids=["visible", "due"])
def test_any_message_starts_a_pod_and_keeps_it(counts: QueueCounts) -> None:
    """Messages of a rung that are due soon, too."""
    sim = Simulation(replicas=0)
    sim.check(counts)
    assert sim.replicas == 1
    sim.checks(3_600, counts)
    assert sim.replicas == 1


HIDDEN = QueueCounts(0, 1, 0)  # the head of a subject that waits for its retry, or a message in an attempt
IDLE = Pods(1, attempts=7)


def test_message_that_waits_for_a_day_keeps_no_pod_and_gets_one_in_time() -> None:
    """It is hidden for the 12 hours of SQS at a time; each time it becomes visible a Pod starts with the next check."""
    sim = Simulation(replicas=1)
    for _ in range(2):
        for _ in range(round(300 / CHECK_SECONDS)):
            sim.check(HIDDEN, IDLE)
            assert sim.replicas == 1
        for _ in range(round(12 * 3_600 / CHECK_SECONDS)):
            sim.check(HIDDEN, IDLE if sim.replicas else None)
        assert sim.replicas == 0
        sim.check(QueueCounts(1, 0, 0))
        assert sim.replicas == 1


@pytest.mark.parametrize(
    ("replicas", "pods", "wanted"),
    [
        (1, IDLE, 0),
        (1, Pods(1, lanes=1), 1),
        (3, Pods(2, attempts=7), 1),
        (3, Pods(2, unresponsive=1, attempts=7), 3),
        (1, Pods(0), 1),
        (1, None, 1),
    ],
    ids=["idle", "held", "a Pod is not ready", "a Pod does not respond", "no Pod responds", "no Pod is ready"],
)
def test_message_in_flight_needs_a_pod_while_one_may_hold_it(replicas: int, pods: Pods | None, wanted: int) -> None:
    """Even if no message was delivered for an hour."""
    quiet = ScalerState(0.0, empty_since=0.0, empty_checks=360, attempts=7)
    assert decide(ScalingSpec(), Observation(replicas, HIDDEN, pods), quiet, 3_600.0).wanted == wanted


def test_suspended_route_keeps_the_pod_that_hides_its_messages() -> None:
    """It holds no lane between two passes."""
    sim = Simulation(ScalingSpec(suspended=True), replicas=1)
    for _ in range(360):
        sim.check(HIDDEN, IDLE)
    assert sim.replicas == 1


@pytest.mark.parametrize("replicas", [1, 4, 10])
def test_a_new_operator_changes_nothing(replicas: int) -> None:
    """It is restarted every minute for an hour, while the queue drains, is empty or can't be read."""
    for counts in (QueueCounts(1_000, 64, 0), NOTHING, None):
        sim = Simulation(replicas=replicas)
        for _ in range(60):
            sim.restart()
            sim.checks(60, counts)
        assert set(sim.history) == {replicas}


def test_starting_pods_are_waited_for() -> None:
    """Meanwhile the figures of the others neither add nor remove Pods."""
    sim = Simulation(ScalingSpec(max_replicas=100))
    for _ in range(20):
        sim.check(QueueCounts(1_000_000, 128, 0), sim.pods(100_000, running=1))
    assert steps(sim.history) == [2]


def test_unresponsive_pod_holds_the_number() -> None:
    """The subjects that it holds are unknown."""
    sim = Simulation(replicas=5)
    for _ in range(100):
        decision = sim.check(QueueCounts(10_000, 10, 0), replace(sim.pods(1), reporting=4, unresponsive=1))
        assert decision.unknown is UnknownReason.PODS
    assert set(sim.history) == {5}


def test_drained_backlog_scales_down_after_five_minutes() -> None:
    """A short gap between two bursts removes no Pod."""
    sim = Simulation(replicas=1)
    busy, calm = QueueCounts(100_000, 128, 0), QueueCounts(10, 10, 0)
    sim.checks(120, busy, subjects=100_000)
    assert sim.replicas == 10
    for _ in range(5):
        sim.checks(200, calm, subjects=10)
        sim.checks(30, busy, subjects=100_000)
    assert sim.replicas == 10
    sim.checks(280, calm, subjects=10)
    assert sim.replicas == 10
    sim.checks(1_200, calm, subjects=10)
    assert sim.replicas == 1


@pytest.mark.parametrize("mode", [Mode.EXTERNAL, Mode.DISABLED])
def test_modes_external_and_disabled_set_no_replicas(mode: Mode) -> None:
    """The wanted number is still computed: External exports it."""
    sim = Simulation(ScalingSpec(mode=mode), replicas=3)
    decision = sim.checks(300, QueueCounts(12_000, 0, 0), subjects=100_000)
    assert (sim.replicas, decision.replicas, decision.wanted) == (3, None, 4)
    for _ in range(10):
        sim.check(None)
    assert sim.replicas == 3


def test_suspended_delivery_needs_one_pod_at_most() -> None:
    """It handles messages that expire; an empty queue needs none."""
    sim = Simulation(ScalingSpec(suspended=True), replicas=4)
    sim.checks(1_200, QueueCounts(100_000, 0, 0), subjects=0)
    assert sim.replicas == 1
    sim.checks(600, NOTHING, subjects=0)
    assert sim.replicas == 0


def test_changed_bounds_apply_at_once() -> None:
    """A lower maximum and a higher minimum wait for no window."""
    sim = Simulation(ScalingSpec(max_replicas=3), replicas=9)
    sim.check(QueueCounts(100_000, 0, 0), sim.pods(100_000))
    assert sim.replicas == 3
    sim = Simulation(ScalingSpec(min_replicas=5), replicas=1)
    sim.check(NOTHING)
    assert sim.replicas == 5
    sim.checks(3_600, NOTHING, subjects=0)
    assert sim.replicas == 5


# ---- properties

COUNTS = st.none() | st.builds(
    QueueCounts, st.integers(0, 200_000), st.integers(0, 120_000) | st.just(0), st.integers(0, 3)
)
PODS = st.none() | st.builds(
    Pods,
    reporting=st.integers(0, 40),
    unresponsive=st.integers(0, 2),
    full=st.integers(0, 40),
    lanes=st.integers(0, 5_000),
    subjects=st.integers(0, 10_000),
    attempts=st.integers(0, 5),
    attempt_seconds=st.none() | st.floats(0, 300),
)
SPECS = st.builds(
    lambda low, more, drain, zero, lanes, suspended: ScalingSpec(
        Mode.BUILT_IN, low, max(1, low + more), drain, zero, lanes, suspended
    ),
    st.integers(0, 5),
    st.integers(0, 40),
    st.integers(1, 600),
    st.integers(60, 900),
    st.integers(1, 256),
    st.booleans(),
)
OBSERVATIONS = st.lists(st.tuples(COUNTS, PODS, st.sampled_from([1.0, 10.0, 60.0, 400.0])), min_size=1, max_size=60)


@given(SPECS, st.integers(0, 40), OBSERVATIONS)
def test_rules_hold_for_every_observation(
    spec: ScalingSpec, replicas: int, seen: list[tuple[QueueCounts | None, Pods | None, float]]
) -> None:
    """Steps, bounds, unknown is not zero, and zero only after three checks without work; from zero at once if there is some."""
    state, now, empty = ScalerState(0.0), 0.0, 0
    for counts, pods, seconds in seen:
        now += seconds
        decision = decide(
            spec, Observation(replicas, counts, pods, UnknownReason.DENIED if counts is None else None), state, now
        )
        state = decision.state
        held = pods is None or pods.reporting < replicas or pods.unresponsive > 0 or pods.lanes > 0 or spec.suspended
        idle = counts is not None and not counts.visible and not counts.delayed and not (counts.in_flight and held)
        empty = empty + 1 if idle else 0
        target = replicas if decision.replicas is None else decision.replicas
        if counts is None:
            assert target >= replicas
        if target == 0 < replicas:
            assert replicas == 1
            assert empty >= 3
        if target < replicas <= spec.max_replicas:
            assert replicas - target <= max(1, replicas // 4)
        if target > replicas:
            assert target <= max(spec.min_replicas, 2 * replicas, replicas + 4)
        if decision.replicas is not None:
            assert max(spec.min_replicas, 0) <= target <= spec.max_replicas
        if counts is not None and not replicas and (counts.visible or counts.delayed):
            assert target >= 1
        if counts is not None and not replicas and not counts.visible and not counts.delayed and not spec.suspended:
            assert target == spec.min_replicas
        assert len(state.wanted) <= len(seen)
        replicas = target


@given(SPECS, st.integers(1, 40), OBSERVATIONS)
def test_first_check_of_a_new_operator_removes_no_pod(
    spec: ScalingSpec, replicas: int, seen: list[tuple[QueueCounts | None, Pods | None, float]]
) -> None:
    """For every observation; only a lowered maximum applies at once."""
    for counts, pods, _ in seen:
        decision = decide(spec, Observation(replicas, counts, pods), ScalerState(0.0), 0.0)
        assert decision.replicas is None or decision.replicas >= min(replicas, spec.max_replicas)
