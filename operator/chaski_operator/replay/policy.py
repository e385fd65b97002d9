"""What is to be done about a ChaskiReplay, and what its status says. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from chaski_operator.manifests.names import replay_account_name, replay_job_name, replay_run
from chaski_operator.pods.failures import trouble_of
from chaski_operator.replay.job import window
from chaski_operator.replay.reports import Ended, Report, ended, status_part
from chaski_operator.route.conditions import ACCEPTED, QUEUES_READY, TABLES_READY, Verdict, bad, conditions, good
from chaski_operator.route.policy import rfc3339

Object = Mapping[str, Any]
Status = dict[str, Any]

COMPLETE, FAILED, PROGRESSING = "Complete", "Failed", "Progressing"
_WAIT_SECONDS = 5.0  # between two looks at what a replay waits for; nothing is asked of AWS
_PATIENCE_SECONDS = 30.0  # a Job without any Pod for so long has something in its way
_ADVICE = "add nodes, or loosen spec.workers.nodeSelector of the route"


class Act(Enum):
    """What is done to the cluster."""

    CREATE_JOB = "create"
    SUSPEND_JOB = "suspend"
    RESUME_JOB = "resume"
    DELETE_REPLAY = "delete"


@dataclass(frozen=True, slots=True)
class ReplayObservation:
    """All that one look found."""

    replay: Object
    route: Object | None  # the ChaskiRoute that it names
    job: Object | None
    pods: Sequence[Object]  # of the Job
    progress: Report | None  # what the Pod that runs answered
    has_tools: bool  # the operator knows an image
    now: float  # epoch seconds


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows."""

    status: Status | None  # None: what is there stays
    act: Act | None
    next_look: float | None  # seconds; None: only when something changes


@dataclass(frozen=True, slots=True)
class _Standing:
    phase: str
    verdict: Verdict  # Progressing's, or at the end Complete's or Failed's
    report: Report | None = None
    act: Act | None = None


def is_finished(status: Mapping[str, Any]) -> bool:
    """Whether a replay has ended, one way or the other. It is never run again."""
    return any(
        each["type"] in (COMPLETE, FAILED) and each["status"] == "True" for each in status.get("conditions") or ()
    )


def decide(seen: ReplayObservation, running_seconds: float) -> Decision:
    """What is to be done.

    Args:
        seen: of this look.
        running_seconds: until the next look while the Job is at work.
    """
    known = seen.replay.get("status") or {}
    if is_finished(known):
        return _after_the_end(seen, known)
    standing = _waiting(seen) if seen.job is None else _of_job(seen, seen.job)
    status = _status(seen, known, standing)
    if is_finished(status):
        return Decision(status, standing.act, 0.0)
    return Decision(status, standing.act, _WAIT_SECONDS if seen.job is None else running_seconds)


def _after_the_end(seen: ReplayObservation, known: Mapping[str, Any]) -> Decision:
    ttl = seen.replay["spec"].get("ttlSecondsAfterFinished")
    if ttl is None or "completionTime" not in known:
        return Decision(None, None, None)
    rest = _epoch(known["completionTime"]) + ttl - seen.now
    return Decision(None, Act.DELETE_REPLAY, None) if rest <= 0 else Decision(None, None, rest)


# ---- before there is a Job


def _waiting(seen: ReplayObservation) -> _Standing:
    try:
        window(seen.replay)
    except ValueError as error:
        return _Standing(FAILED, good(FAILED, "InvalidSpec", str(error)))
    if seen.replay["spec"].get("suspend"):
        return _Standing("Suspended", bad(PROGRESSING, "Suspended", "it begins when spec.suspend is false"))
    hindrance = _hindrance(seen)
    if hindrance is not None:
        return _Standing("Pending", hindrance)
    return _Standing("Pending", good(PROGRESSING, "Starting", "its Job is made"), act=Act.CREATE_JOB)


def _hindrance(seen: ReplayObservation) -> Verdict | None:
    metadata, name = seen.replay["metadata"], seen.replay["spec"]["routeRef"]["name"]
    if not seen.has_tools:
        told = "the operator knows no image with the command chaski: set tools.image of the chart (--tools-image)"
        return bad(PROGRESSING, "NoImage", told)
    if seen.route is None:
        told = f"there is no ChaskiRoute {name} in {metadata['namespace']}; it begins when there is one"
        return bad(PROGRESSING, "RouteNotFound", told)
    status = seen.route.get("status") or {}
    by_type = {each["type"]: each for each in status.get("conditions") or ()}
    for type_ in (ACCEPTED, QUEUES_READY, TABLES_READY):
        found = by_type.get(type_, {"status": "Unknown", "message": "not looked at yet"})
        if found["status"] != "True":
            told = f"ChaskiRoute {name} is not ready for it: {type_}: {found['message']}"
            return bad(PROGRESSING, "RouteNotReady", told)
    return None


# ---- with a Job


def _of_job(seen: ReplayObservation, job: Object) -> _Standing:
    over = ended(seen.pods)
    told = {each["type"] for each in (job.get("status") or {}).get("conditions") or () if each["status"] == "True"}
    if "Complete" in told:
        report = next((each.report for each in reversed(over) if each.exit_code == 0 and each.report), None)
        return _Standing(COMPLETE, _completed(seen, report), report)
    if "Failed" in told:
        return _Standing(FAILED, _failed(seen, job, over), _last_report(over))
    suspended, wanted = bool(job["spec"].get("suspend")), bool(seen.replay["spec"].get("suspend"))
    act = None if suspended == wanted else Act.SUSPEND_JOB if wanted else Act.RESUME_JOB
    if wanted:
        verdict = bad(PROGRESSING, "Suspended", "it goes on where it was when spec.suspend is false")
        return _Standing("Suspended", verdict, seen.progress or _last_report(over), act)
    verdict = _at_work(seen, job, over)
    phase = "Running" if verdict.reason in ("Running", "Retrying") else "Pending"
    return _Standing(phase, verdict, seen.progress or _last_report(over), act)


def _completed(seen: ReplayObservation, report: Report | None) -> Verdict:
    dry_run = bool(seen.replay["spec"].get("dryRun"))
    reason = "DryRun" if dry_run else "Replayed"
    if report is None:
        return good(
            COMPLETE, reason, "the Job is done; its Pod was gone before it could be asked, so counts may be older"
        )
    counts = status_part(report, dry_run=dry_run)["counts"]
    said = f"{counts['remaining']} would be sent again" if dry_run else f"{counts['replayed']} sent again"
    said += f", {counts['skipped']} skipped: another replay has sent them" if counts["skipped"] else ""
    said += f", {counts['refused']} refused: status.refusals says why" if counts["refused"] else ""
    return good(COMPLETE, reason, f"{said}, of {counts['selected']} that the filter finds")


def _failed(seen: ReplayObservation, job: Object, over: Sequence[Ended]) -> Verdict:
    conditions_ = (job.get("status") or {}).get("conditions") or ()
    found = next(each for each in conditions_ if each["type"] == "Failed")
    if not over:
        return good(FAILED, str(found.get("reason") or "JobFailed"), f"Job {_name(job)}: {found.get('message', '')}")
    last = over[-1]
    if last.is_final and "allow rule" in last.why:
        return good(FAILED, "TargetNotAllowed", last.why)
    if last.is_final:
        return good(FAILED, "InvalidSpec", last.why)
    going_on = "what was sent is marked: a new ChaskiReplay leaves it out, unless it says `again`"
    return good(FAILED, str(found.get("reason") or "JobFailed"), f"{_hinted(seen, last.why)}; {going_on}")


def _at_work(seen: ReplayObservation, job: Object, over: Sequence[Ended]) -> Verdict:
    phases = [(pod.get("status") or {}).get("phase") for pod in seen.pods]
    if "Running" in phases:
        return good(PROGRESSING, "Running", "its Pod is at work")
    trouble = trouble_of(seen.pods, advice=_ADVICE)
    if trouble is not None:
        return bad(PROGRESSING, trouble.reason, trouble.message)
    if over and over[-1].exit_code:
        return good(PROGRESSING, "Retrying", f"its Pod failed and is tried again: {_hinted(seen, over[-1].why)}")
    age = seen.now - _epoch(job["metadata"]["creationTimestamp"])
    if not seen.pods and age > _PATIENCE_SECONDS:
        told = f"Job {_name(job)} gets no Pod: `kubectl describe job {_name(job)} -n {job['metadata']['namespace']}` says why"
        return bad(PROGRESSING, "NoPod", told)
    return good(PROGRESSING, "Starting", "its Pod is about to start")


def _hinted(seen: ReplayObservation, why: str) -> str:
    if not any(word in why for word in ("AccessDenied", "not authorized", "credentials")):
        return why
    account = replay_account_name(seen.replay["spec"]["routeRef"]["name"])
    return f"{why} (ServiceAccount {account} needs a role with docs/iam/replayer.json)"


def _last_report(over: Sequence[Ended]) -> Report | None:
    return next((each.report for each in reversed(over) if each.report), None)


# ---- the status


def _status(seen: ReplayObservation, known: Mapping[str, Any], standing: _Standing) -> Status:
    metadata, verdict = seen.replay["metadata"], standing.verdict
    now = rfc3339(seen.now)
    status: Status = {
        "observedGeneration": metadata["generation"],
        "phase": standing.phase,
        "message": verdict.message[:2048],
        "conditions": conditions(_verdicts(verdict), known.get("conditions") or (), metadata["generation"], now),
    }
    status |= {name: known[name] for name in ("startTime", "jobName", "run") if name in known}
    if standing.act is Act.CREATE_JOB or seen.job is not None:
        name, uid = metadata["name"], metadata["uid"]
        status.setdefault("startTime", now)
        status |= {"jobName": replay_job_name(name, uid), "run": replay_run(name, uid)}
    if is_finished(status):
        status["completionTime"] = known.get("completionTime", now)
    return status | _counted(seen, known, standing)


def _counted(seen: ReplayObservation, known: Mapping[str, Any], standing: _Standing) -> Status:
    """What was counted. A Pod that begins anew counts from zero until it knows what those before it have sent."""
    before = {name: known[name] for name in ("counts", "refusals", "sample") if name in known}
    if standing.report is None:
        return before
    part = status_part(standing.report, dry_run=bool(seen.replay["spec"].get("dryRun")))
    if standing.phase != COMPLETE and part["counts"]["replayed"] < before.get("counts", {}).get("replayed", 0):
        return before
    return part


def _verdicts(verdict: Verdict) -> list[Verdict]:
    made = {
        COMPLETE: bad(COMPLETE, "NotComplete", ""),
        FAILED: bad(FAILED, "NotFailed", ""),
        PROGRESSING: bad(PROGRESSING, "Finished", ""),
    }
    return list((made | {verdict.type: verdict}).values())


def _name(job: Object) -> str:
    return str(job["metadata"]["name"])


def _epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
