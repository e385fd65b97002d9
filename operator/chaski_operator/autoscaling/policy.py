"""How many Pods a queue should have. Pure: an observation of the queue and its Pods in, a decision out.

    wanted = min(backlog / messages that a Pod drains in `targetDrainSeconds`, subjects / `concurrencyPerPod`)

A subject is delivered by one lane at a time, so Pods beyond the second term would be idle. Unknown is not zero: without
counts nothing is scaled down, and from zero one Pod is started. Scaling down goes by steps, and the last Pod is removed
only after several checks over `scaleToZeroAfterSeconds` found no work. The state is not persisted: a new operator holds
the current number until it has observed a whole window itself.

A message in flight that no Pod holds is hidden until it is due (for at most the 12 hours of SQS), or its Pod was killed. It
needs no Pod while it waits: once it becomes visible it counts as work.
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from chaski_core.ports import QueueCounts
from chaski_operator.pods.worker_metrics import Pods


class Mode(StrEnum):
    """What sets the number of Pods (`spec.autoscaling.mode`)."""

    BUILT_IN = "BuiltIn"
    EXTERNAL = "External"  # another autoscaler, which may use the wanted number as a metric
    DISABLED = "Disabled"


class Limit(StrEnum):
    """Why there are fewer Pods than the backlog calls for."""

    GROUPS = "MessageGroupsExhausted"
    MAX_REPLICAS = "MaxReplicas"


class UnknownReason(StrEnum):
    """What an observation could not determine, and why."""

    DENIED = "MetricsAccessDenied"
    UNAVAILABLE = "MetricsUnavailable"
    PODS = "PodsUnknown"


@dataclass(frozen=True, slots=True)
class ScalingLimits:
    """How fast the number of Pods may change."""

    #: Seconds for which Pods must be surplus before some are removed (a quarter of them, at least one), and seconds
    #: between two such steps. A Pod needs a minute to start and to fill, so shorter windows would oscillate.
    down_window_seconds: float = 300.0
    down_step_seconds: float = 60.0

    #: Seconds within which the number at most doubles, or grows by four.
    up_step_seconds: float = 15.0

    #: Consecutive checks that must find no work before the last Pod is removed.
    empty_checks: int = 3

    #: Consecutive checks that must fail before a queue without Pods gets one.
    failed_checks: int = 3

    #: Seconds for which a queue on which ingest has put a message counts as not empty until a Pod reports: counts may be a
    #: minute old (API_GetQueueAttributes), and a Pod takes some time to start.
    accepted_seconds: float = 120.0

    #: Upper bound of messages per second and Pod, however fast its targets are: SQS needs a call for each ten.
    max_per_second: float = 500.0


DEFAULT_LIMITS = ScalingLimits()


def with_window(down_window_seconds: float) -> ScalingLimits:
    """The default limits with another window; steps are never longer than the window."""
    step = min(DEFAULT_LIMITS.down_step_seconds, down_window_seconds)
    return replace(DEFAULT_LIMITS, down_window_seconds=down_window_seconds, down_step_seconds=step)


@dataclass(frozen=True, slots=True)
class ScalingSpec:
    """The parts of a route's spec that decide about scaling."""

    mode: Mode = Mode.BUILT_IN
    min_replicas: int = 0
    max_replicas: int = 10
    target_drain_seconds: int = 60
    scale_to_zero_after_seconds: int = 300
    concurrency_per_pod: int = 64
    suspended: bool = False  # nothing is attempted; one Pod handles messages that expire


@dataclass(frozen=True, slots=True)
class Observation:
    """One check of a queue."""

    replicas: int  # that its Deployment requests
    counts: QueueCounts | None  # `delayed`: only messages that are due soon; None: unknown
    pods: Pods | None = None  # None: not asked, as there are none or `counts` failed
    unknown: UnknownReason | None = None  # why `counts` is None
    accepted: bool = False  # ingest has put messages on the queue since the last check


@dataclass(frozen=True, slots=True)
class ScalerState:
    """What a decision needs of earlier checks. A new operator begins with `ScalerState(now)`."""

    since: float
    empty_since: float | None = None
    empty_checks: int = 0
    failed_checks: int = 0
    wanted: tuple[tuple[float, int], ...] = ()  # (time, number of Pods), within the down window
    raised_at: float | None = None
    lowered_at: float | None = None
    attempts: int | None = None
    attempt_seconds: float | None = None
    accepted_at: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision for one queue's Deployment."""

    replicas: int | None  # to set; None: no change
    wanted: int | None  # what the figures alone call for; None: unknown
    state: ScalerState
    limit: Limit | None = None
    max_useful: int | None = None  # Pods beyond this number would find no subject
    unknown: UnknownReason | None = None


@dataclass(frozen=True, slots=True)
class _Size:
    wanted: int
    limit: Limit | None = None
    max_useful: int | None = None
    unknown: UnknownReason | None = None


def decide(
    spec: ScalingSpec, seen: Observation, state: ScalerState, now: float, limits: ScalingLimits = DEFAULT_LIMITS
) -> Decision:
    """The next number of Pods.

    Args:
        spec: of the route.
        seen: the current observation.
        state: of the previous decision, or `ScalerState(now)`.
        now: monotonic seconds.
        limits: how fast the number may change.
    """
    if seen.accepted:
        state = replace(state, accepted_at=now)
    seen = _with_accepted(seen, state, now, limits)
    if seen.counts is None:
        return _when_unknown(spec, seen, state, now, limits)
    counts = replace(seen.counts, in_flight=0) if _holds_none(spec, seen) else seen.counts
    state = _with_observation(state, seen, counts, now)
    size = _size(spec, seen, counts, state, limits)
    size = _hold_last_replica(spec, seen, size, state, now, limits)
    window = tuple(each for each in state.wanted if each[0] > now - limits.down_window_seconds)
    state = replace(state, wanted=(*window, (now, size.wanted)))
    target = _step(spec, seen.replicas, state, now, limits) if spec.mode is Mode.BUILT_IN else seen.replicas
    state = _with_step(state, seen.replicas, target, now)
    changed = None if target == seen.replicas else target
    return Decision(changed, size.wanted, state, size.limit, size.max_useful, size.unknown)


def _with_accepted(seen: Observation, state: ScalerState, now: float, limits: ScalingLimits) -> Observation:
    """The observation with the message that ingest has put on the queue, where the counts do not show it yet."""
    recent = state.accepted_at is not None and now - state.accepted_at < limits.accepted_seconds
    if not recent or (seen.counts is not None and seen.counts.total) or (seen.pods is not None and seen.pods.reporting):
        return seen
    return replace(seen, counts=QueueCounts(1, 0, 0), unknown=None)


def _when_unknown(
    spec: ScalingSpec, seen: Observation, state: ScalerState, now: float, limits: ScalingLimits
) -> Decision:
    """Holds the number of Pods, but starts one if there is none."""
    failed = state.failed_checks + 1
    state = replace(state, failed_checks=failed, empty_since=None, empty_checks=0, attempts=None)
    wanted = 1 if seen.replicas == 0 and failed >= limits.failed_checks else None
    floor = max(spec.min_replicas, wanted or 0)
    target = max(seen.replicas, floor) if spec.mode is Mode.BUILT_IN else seen.replicas
    state = _with_step(state, seen.replicas, target, now)
    changed = None if target == seen.replicas else target
    return Decision(changed, wanted, state, unknown=seen.unknown or UnknownReason.UNAVAILABLE)


def _holds_none(spec: ScalingSpec, seen: Observation) -> bool:
    """Whether certainly no Pod holds a message.

    Of a suspended route the messages in flight count: its Pod hides them. So do those of a route with held targets, which its Pods
    hide: a Pod that was started for them later would not know what is held.
    """
    if spec.suspended or not seen.replicas:
        return not spec.suspended
    pods = seen.pods
    if pods is None or pods.holds:
        return False
    return pods.reporting >= seen.replicas and not pods.unresponsive and not pods.lanes


def _with_observation(state: ScalerState, seen: Observation, counts: QueueCounts, now: float) -> ScalerState:
    attempts = seen.pods.attempts if seen.pods and not seen.pods.unresponsive else None
    seconds = seen.pods.attempt_seconds if seen.pods else None
    worked = None not in (attempts, state.attempts) and attempts != state.attempts
    empty = counts.total == 0 and not worked
    since = state.empty_since if state.empty_since is not None else now
    return replace(
        state,
        failed_checks=0,
        empty_since=since if empty else None,
        empty_checks=state.empty_checks + 1 if empty else 0,
        attempts=attempts,
        attempt_seconds=seconds if seconds is not None else state.attempt_seconds,
    )


def _size(
    spec: ScalingSpec, seen: Observation, counts: QueueCounts, state: ScalerState, limits: ScalingLimits
) -> _Size:
    """The number of Pods that the current figures call for, within the route's bounds."""
    work = counts.visible + counts.in_flight
    if spec.suspended or work == 0:
        size = _Size(1 if counts.total else 0)
    else:
        size = _for_work(spec, seen, work, state, limits)
    if size.wanted > spec.max_replicas:
        return replace(size, wanted=spec.max_replicas, limit=Limit.MAX_REPLICAS)
    return replace(size, wanted=max(size.wanted, spec.min_replicas))


def _for_work(spec: ScalingSpec, seen: Observation, work: int, state: ScalerState, limits: ScalingLimits) -> _Size:
    current = max(1, seen.replicas)
    pods = seen.pods
    if pods is None or pods.reporting == 0:  # no Pod, or none that polls yet: the number of subjects is unknown
        return _Size(current, unknown=UnknownReason.PODS if pods is not None and pods.unresponsive else None)
    if pods.unresponsive:  # the subjects that they hold are unknown, so neither up nor down
        return _Size(current, unknown=UnknownReason.PODS)
    by_drain = _by_drain(spec, work, state.attempt_seconds, limits) or current
    subjects = max(pods.lanes, pods.subjects)
    by_subjects = max(1, math.ceil(subjects / spec.concurrency_per_pod))
    if pods.full == pods.reporting:  # there may be more subjects than they can hold
        return _Size(min(by_drain, max(by_subjects, 2 * pods.reporting)))
    if by_drain > by_subjects:
        return _Size(by_subjects, Limit.GROUPS, by_subjects)
    return _Size(by_drain, max_useful=by_subjects)


def _by_drain(spec: ScalingSpec, work: int, attempt_seconds: float | None, limits: ScalingLimits) -> int | None:
    """Pods that drain the backlog in time; None while the speed of a Pod is unknown."""
    if attempt_seconds is None:
        return None
    rate = min(limits.max_per_second, spec.concurrency_per_pod / max(attempt_seconds, 1e-6))
    return max(1, math.ceil(work / (rate * spec.target_drain_seconds)))


def _hold_last_replica(
    spec: ScalingSpec, seen: Observation, size: _Size, state: ScalerState, now: float, limits: ScalingLimits
) -> _Size:
    """Keeps the last Pod until there is certainly no work."""
    if size.wanted or not seen.replicas:
        return size
    quiet = state.empty_since is not None and now - state.empty_since >= spec.scale_to_zero_after_seconds
    return size if quiet and state.empty_checks >= limits.empty_checks else replace(size, wanted=1)


def _step(spec: ScalingSpec, current: int, state: ScalerState, now: float, limits: ScalingLimits) -> int:
    """One step from the current number towards the wanted one."""
    wanted = state.wanted[-1][1]
    if current > spec.max_replicas:
        return spec.max_replicas  # the maximum was lowered
    if wanted > current:
        if state.raised_at is not None and now - state.raised_at < limits.up_step_seconds:
            return max(current, spec.min_replicas)
        return max(spec.min_replicas, min(wanted, max(2 * current, current + 4) if current else 1))
    if wanted < current:
        return _step_down(current, wanted, state, now, limits)
    return current


def _step_down(current: int, wanted: int, state: ScalerState, now: float, limits: ScalingLimits) -> int:
    if state.lowered_at is not None and now - state.lowered_at < limits.down_step_seconds:
        return current
    if current == 1:
        return wanted  # zero: `_hold_last_replica` has waited long enough
    if now - state.since < limits.down_window_seconds:
        return current
    highest = max(number for _, number in state.wanted)
    return max(highest, current - max(1, current // 4), 1) if highest < current else current


def _with_step(state: ScalerState, current: int, target: int, now: float) -> ScalerState:
    if target > current:
        return replace(state, raised_at=now)
    if target < current:
        return replace(state, lowered_at=now)
    return state
