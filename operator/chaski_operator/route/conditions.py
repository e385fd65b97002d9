"""The conditions of a route: what each says, and why. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chaski_operator.pods.failures import trouble_of

Condition = dict[str, Any]

READY = "Ready"
ACCEPTED = "Accepted"
QUEUES_READY = "QueuesReady"
TABLES_READY = "TablesReady"
WORKERS_AVAILABLE = "WorkersAvailable"
SUSPENDED = "Suspended"
DRIFTED = "Drifted"
BACKLOG_LIMIT = "BacklogLimit"
# What delivery needs, in the order in which one depends on the other: the first that fails tells why.
NEEDED = (ACCEPTED, QUEUES_READY, TABLES_READY, WORKERS_AVAILABLE)
OWN = (READY, *NEEDED, SUSPENDED, DRIFTED, BACKLOG_LIMIT)  # the autoscaler's are written by the autoscaler


@dataclass(frozen=True, slots=True)
class Verdict:
    """One condition without its times."""

    type: str
    status: str  # True | False | Unknown
    reason: str
    message: str

    @property
    def holds(self) -> bool:
        """Whether it is True."""
        return self.status == "True"


def good(type_: str, reason: str, message: str = "") -> Verdict:
    """It holds."""
    return Verdict(type_, "True", reason, message)


def bad(type_: str, reason: str, message: str) -> Verdict:
    """It does not hold."""
    return Verdict(type_, "False", reason, message)


def unknown(type_: str, reason: str = "Pending", message: str = "not looked at yet") -> Verdict:
    """It was not looked at, or could not be."""
    return Verdict(type_, "Unknown", reason, message)


def ready(verdicts: Sequence[Verdict]) -> Verdict:
    """The sum of what delivery needs; the first that fails tells why."""
    by_type = {each.type: each for each in verdicts}
    for type_ in NEEDED:
        verdict = by_type.get(type_, unknown(type_))
        if not verdict.holds:
            return Verdict(READY, verdict.status, verdict.reason, f"{type_}: {verdict.message}")
    return good(READY, "Ready", "messages are taken and delivered")


def conditions(
    verdicts: Iterable[Verdict], known: Iterable[Mapping[str, Any]], generation: int, now: str
) -> list[Condition]:
    """Verdicts as conditions.

    Args:
        verdicts: what is.
        known: the conditions so far; where the status is the same its time stays.
        generation: `metadata.generation` of the route that was judged.
        now: RFC 3339, seconds.
    """
    before = {each["type"]: each for each in known}
    made = []
    for verdict in verdicts:
        old = before.get(verdict.type)
        same = old is not None and old.get("status") == verdict.status
        made.append(
            {
                "type": verdict.type,
                "status": verdict.status,
                "observedGeneration": generation,
                "lastTransitionTime": old["lastTransitionTime"] if old is not None and same else now,
                "reason": verdict.reason,
                "message": verdict.message[:2048],
            }
        )
    return made


# ---- workers


def workers_available(
    deployments: Sequence[Mapping[str, Any]], wanted: int, pods: Sequence[Mapping[str, Any]] = ()
) -> Verdict:
    """Whether the Deployments run what they were last told to run. The first that does not tells why.

    Args:
        deployments: as the API server has them.
        wanted: how many there should be.
        pods: of these Deployments, where it is known already that some do not run.
    """
    if len(deployments) < wanted:
        return bad(WORKERS_AVAILABLE, "Progressing", f"{len(deployments)} of {wanted} Deployments are there")
    asked = [int(each["spec"].get("replicas", 1)) for each in deployments]
    for deployment, replicas in zip(deployments, asked, strict=True):
        found = _of_deployment(deployment, replicas)
        trouble = trouble_of(pods) if found is not None else None
        if trouble is not None:
            return bad(WORKERS_AVAILABLE, trouble.reason, trouble.message)
        if found is not None:
            return found
    if not any(asked):
        return good(WORKERS_AVAILABLE, "ScaledToZero", "no worker runs; the first message starts one")
    return good(WORKERS_AVAILABLE, "Available", f"{sum(asked)} worker Pods asked for, all Deployments available")


def _of_deployment(deployment: Mapping[str, Any], replicas: int) -> Verdict | None:
    name, status = deployment["metadata"]["name"], deployment.get("status") or {}
    told = {each["type"]: each for each in status.get("conditions") or ()}
    failure = told.get("ReplicaFailure", {})
    if failure.get("status") == "True":
        return bad(WORKERS_AVAILABLE, "FailedCreate", f"{name}: {failure.get('message', '')}")
    progress = told.get("Progressing", {})
    if progress.get("status") == "False":
        return bad(WORKERS_AVAILABLE, "ProgressDeadlineExceeded", f"{name}: {progress.get('message', '')}")
    if int(status.get("observedGeneration", 0)) < int(deployment["metadata"].get("generation", 1)):
        return bad(WORKERS_AVAILABLE, "Progressing", f"{name}: the Deployment was not looked at yet")
    if not replicas:
        return None
    if int(status.get("updatedReplicas", 0)) < min(replicas, 1) or not int(status.get("availableReplicas", 0)):
        return bad(WORKERS_AVAILABLE, "Progressing", f"{name}: 0 of {replicas} Pods are available")
    return None


def rolled_out(deployments: Sequence[Mapping[str, Any]]) -> bool:
    """Whether no Pod of an older template is left."""
    return all(_is_rolled_out(each) for each in deployments)


def _is_rolled_out(deployment: Mapping[str, Any]) -> bool:
    status = deployment.get("status") or {}
    seen = int(status.get("observedGeneration", 0)) >= int(deployment["metadata"].get("generation", 1))
    return seen and int(status.get("updatedReplicas", 0)) == int(status.get("replicas", 0))
