"""The autoscaler's decisions: the table of cases, and what holds whatever is seen."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaski_core.ports import QueueCounts
from chaski_operator.autoscaling.policy import (
    PACE,
    Decision,
    Limit,
    Limits,
    Mode,
    Observation,
    Pods,
    ScalerState,
    ScalingLimits,
    UnknownReason,
    decide,
    paced,
)

LOOK_SECONDS = 10.0
NOTHING = QueueCounts(0, 0, 0)
UNKNOWN = Observation(0, None, doubt=UnknownReason.DENIED)


@dataclass
class Scene:
    """A queue, a Deployment that does as told, and the looks at them."""

    limits: Limits = field(default_factory=Limits)
    replicas: int = 1
    now: float = 1_000.0
    memory: ScalerState = field(default_factory=lambda: ScalerState(1_000.0))
    history: list[int] = field(default_factory=list)
    pace: ScalingLimits = PACE

    def look(
        self, counts: QueueCounts | None, pods: Pods | None = None, doubt: UnknownReason | None = None
    ) -> Decision:
        """One look; the Deployment does what is decided."""
        decision = decide(
            self.limits, Observation(self.replicas, counts, pods, doubt), self.memory, self.now, self.pace
        )
        self.memory = decision.memory
        self.now += LOOK_SECONDS
        if decision.replicas is not None:
            self.replicas = decision.replicas
        self.history.append(self.replicas)
        return decision

    def looks(self, seconds: float, counts: QueueCounts | None, subjects: int | None = None) -> Decision:
        """Looks for so long at Pods that hold so many subjects, as many each as they may."""
        decision = None
        for _ in range(round(seconds / LOOK_SECONDS)):
            decision = self.look(counts, None if subjects is None else self.pods(subjects))
        assert decision is not None
        return decision

    def pods(self, subjects: int, attempt_seconds: float = 1.0, running: int | None = None) -> Pods:
        """What Pods tell that share so many subjects."""
        told = self.replicas if running is None else running
        room = 2 * self.limits.concurrency_per_pod
        lanes = min(subjects, told * room)
        full = told if lanes == told * room else 0
        return Pods(told, full=full, lanes=lanes, subjects=min(subjects, room), attempt_seconds=attempt_seconds)

    def restart(self) -> None:
        """A new operator knows nothing of earlier looks."""
        self.memory = ScalerState(self.now)


def steps(history: Sequence[int]) -> list[int]:
    """A history without its repetitions."""
    return [number for index, number in enumerate(history) if index == 0 or history[index - 1] != number]


# ---- the table


@pytest.mark.parametrize("concurrency", [1, 8, 64])
def test_one_subject_stays_at_one_pod_and_says_why(concurrency: int) -> None:
    """10,000 messages of one subject: more Pods could not help."""
    scene = Scene(Limits(concurrency_per_pod=concurrency))
    decision = scene.looks(600, QueueCounts(9_990, 10, 0), subjects=1)
    assert set(scene.history) == {1}
    assert (decision.limit, decision.most_useful) == (Limit.GROUPS, 1)


def test_two_hundred_subjects_grow_to_what_they_fill() -> None:
    """200 subjects at 64 a Pod are four Pods, though the backlog would keep ten busy."""
    scene = Scene()
    decision = scene.looks(120, QueueCounts(100_000, 128, 0), subjects=200)
    assert steps(scene.history)[-1] == 4
    assert steps(scene.history) == sorted(steps(scene.history))
    assert (decision.limit, decision.most_useful) == (Limit.GROUPS, 4)


def test_many_subjects_grow_to_the_maximum_by_steps() -> None:
    """While Pods hold all that they may there are perhaps more subjects: twice as many, but not more."""
    scene = Scene(Limits(max_replicas=30))
    decision = scene.looks(300, QueueCounts(1_000_000, 128, 0), subjects=100_000)
    assert steps(scene.history) == [2, 4, 8, 16, 30]
    assert decision.limit is Limit.MAX_REPLICAS


def test_a_backlog_gets_no_more_pods_than_drain_it_in_time() -> None:
    """12,000 messages of a second each, 64 at once: a Pod takes 3,840 in 60 s."""
    scene = Scene()
    decision = scene.looks(120, QueueCounts(12_000, 0, 0), subjects=100_000)
    assert (scene.replicas, decision.limit) == (4, None)


@pytest.mark.promise(8)
@pytest.mark.parametrize("doubt", [UnknownReason.DENIED, UnknownReason.UNAVAILABLE])
def test_what_is_not_known_changes_nothing(doubt: UnknownReason) -> None:
    """AccessDenied in the middle of the work, for an hour."""
    scene = Scene(replicas=7)
    scene.looks(60, QueueCounts(50_000, 100, 0), subjects=100_000)
    there = scene.replicas
    for _ in range(360):
        assert scene.look(None, doubt=doubt).doubt is doubt
    assert scene.replicas == there


@pytest.mark.promise(8)
def test_from_zero_what_is_not_known_starts_one() -> None:
    """Not at the first failure, which may be a hiccup, and never a second one."""
    scene = Scene(replicas=0)
    for _ in range(100):
        scene.look(None, doubt=UnknownReason.DENIED)
    assert scene.history[:3] == [0, 0, 1]
    assert scene.replicas == 1


@pytest.mark.promise(8)
def test_an_empty_queue_goes_to_zero_by_steps_and_late() -> None:
    """Never from several to none, and only after `scaleToZeroAfterSeconds` of looks that found nothing."""
    scene = Scene(replicas=9)
    scene.looks(1_200, NOTHING, subjects=0)
    assert steps(scene.history) == [9, 7, 6, 5, 4, 3, 2, 1, 0]
    first = scene.history.index(7)
    assert first * LOOK_SECONDS >= 300


def test_a_shorter_window_takes_pods_away_sooner_and_as_often() -> None:
    """And still by steps, and the last one only after `scaleToZeroAfterSeconds`."""
    scene = Scene(Limits(scale_to_zero_after_seconds=200), replicas=4, pace=paced(20))
    scene.looks(300, NOTHING, subjects=0)
    assert steps(scene.history) == [4, 3, 2, 1, 0]
    assert scene.history.index(3) * LOOK_SECONDS == 20
    assert scene.history.index(1) * LOOK_SECONDS == 60
    assert scene.history.index(0) * LOOK_SECONDS == 200
    assert paced(300) == PACE


def test_the_last_pod_stays_until_three_looks_in_a_row_found_nothing() -> None:
    """A failed look between two empty ones begins the count anew."""
    scene = Scene(Limits(scale_to_zero_after_seconds=10), replicas=1)
    scene.look(NOTHING)
    scene.look(None)
    scene.look(NOTHING)
    scene.look(NOTHING)
    assert scene.replicas == 1
    scene.look(NOTHING)
    assert scene.replicas == 0


def test_each_delivery_keeps_the_last_pod_for_another_while() -> None:
    """A message comes and goes between two looks, which both find the queue empty."""
    scene = Scene(replicas=1)
    for number in range(100):
        scene.look(NOTHING, Pods(1, attempts=number // 20))
    assert scene.replicas == 1
    for _ in range(40):
        scene.look(NOTHING, Pods(1, attempts=5))
    assert scene.replicas == 0


@pytest.mark.parametrize(
    "counts", [QueueCounts(1, 0, 0), QueueCounts(0, 1, 0), QueueCounts(0, 0, 1)], ids=["visible", "in flight", "due"]
)
def test_whatever_is_there_starts_a_pod_and_keeps_it(counts: QueueCounts) -> None:
    """Messages of a rung that are due soon as well."""
    scene = Scene(replicas=0)
    scene.look(counts)
    assert scene.replicas == 1
    scene.looks(3_600, counts)
    assert scene.replicas == 1


@pytest.mark.parametrize("replicas", [1, 4, 10])
def test_a_new_operator_changes_nothing(replicas: int) -> None:
    """It is killed every minute for an hour, while the queue is worked off, is empty, or can't be seen."""
    for counts in (QueueCounts(1_000, 64, 0), NOTHING, None):
        scene = Scene(replicas=replicas)
        for _ in range(60):
            scene.restart()
            scene.looks(60, counts)
        assert set(scene.history) == {replicas}


def test_pods_that_start_are_waited_for() -> None:
    """What the others hold does not ask for more, and nothing is taken away."""
    scene = Scene(Limits(max_replicas=100))
    for _ in range(20):
        scene.look(QueueCounts(1_000_000, 128, 0), scene.pods(100_000, running=1))
    assert steps(scene.history) == [2]


def test_a_pod_that_does_not_answer_holds_the_number() -> None:
    """What it holds is unknown."""
    scene = Scene(replicas=5)
    for _ in range(100):
        decision = scene.look(QueueCounts(10_000, 10, 0), replace(scene.pods(1), told=4, silent=1))
        assert decision.doubt is UnknownReason.PODS
    assert set(scene.history) == {5}


def test_a_backlog_that_is_gone_is_followed_down_after_five_minutes() -> None:
    """A short gap between two bursts takes nobody away."""
    scene = Scene(replicas=1)
    busy, calm = QueueCounts(100_000, 128, 0), QueueCounts(10, 10, 0)
    scene.looks(120, busy, subjects=100_000)
    assert scene.replicas == 10
    for _ in range(5):
        scene.looks(200, calm, subjects=10)
        scene.looks(30, busy, subjects=100_000)
    assert scene.replicas == 10
    scene.looks(280, calm, subjects=10)
    assert scene.replicas == 10
    scene.looks(1_200, calm, subjects=10)
    assert scene.replicas == 1


@pytest.mark.parametrize("mode", [Mode.EXTERNAL, Mode.DISABLED])
def test_what_is_not_ours_is_left_alone(mode: Mode) -> None:
    """The wanted number is still worked out: External shows it."""
    scene = Scene(Limits(mode=mode), replicas=3)
    decision = scene.looks(300, QueueCounts(12_000, 0, 0), subjects=100_000)
    assert (scene.replicas, decision.replicas, decision.wanted) == (3, None, 4)
    for _ in range(10):
        scene.look(None)
    assert scene.replicas == 3


def test_suspended_delivery_needs_one_pod_at_most() -> None:
    """It looks after messages that would expire; with nothing there, none."""
    scene = Scene(Limits(suspended=True), replicas=4)
    scene.looks(1_200, QueueCounts(100_000, 0, 0), subjects=0)
    assert scene.replicas == 1
    scene.looks(600, NOTHING, subjects=0)
    assert scene.replicas == 0


def test_limits_that_a_person_changes_hold_at_once() -> None:
    """A lower maximum and a higher minimum wait for no window."""
    scene = Scene(Limits(max_replicas=3), replicas=9)
    scene.look(QueueCounts(100_000, 0, 0), scene.pods(100_000))
    assert scene.replicas == 3
    scene = Scene(Limits(min_replicas=5), replicas=1)
    scene.look(NOTHING)
    assert scene.replicas == 5
    scene.looks(3_600, NOTHING, subjects=0)
    assert scene.replicas == 5


# ---- whatever is seen

COUNTS = st.none() | st.builds(
    QueueCounts, st.integers(0, 200_000), st.integers(0, 120_000) | st.just(0), st.integers(0, 3)
)
PODS = st.none() | st.builds(
    Pods,
    told=st.integers(0, 40),
    silent=st.integers(0, 2),
    full=st.integers(0, 40),
    lanes=st.integers(0, 5_000),
    subjects=st.integers(0, 10_000),
    attempts=st.integers(0, 5),
    attempt_seconds=st.none() | st.floats(0, 300),
)
LIMITS = st.builds(
    lambda low, more, drain, zero, lanes, suspended: Limits(
        Mode.BUILT_IN, low, max(1, low + more), drain, zero, lanes, suspended
    ),
    st.integers(0, 5),
    st.integers(0, 40),
    st.integers(1, 600),
    st.integers(60, 900),
    st.integers(1, 256),
    st.booleans(),
)
SEEN = st.lists(st.tuples(COUNTS, PODS, st.sampled_from([1.0, 10.0, 60.0, 400.0])), min_size=1, max_size=60)


@given(LIMITS, st.integers(0, 40), SEEN)
def test_whatever_is_seen_the_rules_hold(
    limits: Limits, replicas: int, seen: list[tuple[QueueCounts | None, Pods | None, float]]
) -> None:
    """Steps, bounds, unknown is not zero, and zero only after three looks that found nothing."""
    memory, now, empty = ScalerState(0.0), 0.0, 0
    for counts, pods, seconds in seen:
        now += seconds
        decision = decide(
            limits, Observation(replicas, counts, pods, UnknownReason.DENIED if counts is None else None), memory, now
        )
        memory = decision.memory
        empty = empty + 1 if counts == NOTHING else 0
        target = replicas if decision.replicas is None else decision.replicas
        if counts is None:
            assert target >= replicas
        if target == 0 < replicas:
            assert replicas == 1
            assert empty >= 3
        if target < replicas <= limits.max_replicas:
            assert replicas - target <= max(1, replicas // 4)
        if target > replicas:
            assert target <= max(limits.min_replicas, 2 * replicas, replicas + 4)
        if decision.replicas is not None:
            assert max(limits.min_replicas, 0) <= target <= limits.max_replicas
        if counts is not None and counts.total and not replicas:
            assert target >= 1
        assert len(memory.wanted) <= len(seen)
        replicas = target


@given(LIMITS, st.integers(1, 40), SEEN)
def test_no_look_of_a_new_operator_takes_a_pod_away(
    limits: Limits, replicas: int, seen: list[tuple[QueueCounts | None, Pods | None, float]]
) -> None:
    """Whatever it sees first; only a maximum that was lowered counts at once."""
    for counts, pods, _ in seen:
        decision = decide(limits, Observation(replicas, counts, pods), ScalerState(0.0), 0.0)
        assert decision.replicas is None or decision.replicas >= min(replicas, limits.max_replicas)
