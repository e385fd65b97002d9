"""What to do about a ChaskiReplay, and its status. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from chaski_operator.kube.status import (
    Condition,
    Status,
    condition_false,
    condition_true,
    rfc3339,
    status_conditions,
)
from chaski_operator.manifests.kinds import Document
from chaski_operator.manifests.names import replay_account_name, replay_job_name, replay_run
from chaski_operator.pods.failures import first_failure
from chaski_operator.policies.hold import ACCEPTED
from chaski_operator.replay.job import window
from chaski_operator.replay.reports import EndedPod, ended_pods, status_part
from chaski_operator.route.conditions import QUEUES_READY, TABLES_READY
from chaski_replay.report import ReplayReport

COMPLETE, FAILED, PROGRESSING = "Complete", "Failed", "Progressing"
_WAIT_SECONDS = 5.0  # between two checks for what a replay waits for; no calls to AWS
_NO_POD_SECONDS = 30.0  # a Job that has no Pod after this time is blocked
_ADVICE = "add nodes, or loosen spec.workers.nodeSelector of the route"


class Action(Enum):
    """A change to the cluster."""

    CREATE_JOB = "create"
    SUSPEND_JOB = "suspend"
    RESUME_JOB = "resume"
    DELETE_REPLAY = "delete"


@dataclass(frozen=True, slots=True)
class ReplayObservation:
    """Everything that one reconciliation of a replay observed."""

    replay: Document
    route: Document | None  # the ChaskiRoute that it names
    job: Document | None
    pods: Sequence[Document]  # of the Job
    progress: ReplayReport | None  # as reported by the running Pod
    has_tools: bool  # a tools image is configured
    now: float  # epoch seconds


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision of one reconciliation."""

    status: Status | None  # None: no change
    action: Action | None
    next_reconcile: float | None  # seconds; None: only after a change


@dataclass(frozen=True, slots=True)
class _ReplayPhase:
    phase: str
    condition: Condition  # Progressing; at the end Complete or Failed
    report: ReplayReport | None = None
    action: Action | None = None


def is_finished(status: Mapping[str, Any]) -> bool:
    """Whether a replay has completed or failed. It never runs again."""
    return any(
        each["type"] in (COMPLETE, FAILED) and each["status"] == "True" for each in status.get("conditions") or ()
    )


def decide(seen: ReplayObservation, running_seconds: float) -> Decision:
    """The new status and the next action.

    Args:
        seen: the current observation.
        running_seconds: until the next reconciliation while the Job runs.
    """
    known = seen.replay.get("status") or {}
    if is_finished(known):
        return _after_the_end(seen, known)
    phase = _without_job(seen) if seen.job is None else _with_job(seen, seen.job)
    status = _status(seen, known, phase)
    if is_finished(status):
        return Decision(status, phase.action, 0.0)
    return Decision(status, phase.action, _WAIT_SECONDS if seen.job is None else running_seconds)


def _after_the_end(seen: ReplayObservation, known: Mapping[str, Any]) -> Decision:
    ttl = seen.replay["spec"].get("ttlSecondsAfterFinished")
    if ttl is None or "completionTime" not in known:
        return Decision(None, None, None)
    rest = _epoch(known["completionTime"]) + ttl - seen.now
    return Decision(None, Action.DELETE_REPLAY, None) if rest <= 0 else Decision(None, None, rest)


# ---- before the Job exists


def _without_job(seen: ReplayObservation) -> _ReplayPhase:
    try:
        window(seen.replay)
    except ValueError as error:
        return _ReplayPhase(FAILED, condition_true(FAILED, "InvalidSpec", str(error)))
    if seen.replay["spec"].get("suspend"):
        message = "suspended; starts when spec.suspend is false"
        return _ReplayPhase("Suspended", condition_false(PROGRESSING, "Suspended", message))
    blocker = _blocker(seen)
    if blocker is not None:
        return _ReplayPhase("Pending", blocker)
    starting = condition_true(PROGRESSING, "Starting", "creating the Job")
    return _ReplayPhase("Pending", starting, action=Action.CREATE_JOB)


def _blocker(seen: ReplayObservation) -> Condition | None:
    """The condition of a replay that can't start yet; None if it can."""
    metadata, name = seen.replay["metadata"], seen.replay["spec"]["routeRef"]["name"]
    if not seen.has_tools:
        message = "the operator has no image for replays: set tools.image of the chart (--tools-image)"
        return condition_false(PROGRESSING, "NoImage", message)
    if seen.route is None:
        message = f"ChaskiRoute {name} not found in namespace {metadata['namespace']}; waiting until it exists"
        return condition_false(PROGRESSING, "RouteNotFound", message)
    status = seen.route.get("status") or {}
    by_type = {each["type"]: each for each in status.get("conditions") or ()}
    for type_ in (ACCEPTED, QUEUES_READY, TABLES_READY):
        found = by_type.get(type_, {"status": "Unknown", "message": "not checked yet"})
        if found["status"] != "True":
            message = f"waiting for ChaskiRoute {name}: {type_}: {found['message']}"
            return condition_false(PROGRESSING, "RouteNotReady", message)
    return None


# ---- with the Job


def _with_job(seen: ReplayObservation, job: Document) -> _ReplayPhase:
    ended = ended_pods(seen.pods)
    true = {each["type"] for each in (job.get("status") or {}).get("conditions") or () if each["status"] == "True"}
    if "Complete" in true:
        report = next((each.report for each in reversed(ended) if each.exit_code == 0 and each.report), None)
        return _ReplayPhase(COMPLETE, _completed(seen, report), report)
    if "Failed" in true:
        return _ReplayPhase(FAILED, _failed(seen, job, ended), _last_report(ended))
    suspended, wanted = bool(job["spec"].get("suspend")), bool(seen.replay["spec"].get("suspend"))
    action = None if suspended == wanted else Action.SUSPEND_JOB if wanted else Action.RESUME_JOB
    if wanted:
        condition = condition_false(PROGRESSING, "Suspended", "suspended; continues when spec.suspend is false")
        return _ReplayPhase("Suspended", condition, seen.progress or _last_report(ended), action)
    condition = _progressing(seen, job, ended)
    phase = "Running" if condition.reason in ("Running", "Retrying") else "Pending"
    return _ReplayPhase(phase, condition, seen.progress or _last_report(ended), action)


def _completed(seen: ReplayObservation, report: ReplayReport | None) -> Condition:
    dry_run = bool(seen.replay["spec"].get("dryRun"))
    reason = "DryRun" if dry_run else "Replayed"
    if report is None:
        message = (
            "the Job has completed; its Pod was deleted before its report could be read, so counts may be outdated"
        )
        return condition_true(COMPLETE, reason, message)
    counts = status_part(report, dry_run=dry_run)["counts"]
    message = f"{counts['remaining']} would be replayed" if dry_run else f"{counts['replayed']} replayed"
    message += f", {counts['skipped']} skipped (another replay has sent them)" if counts["skipped"] else ""
    message += f", {counts['refused']} refused (see status.refusals)" if counts["refused"] else ""
    return condition_true(COMPLETE, reason, f"{message}, of {counts['selected']} selected by the filter")


def _failed(seen: ReplayObservation, job: Document, ended: Sequence[EndedPod]) -> Condition:
    conditions = (job.get("status") or {}).get("conditions") or ()
    found = next(each for each in conditions if each["type"] == "Failed")
    reason = str(found.get("reason") or "JobFailed")
    if not ended:
        return condition_true(FAILED, reason, f"Job {_name(job)}: {found.get('message', '')}")
    last = ended[-1]
    if last.is_final and "allow rule" in last.cause:
        return condition_true(FAILED, "TargetNotAllowed", last.cause)
    if last.is_final:
        return condition_true(FAILED, "InvalidSpec", last.cause)
    remedy = "messages already sent are marked: a new ChaskiReplay skips them unless `again` is set"
    return condition_true(FAILED, reason, f"{_with_hint(seen, last.cause)}; {remedy}")


def _progressing(seen: ReplayObservation, job: Document, ended: Sequence[EndedPod]) -> Condition:
    phases = [(pod.get("status") or {}).get("phase") for pod in seen.pods]
    if "Running" in phases:
        return condition_true(PROGRESSING, "Running", "the Pod is running")
    failure = first_failure(seen.pods, advice=_ADVICE)
    if failure is not None:
        return condition_false(PROGRESSING, failure.reason, failure.message)
    if ended and ended[-1].exit_code:
        message = f"the Pod failed and will be retried: {_with_hint(seen, ended[-1].cause)}"
        return condition_true(PROGRESSING, "Retrying", message)
    age = seen.now - _epoch(job["metadata"]["creationTimestamp"])
    if not seen.pods and age > _NO_POD_SECONDS:
        command = f"kubectl describe job {_name(job)} -n {job['metadata']['namespace']}"
        return condition_false(PROGRESSING, "NoPod", f"Job {_name(job)} has no Pod; for the cause see `{command}`")
    return condition_true(PROGRESSING, "Starting", "waiting for the Pod to start")


def _with_hint(seen: ReplayObservation, cause: str) -> str:
    if not any(word in cause for word in ("AccessDenied", "not authorized", "credentials")):
        return cause
    account = replay_account_name(seen.replay["spec"]["routeRef"]["name"])
    return f"{cause} (ServiceAccount {account} needs a role with docs/iam/replayer.json)"


def _last_report(ended: Sequence[EndedPod]) -> ReplayReport | None:
    return next((each.report for each in reversed(ended) if each.report), None)


# ---- the status


def _status(seen: ReplayObservation, known: Mapping[str, Any], phase: _ReplayPhase) -> Status:
    metadata, condition = seen.replay["metadata"], phase.condition
    now, generation = rfc3339(seen.now), metadata["generation"]
    status: Status = {
        "observedGeneration": generation,
        "phase": phase.phase,
        "message": condition.message[:2048],
        "conditions": status_conditions(_conditions(condition), known.get("conditions") or (), generation, now),
    }
    status |= {name: known[name] for name in ("startTime", "jobName", "run") if name in known}
    if phase.action is Action.CREATE_JOB or seen.job is not None:
        name, uid = metadata["name"], metadata["uid"]
        status.setdefault("startTime", now)
        status |= {"jobName": replay_job_name(name, uid), "run": replay_run(name, uid)}
    if is_finished(status):
        status["completionTime"] = known.get("completionTime", now)
    return status | _counts(seen, known, phase)


def _counts(seen: ReplayObservation, known: Mapping[str, Any], phase: _ReplayPhase) -> Status:
    """Counts, refusals and sample. A new Pod counts from zero until it knows what its predecessors have sent."""
    before = {name: known[name] for name in ("counts", "refusals", "sample") if name in known}
    if phase.report is None:
        return before
    part = status_part(phase.report, dry_run=bool(seen.replay["spec"].get("dryRun")))
    if phase.phase != COMPLETE and part["counts"]["replayed"] < before.get("counts", {}).get("replayed", 0):
        return before
    return part


def _conditions(condition: Condition) -> list[Condition]:
    """All three conditions, of which the given one is the current one."""
    conditions = {
        COMPLETE: condition_false(COMPLETE, "NotComplete"),
        FAILED: condition_false(FAILED, "NotFailed"),
        PROGRESSING: condition_false(PROGRESSING, "Finished"),
    }
    return list((conditions | {condition.type: condition}).values())


def _name(job: Document) -> str:
    return str(job["metadata"]["name"])


def _epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
