"""What a route's status says of scaling: two conditions and figures, applied beside the reconciler's part. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaski_core.ports import QueueCounts
from chaski_core.route.validation.crd import GROUP_VERSION, KIND
from chaski_operator.autoscaling.policy import Decision, Limit, Limits, Mode, UnknownReason
from chaski_operator.kube.event_posting import NORMAL, WARNING, News

AUTOSCALING = "Autoscaling"
SCALING_LIMITED = "ScalingLimited"
NEAR_EXPIRY = "NearExpiry"
SHORTAGE = "Shortage"

FIGURES = (
    "visible",
    "inFlight",
    "delayed",
    "replicas",
    "desiredReplicas",
    "notEmptySince",
)  # the autoscaler's part of a row

Status = dict[str, Any]

_DOUBTS = {
    UnknownReason.DENIED: ("False", "may not be read, which is not zero: check the operator's IAM permissions"),
    UnknownReason.UNAVAILABLE: ("Unknown", "can't be read now, which is not zero"),
    UnknownReason.PODS: ("Unknown", "has Pods that do not answer on their metrics port, so their number is held"),
}


@dataclass(frozen=True, slots=True)
class LineResult:
    """One line's last decision."""

    queue: str  # as in the metrics: the queue's name, or `rungs`
    replicas: int  # after the decision
    decision: Decision
    shortages: frozenset[tuple[str, str]] = field(default=frozenset())  # reason and allow rule of what its Pods lack


@dataclass(frozen=True, slots=True)
class ScalingCondition:
    """A condition without its times."""

    type: str
    status: str  # True | False | Unknown
    reason: str
    message: str


def said_of(limits: Limits, lines: Sequence[LineResult]) -> list[ScalingCondition]:
    """The conditions. No message holds a figure that changes at every look: that would be a write for each."""
    return [_autoscaling(limits, lines), _limited(limits, lines), _shortage(lines)]


_LACKS = {  # by the label `reason` of chaski_shortage
    "descriptors": "open files: raise the limit of the Pods, or lower delivery.concurrencyPerPod",
    "memory": "memory: raise the limit of the Pods",
    "threads": "threads: raise the limit of processes on the node",
    "ports": "local ports towards the target: spread the load over more Pods",
    "resolver": "a name server that works: check dnsPolicy and the cluster's DNS",
    "certificate": "a certificate that can be used: check caBundle and clientCertSecretName",
}


def _shortage(lines: Sequence[LineResult]) -> ScalingCondition:
    lacking = sorted({(line.queue, *each) for line in lines for each in line.shortages})
    if not lacking:
        return ScalingCondition(SHORTAGE, "False", "NoShortage", "workers have what they need to call targets")
    told = [
        f'the workers of "{queue}" lack {_LACKS.get(reason, reason)}{"" if target == "all" else f" (rule {target})"}'
        for queue, reason, target in lacking
    ]
    reasons = {reason for _, reason, _ in lacking}
    name = reasons.pop().capitalize() if len(reasons) == 1 else "Several"
    return ScalingCondition(SHORTAGE, "True", name, f"{'; '.join(told)}. Messages wait, and no retry is used up")


def _autoscaling(limits: Limits, lines: Sequence[LineResult]) -> ScalingCondition:
    if limits.mode is Mode.DISABLED:
        return ScalingCondition(AUTOSCALING, "False", "Disabled", "spec.autoscaling.mode is Disabled: nobody scales")
    doubtful = [line for line in lines if line.decision.doubt is not None]
    if doubtful:
        worst = min(doubtful, key=lambda line: list(UnknownReason).index(line.decision.doubt or UnknownReason.PODS))
        doubt = worst.decision.doubt or UnknownReason.PODS
        status, told = _DOUBTS[doubt]
        return ScalingCondition(
            AUTOSCALING, status, doubt, f'"{worst.queue}" {told}; it stays at {worst.replicas} Pods or more'
        )
    if limits.mode is Mode.EXTERNAL:
        told = 'another autoscaler sets the replicas; chaski_replicas{state="wanted"} is what the backlog asks for'
        return ScalingCondition(AUTOSCALING, "True", "External", told)
    return ScalingCondition(AUTOSCALING, "True", "Scaling", "the backlog is read and decides")


def _limited(limits: Limits, lines: Sequence[LineResult]) -> ScalingCondition:
    told = [text for line in lines if (text := _why_limited(limits, line)) is not None]
    reasons = [line.decision.limit for line in lines if line.decision.limit is not None]
    if not told:
        return ScalingCondition(
            SCALING_LIMITED, "False", "NotLimited", "there are as many Pods as the backlog asks for"
        )
    reason = Limit.GROUPS if Limit.GROUPS in reasons else Limit.MAX_REPLICAS
    return ScalingCondition(SCALING_LIMITED, "True", reason, "; ".join(told))


def _why_limited(limits: Limits, line: LineResult) -> str | None:
    if line.decision.limit is Limit.GROUPS:
        pods = "1 Pod" if line.decision.most_useful == 1 else f"{line.decision.most_useful} Pods"
        return (
            f'"{line.queue}": a subject is delivered by one lane at a time, and those that have messages fill {pods} '
            f"of {limits.concurrency_per_pod} lanes; more Pods can't help"
        )
    if line.decision.limit is Limit.MAX_REPLICAS:
        return f'"{line.queue}": the backlog asks for more than maxReplicas {limits.max_replicas}'
    return None


def news_of(known: Iterable[Mapping[str, Any]], said: Iterable[ScalingCondition]) -> list[News]:
    """Events: once when a figure is lost and once when it is back, and when more Pods stop to help."""
    before = {each["type"]: (each["status"], each["reason"]) for each in known}
    news = []
    for each in said:
        was = before.get(each.type)
        if was == (each.status, each.reason):
            continue
        lost = each.type == AUTOSCALING and each.reason in list(UnknownReason)
        back = each.type == AUTOSCALING and was is not None and was[1] in list(UnknownReason)
        warned = lost or (each.type in {NEAR_EXPIRY, SHORTAGE} and each.status == "True")
        if warned or back or (each.type == SCALING_LIMITED and each.status == "True"):
            news.append(News(WARNING if warned else NORMAL, str(each.reason), each.message))
    return news


def conditions(
    said: Iterable[ScalingCondition], known: Iterable[Mapping[str, Any]], generation: int, now: str
) -> list[Status]:
    """Conditions with their times.

    Args:
        said: what is.
        known: the conditions so far; where the status is the same its time stays.
        generation: `metadata.generation` that was judged.
        now: RFC 3339, seconds.
    """
    before = {each["type"]: each for each in known}
    return [
        {
            "type": each.type,
            "status": each.status,
            "observedGeneration": generation,
            "lastTransitionTime": before[each.type]["lastTransitionTime"]
            if before.get(each.type, {}).get("status") == each.status
            else now,
            "reason": str(each.reason),
            "message": each.message,
        }
        for each in said
    ]


def figures(
    counts: Mapping[str, QueueCounts],
    wanted: Mapping[str, tuple[int, int | None]],
    since: Mapping[str, str],
    now: str,
) -> Status:
    """Rows of `status.queues` and the sums beside them.

    Args:
        counts: by row, as far as known.
        wanted: by row of a queue: replicas that are asked for, and that the figures ask for.
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
    for name, at in since.items():  # also where the counts are not known now: it must not be forgotten
        rows.setdefault(name, {"name": name})["notEmptySince"] = at
    retrying = [each.total for name, each in counts.items() if name.startswith("rung-")]
    waiting = [each.total for name, each in counts.items() if not name.startswith("rung-")]
    return {
        "queues": [rows[name] for name in sorted(rows)],
        "backlog": sum(waiting),
        "retrying": sum(retrying),
        "countsObservedAt": now,
    }


def conditions_differ(mine: Sequence[Mapping[str, Any]], status: Mapping[str, Any]) -> bool:
    """Whether the status does not say these conditions yet."""
    live = {each["type"]: each for each in status.get("conditions") or ()}
    return any(live.get(each["type"]) != each for each in mine)


def figures_differ(told: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    """Whether the status does not say these figures yet."""
    rows, live = _figures_of(told["queues"]), _figures_of(status.get("queues") or ())
    gone = any(each for row, each in live.items() if row not in rows)
    changed = any(each != live.get(row) for row, each in rows.items())
    return gone or changed or any(told[name] != status.get(name) for name in ("backlog", "retrying"))


def _figures_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["name"]: {name: row[name] for name in FIGURES if name in row} for row in rows}


def status_document(namespace: str, name: str, status: Status) -> dict[str, Any]:
    """What is applied to the route's status."""
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": GROUP_VERSION, "kind": KIND, "metadata": metadata, "status": status}
