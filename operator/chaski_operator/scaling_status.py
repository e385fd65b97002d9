"""What a route's status says of scaling: two conditions and figures, applied beside the reconciler's part. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chaski_core.ports import QueueCounts
from chaski_core.route.crd import GROUP_VERSION, KIND
from chaski_operator.events import NORMAL, WARNING, News
from chaski_operator.scaling import Decision, Doubt, Limit, Limits, Mode

AUTOSCALING = "Autoscaling"
SCALING_LIMITED = "ScalingLimited"

FIGURES = ("visible", "inFlight", "delayed", "replicas", "desiredReplicas")  # the autoscaler's part of a row

Status = dict[str, Any]

_DOUBTS = {
    Doubt.DENIED: ("False", "may not be read, which is not zero: check the operator's IAM permissions"),
    Doubt.UNAVAILABLE: ("Unknown", "can't be read now, which is not zero"),
    Doubt.PODS: ("Unknown", "has Pods that do not answer on their metrics port, so their number is held"),
}


@dataclass(frozen=True, slots=True)
class Judged:
    """One line's last decision."""

    queue: str  # as in the metrics: the queue's name, or `rungs`
    replicas: int  # after the decision
    decision: Decision


@dataclass(frozen=True, slots=True)
class Said:
    """A condition without its times."""

    type: str
    status: str  # True | False | Unknown
    reason: str
    message: str


def said_of(limits: Limits, lines: Sequence[Judged]) -> list[Said]:
    """The conditions. No message holds a figure that changes at every look: that would be a write for each."""
    return [_autoscaling(limits, lines), _limited(limits, lines)]


def _autoscaling(limits: Limits, lines: Sequence[Judged]) -> Said:
    if limits.mode is Mode.DISABLED:
        return Said(AUTOSCALING, "False", "Disabled", "spec.autoscaling.mode is Disabled: nobody scales")
    doubtful = [line for line in lines if line.decision.doubt is not None]
    if doubtful:
        worst = min(doubtful, key=lambda line: list(Doubt).index(line.decision.doubt or Doubt.PODS))
        doubt = worst.decision.doubt or Doubt.PODS
        status, told = _DOUBTS[doubt]
        return Said(AUTOSCALING, status, doubt, f'"{worst.queue}" {told}; it stays at {worst.replicas} Pods or more')
    if limits.mode is Mode.EXTERNAL:
        told = 'another autoscaler sets the replicas; chaski_replicas{state="wanted"} is what the backlog asks for'
        return Said(AUTOSCALING, "True", "External", told)
    return Said(AUTOSCALING, "True", "Scaling", "the backlog is read and decides")


def _limited(limits: Limits, lines: Sequence[Judged]) -> Said:
    told = [text for line in lines if (text := _why_limited(limits, line)) is not None]
    reasons = [line.decision.limit for line in lines if line.decision.limit is not None]
    if not told:
        return Said(SCALING_LIMITED, "False", "NotLimited", "there are as many Pods as the backlog asks for")
    reason = Limit.GROUPS if Limit.GROUPS in reasons else Limit.MAX_REPLICAS
    return Said(SCALING_LIMITED, "True", reason, "; ".join(told))


def _why_limited(limits: Limits, line: Judged) -> str | None:
    if line.decision.limit is Limit.GROUPS:
        pods = "1 Pod" if line.decision.most_useful == 1 else f"{line.decision.most_useful} Pods"
        return (
            f'"{line.queue}": a subject is delivered by one lane at a time, and those that have messages fill {pods} '
            f"of {limits.concurrency_per_pod} lanes; more Pods can't help"
        )
    if line.decision.limit is Limit.MAX_REPLICAS:
        return f'"{line.queue}": the backlog asks for more than maxReplicas {limits.max_replicas}'
    return None


def news_of(known: Iterable[Mapping[str, Any]], said: Iterable[Said]) -> list[News]:
    """Events: once when a figure is lost and once when it is back, and when more Pods stop to help."""
    before = {each["type"]: (each["status"], each["reason"]) for each in known}
    news = []
    for each in said:
        was = before.get(each.type)
        if was == (each.status, each.reason):
            continue
        lost = each.type == AUTOSCALING and each.reason in list(Doubt)
        back = each.type == AUTOSCALING and was is not None and was[1] in list(Doubt)
        if lost or back or (each.type == SCALING_LIMITED and each.status == "True"):
            news.append(News(WARNING if lost else NORMAL, str(each.reason), each.message))
    return news


def conditions(said: Iterable[Said], known: Iterable[Mapping[str, Any]], generation: int, now: str) -> list[Status]:
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


def figures(counts: Mapping[str, QueueCounts], wanted: Mapping[str, tuple[int, int | None]], now: str) -> Status:
    """Rows of `status.queues` and the sums beside them.

    Args:
        counts: by row, as far as known.
        wanted: by row of a queue: replicas that are asked for, and that the figures ask for.
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
    retrying = [each.total for name, each in counts.items() if name.startswith("rung-")]
    waiting = [each.total for name, each in counts.items() if not name.startswith("rung-")]
    return {
        "queues": [rows[name] for name in sorted(rows)],
        "backlog": sum(waiting),
        "retrying": sum(retrying),
        "countsObservedAt": now,
    }


def status_document(namespace: str, name: str, status: Status) -> dict[str, Any]:
    """What is applied to the route's status."""
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": GROUP_VERSION, "kind": KIND, "metadata": metadata, "status": status}
