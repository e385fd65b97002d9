"""How many Pods a queue should have. Pure: one look at the queue and its Pods in, a decision out.

    wanted = min(backlog / what a Pod drains in `targetDrainSeconds`, subjects / `concurrencyPerPod`)

A subject is delivered by one lane at a time, so Pods beyond the second figure would have nothing to do. Unknown is not
zero: without figures nothing is scaled down, and from zero one Pod is started. Down goes by steps, and the last Pod
leaves only after several looks over `scaleToZeroAfterSeconds` found nothing at all. What a decision remembers is not
kept anywhere: a new operator holds what there is until it has looked for a whole window itself.
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from chaski_core.ports import QueueCounts


class Mode(StrEnum):
    """Who sets the number of Pods."""

    BUILT_IN = "BuiltIn"
    EXTERNAL = "External"  # the user's autoscaler; what we want is a metric
    DISABLED = "Disabled"


class Limit(StrEnum):
    """Why there are fewer Pods than the backlog asks for."""

    GROUPS = "MessageGroupsExhausted"
    MAX_REPLICAS = "MaxReplicas"


class UnknownReason(StrEnum):
    """What was not known in a look."""

    DENIED = "MetricsAccessDenied"
    UNAVAILABLE = "MetricsUnavailable"
    PODS = "PodsUnknown"


@dataclass(frozen=True, slots=True)
class ScalingLimits:
    """How fast numbers of Pods change."""

    #: Pods are taken away when they were not wanted for so many seconds, and so many seconds apart: a quarter, at
    #: least one. A Pod needs a minute to start and to fill, so shorter windows would go up and down.
    down_window_seconds: float = 300.0
    down_step_seconds: float = 60.0

    #: Within so many seconds the number doubles at most, or grows by four.
    up_step_seconds: float = 15.0

    #: Looks in a row that must find nothing at all before the last Pod leaves.
    empty_looks: int = 3

    #: Looks in a row that must fail before a queue without Pods gets one.
    failed_looks: int = 3

    #: Messages a second that a Pod takes at most, however fast its targets are: SQS takes a call for each ten.
    most_per_second: float = 500.0


PACE = ScalingLimits()


def paced(down_window_seconds: float) -> ScalingLimits:
    """The usual pace with another window; where that is shorter than a step, steps are as short."""
    step = min(PACE.down_step_seconds, down_window_seconds)
    return replace(PACE, down_window_seconds=down_window_seconds, down_step_seconds=step)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the route says."""

    mode: Mode = Mode.BUILT_IN
    min_replicas: int = 0
    max_replicas: int = 10
    target_drain_seconds: int = 60
    scale_to_zero_after_seconds: int = 300
    concurrency_per_pod: int = 64
    suspended: bool = False  # nothing is attempted; one Pod looks after what would expire


@dataclass(frozen=True, slots=True)
class Pods:
    """What the Pods of a queue told, together."""

    told: int  # Pods that answered
    silent: int = 0  # Pods that are ready and did not
    full: int = 0  # of those that answered: they hold as much as they may, so there may be more subjects
    lanes: int = 0  # subjects held, in all Pods
    subjects: int = 0  # subjects that one Pod met within the last minute, the most
    attempts: int = 0  # attempts made since the Pods started
    attempt_seconds: float | None = None  # how long one takes
    oldest_received_age: float | None = None  # seconds, of the oldest message that any of them received of late
    shortages: frozenset[tuple[str, str]] = frozenset()  # reason and allow rule (`all`: any) of what they lack now


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at a queue."""

    replicas: int  # what its Deployment asks for
    counts: QueueCounts | None  # `delayed`: only what is due soon; None: unknown
    pods: Pods | None = None  # None: not asked, as there are none or `counts` failed
    doubt: UnknownReason | None = None  # why `counts` is None


@dataclass(frozen=True, slots=True)
class ScalerState:
    """What later looks need of earlier ones. A new operator begins with `ScalerState(now)`."""

    since: float
    empty_since: float | None = None
    empty_looks: int = 0
    failed_looks: int = 0
    wanted: tuple[tuple[float, int], ...] = ()  # (when, how many), within the down window
    raised_at: float | None = None
    lowered_at: float | None = None
    attempts: int | None = None
    attempt_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done with one queue's Deployment."""

    replicas: int | None  # to set; None: leave it as it is
    wanted: int | None  # what the figures alone ask for; None: unknown
    memory: ScalerState
    limit: Limit | None = None
    most_useful: int | None = None  # Pods beyond this would find no subject
    doubt: UnknownReason | None = None


@dataclass(frozen=True, slots=True)
class _Size:
    wanted: int
    limit: Limit | None = None
    most_useful: int | None = None
    doubt: UnknownReason | None = None


def decide(limits: Limits, look: Observation, memory: ScalerState, now: float, pace: ScalingLimits = PACE) -> Decision:
    """The next number of Pods.

    Args:
        limits: what the route says.
        look: what is seen now.
        memory: of the decision before, or `ScalerState(now)`.
        now: monotonic seconds.
        pace: how fast numbers change.
    """
    if look.counts is None:
        return _in_doubt(limits, look, memory, now, pace)
    memory = _remember(look, look.counts, memory, now)
    size = _size(limits, look, look.counts, memory, pace)
    size = _kept_awake(limits, look, size, memory, now, pace)
    window = tuple(each for each in memory.wanted if each[0] > now - pace.down_window_seconds)
    memory = replace(memory, wanted=(*window, (now, size.wanted)))
    target = _step(limits, look.replicas, memory, now, pace) if limits.mode is Mode.BUILT_IN else look.replicas
    memory = _noted(memory, look.replicas, target, now)
    changed = None if target == look.replicas else target
    return Decision(changed, size.wanted, memory, size.limit, size.most_useful, size.doubt)


def _in_doubt(limits: Limits, look: Observation, memory: ScalerState, now: float, pace: ScalingLimits) -> Decision:
    """Holds, but starts one where there is none."""
    failed = memory.failed_looks + 1
    memory = replace(memory, failed_looks=failed, empty_since=None, empty_looks=0, attempts=None)
    wanted = 1 if look.replicas == 0 and failed >= pace.failed_looks else None
    floor = max(limits.min_replicas, wanted or 0)
    target = max(look.replicas, floor) if limits.mode is Mode.BUILT_IN else look.replicas
    memory = _noted(memory, look.replicas, target, now)
    return Decision(
        None if target == look.replicas else target, wanted, memory, doubt=look.doubt or UnknownReason.UNAVAILABLE
    )


def _remember(look: Observation, counts: QueueCounts, memory: ScalerState, now: float) -> ScalerState:
    attempts = look.pods.attempts if look.pods and not look.pods.silent else None
    seconds = look.pods.attempt_seconds if look.pods else None
    worked = None not in (attempts, memory.attempts) and attempts != memory.attempts
    empty = counts.total == 0 and not worked
    since = memory.empty_since if memory.empty_since is not None else now
    return replace(
        memory,
        failed_looks=0,
        empty_since=since if empty else None,
        empty_looks=memory.empty_looks + 1 if empty else 0,
        attempts=attempts,
        attempt_seconds=seconds if seconds is not None else memory.attempt_seconds,
    )


def _size(limits: Limits, look: Observation, counts: QueueCounts, memory: ScalerState, pace: ScalingLimits) -> _Size:
    """How many Pods the figures of now ask for, within the route's limits."""
    work = counts.visible + counts.in_flight
    if limits.suspended or work == 0:
        size = _Size(1 if counts.total else 0)
    else:
        size = _for_work(limits, look, work, memory, pace)
    if size.wanted > limits.max_replicas:
        return replace(size, wanted=limits.max_replicas, limit=Limit.MAX_REPLICAS)
    return replace(size, wanted=max(size.wanted, limits.min_replicas))


def _for_work(limits: Limits, look: Observation, work: int, memory: ScalerState, pace: ScalingLimits) -> _Size:
    now_there = max(1, look.replicas)
    pods = look.pods
    if pods is None or pods.told == 0:  # none, or none that has begun: nothing is known of subjects
        return _Size(now_there, doubt=UnknownReason.PODS if pods is not None and pods.silent else None)
    if pods.silent:  # what they hold is unknown, so neither up nor down
        return _Size(now_there, doubt=UnknownReason.PODS)
    by_drain = _by_drain(limits, work, memory.attempt_seconds, pace) or now_there
    subjects = max(pods.lanes, pods.subjects)
    by_subjects = max(1, math.ceil(subjects / limits.concurrency_per_pod))
    if pods.full == pods.told:  # there may be more subjects than they can hold
        return _Size(min(by_drain, max(by_subjects, 2 * pods.told)))
    if by_drain > by_subjects:
        return _Size(by_subjects, Limit.GROUPS, by_subjects)
    return _Size(by_drain, most_useful=by_subjects)


def _by_drain(limits: Limits, work: int, attempt_seconds: float | None, pace: ScalingLimits) -> int | None:
    """Pods that work off the backlog in time; None where it is not known yet how fast a Pod is."""
    if attempt_seconds is None:
        return None
    rate = min(pace.most_per_second, limits.concurrency_per_pod / max(attempt_seconds, 1e-6))
    return max(1, math.ceil(work / (rate * limits.target_drain_seconds)))


def _kept_awake(
    limits: Limits, look: Observation, size: _Size, memory: ScalerState, now: float, pace: ScalingLimits
) -> _Size:
    """The last Pod stays until it is certain that there is nothing to do."""
    if size.wanted or not look.replicas:
        return size
    quiet = memory.empty_since is not None and now - memory.empty_since >= limits.scale_to_zero_after_seconds
    return size if quiet and memory.empty_looks >= pace.empty_looks else replace(size, wanted=1)


def _step(limits: Limits, current: int, memory: ScalerState, now: float, pace: ScalingLimits) -> int:
    """From the current number towards the wanted one, no further than a step."""
    wanted = memory.wanted[-1][1]
    if current > limits.max_replicas:
        return limits.max_replicas  # a person lowered it
    if wanted > current:
        if memory.raised_at is not None and now - memory.raised_at < pace.up_step_seconds:
            return max(current, limits.min_replicas)
        return max(limits.min_replicas, min(wanted, max(2 * current, current + 4) if current else 1))
    if wanted < current:
        return _step_down(current, wanted, memory, now, pace)
    return current


def _step_down(current: int, wanted: int, memory: ScalerState, now: float, pace: ScalingLimits) -> int:
    if memory.lowered_at is not None and now - memory.lowered_at < pace.down_step_seconds:
        return current
    if current == 1:
        return wanted  # zero: `_kept_awake` has waited long enough
    if now - memory.since < pace.down_window_seconds:
        return current
    highest = max(number for _, number in memory.wanted)
    return max(highest, current - max(1, current // 4), 1) if highest < current else current


def _noted(memory: ScalerState, current: int, target: int, now: float) -> ScalerState:
    if target > current:
        return replace(memory, raised_at=now)
    if target < current:
        return replace(memory, lowered_at=now)
    return memory
