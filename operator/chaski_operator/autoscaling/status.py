"""The autoscaler's part of a route's status: conditions and figures, applied beside the reconciler's part. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaski_core.ports import QueueCounts
from chaski_operator.autoscaling.policy import Decision, Limit, Mode, ScalingSpec, UnknownReason
from chaski_operator.expiry.status import NEAR_EXPIRY
from chaski_operator.kube.events import NORMAL, WARNING, Event
from chaski_operator.kube.status import Condition, Status, condition_false, condition_true

AUTOSCALING = "Autoscaling"
SCALING_LIMITED = "ScalingLimited"
SHORTAGE = "Shortage"

# The autoscaler's fields of a row of `status.queues`.
FIGURES = ("visible", "inFlight", "delayed", "replicas", "desiredReplicas", "notEmptySince")

_UNKNOWN = {  # status and message of Autoscaling
    UnknownReason.DENIED: ("False", "access denied, queue depth unknown: check the operator's IAM permissions"),
    UnknownReason.UNAVAILABLE: ("Unknown", "queue depth unknown: it can't be read at the moment"),
    UnknownReason.PODS: ("Unknown", "some Pods do not answer on their metrics port"),
}
_LACKS = {  # by the label `reason` of chaski_shortage
    "descriptors": "open files: raise the limit of the Pods, or lower delivery.concurrencyPerPod",
    "memory": "memory: raise the limit of the Pods",
    "threads": "threads: raise the limit of processes on the node",
    "ports": "local ports towards the target: spread the load over more Pods",
    "resolver": "a working name server: check dnsPolicy and the cluster's DNS",
    "certificate": "a usable certificate: check caBundle and clientCertSecretName",
    "credentials": "usable credentials: check the Secrets of the rule's signing and auth, and its token endpoint",
}


@dataclass(frozen=True, slots=True)
class TargetResult:
    """The last decision about a target."""

    queue: str  # as in the metrics: the queue's name, or `rungs`
    replicas: int  # after the decision
    decision: Decision
    shortages: frozenset[tuple[str, str]] = field(default=frozenset())  # reason and allow rule of what its Pods lack
    holds: frozenset[tuple[str, str]] = field(default=frozenset())  # reason and allow rule of what its Pods hold


def conditions_for(spec: ScalingSpec, results: Sequence[TargetResult]) -> list[Condition]:
    """The conditions. No message has a figure that changes with every check: that would cause a write each time."""
    return [_autoscaling(spec, results), _limited(spec, results), _shortage(results)]


def _autoscaling(spec: ScalingSpec, results: Sequence[TargetResult]) -> Condition:
    if spec.mode is Mode.DISABLED:
        return condition_false(AUTOSCALING, "Disabled", "scaling is disabled by spec.autoscaling.mode")
    unknown = [(reason, each) for each in results if (reason := each.decision.unknown) is not None]
    if unknown:
        reason, worst = min(unknown, key=lambda each: list(UnknownReason).index(each[0]))
        status, message = _UNKNOWN[reason]
        message = f'"{worst.queue}": {message}; holding at least {worst.replicas} Pods'
        return Condition(AUTOSCALING, status, str(reason), message)
    if spec.mode is Mode.EXTERNAL:
        metric = 'chaski_replicas{state="wanted"} is the number that the backlog calls for'
        return condition_true(AUTOSCALING, "External", f"another autoscaler sets the replicas; {metric}")
    return condition_true(AUTOSCALING, "Scaling", "scaling on backlog")


def _limited(spec: ScalingSpec, results: Sequence[TargetResult]) -> Condition:
    messages = [text for each in results if (text := _why_limited(spec, each)) is not None]
    reasons = [each.decision.limit for each in results if each.decision.limit is not None]
    if not messages:
        return condition_false(SCALING_LIMITED, "NotLimited", "there are as many Pods as the backlog calls for")
    reason = Limit.GROUPS if Limit.GROUPS in reasons else Limit.MAX_REPLICAS
    return condition_true(SCALING_LIMITED, str(reason), "; ".join(messages))


def _why_limited(spec: ScalingSpec, result: TargetResult) -> str | None:
    if result.decision.limit is Limit.GROUPS:
        pods = "1 Pod" if result.decision.max_useful == 1 else f"{result.decision.max_useful} Pods"
        return (
            f'"{result.queue}": a subject is delivered by one lane at a time, and the subjects with messages fill {pods} '
            f"of {spec.concurrency_per_pod} lanes; more Pods would not help"
        )
    if result.decision.limit is Limit.MAX_REPLICAS:
        return f'"{result.queue}": the backlog calls for more than maxReplicas {spec.max_replicas}'
    return None


def _shortage(results: Sequence[TargetResult]) -> Condition:
    shortages = sorted({(result.queue, *each) for result in results for each in result.shortages})
    if not shortages:
        return condition_false(SHORTAGE, "NoShortage", "workers have the resources to call targets")
    messages = [
        f'the workers of "{queue}" lack {_LACKS.get(reason, reason)}{"" if target == "all" else f" (rule {target})"}'
        for queue, reason, target in shortages
    ]
    reasons = {reason for _, reason, _ in shortages}
    name = reasons.pop().capitalize() if len(reasons) == 1 else "Several"
    return condition_true(SHORTAGE, name, f"{'; '.join(messages)}. Messages wait without using up retries")


def replica_values(
    key: tuple[str, str], spec: ScalingSpec, results: Mapping[str, TargetResult], ready: Mapping[str, int]
) -> dict[tuple[str, ...], int]:
    """Values of chaski_replicas of a route, by namespace, route, queue and state. `ready`: Pods by Deployment."""
    values: dict[tuple[str, ...], int] = {}
    for deployment, each in results.items():
        labels = (*key, each.queue)
        if each.decision.wanted is not None and spec.mode is not Mode.DISABLED:
            values[*labels, "wanted"] = each.decision.wanted
        values[*labels, "set"] = each.replicas
        values[*labels, "ready"] = ready.get(deployment, 0)
    return values


def events_for(known: Iterable[Mapping[str, Any]], conditions: Iterable[Condition]) -> list[Event]:
    """Events on transitions: the queue depth becomes unknown or known again, scaling becomes limited, a warning is due."""
    before = {each["type"]: (each["status"], each["reason"]) for each in known}
    events = []
    for each in conditions:
        was = before.get(each.type)
        if was == (each.status, each.reason):
            continue
        lost = each.type == AUTOSCALING and each.reason in list(UnknownReason)
        recovered = each.type == AUTOSCALING and was is not None and was[1] in list(UnknownReason)
        warning = lost or (each.type in {NEAR_EXPIRY, SHORTAGE} and each.status == "True")
        if warning or recovered or (each.type == SCALING_LIMITED and each.status == "True"):
            events.append(Event(WARNING if warning else NORMAL, each.reason, each.message))
    return events


# ---- figures


def figures(
    counts: Mapping[str, QueueCounts],
    wanted: Mapping[str, tuple[int, int | None]],
    since: Mapping[str, str],
    now: str,
) -> Status:
    """Rows of `status.queues`, and the sums beside them.

    Args:
        counts: by row, as far as known.
        wanted: by row of a queue: replicas requested, and replicas that the figures call for.
        since: by row that holds messages: none of them was sent earlier. RFC 3339.
        now: RFC 3339, seconds.
    """
    rows: dict[str, Status] = {}
    for name, each in counts.items():
        rows[name] = {"name": name, "visible": each.visible, "inFlight": each.in_flight, "delayed": each.delayed}
    for name, (replicas, desired) in wanted.items():
        row = rows.setdefault(name, {"name": name})
        row["replicas"] = replicas
        if desired is not None:
            row["desiredReplicas"] = desired
    for name, at in since.items():  # even if the counts are unknown now: the time must not be lost
        rows.setdefault(name, {"name": name})["notEmptySince"] = at
    retrying = [each.total for name, each in counts.items() if name.startswith("rung-")]
    waiting = [each.total for name, each in counts.items() if not name.startswith("rung-")]
    return {
        "queues": [rows[name] for name in sorted(rows)],
        "backlog": sum(waiting),
        "retrying": sum(retrying),
        "countsObservedAt": now,
    }


def conditions_differ(wanted: Sequence[Mapping[str, Any]], status: Mapping[str, Any]) -> bool:
    """Whether the status lacks one of these conditions."""
    live = {each["type"]: each for each in status.get("conditions") or ()}
    return any(live.get(each["type"]) != each for each in wanted)


def figures_differ(wanted: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    """Whether the figures in the status differ from these."""
    rows, live = _figures_of(wanted["queues"]), _figures_of(status.get("queues") or ())
    removed = any(each for row, each in live.items() if row not in rows)
    changed = any(each != live.get(row) for row, each in rows.items())
    names = ("backlog", "retrying", "targets")
    return removed or changed or any((wanted.get(name) or 0) != (status.get(name) or 0) for name in names)


def _figures_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["name"]: {name: row[name] for name in FIGURES if name in row} for row in rows}
