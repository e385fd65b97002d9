"""The decision for each state of a ChaskiReplay, its route, its Job and its Pods."""

from dataclasses import replace
from typing import Any

import pytest

from chaski_operator.replay.policy import Action, Decision, ReplayObservation, decide, is_finished
from chaski_operator.replay.reports import progress_url
from chaski_replay.report import ReplayReport, SampleMessage
from chaski_replay.selection import SkipReason
from unit.operator.replay.test_job import UID, replay

NOW = 1_795_514_500.0  # 100 s after the creation
JOB = f"chaski-replay-fixed-{UID[:8]}"
REPORT = ReplayReport(run="r", found=10, ready=6, sent=4, skipped={SkipReason.NOT_ALLOWED: 1, SkipReason.REPLAYED: 3})


def ready_route(**status: str) -> dict[str, Any]:
    """A route with these conditions; True unless given."""
    types = ("Accepted", "QueuesReady", "TablesReady")
    listed = [{"type": each, "status": status.get(each, "True"), "message": f"message of {each}"} for each in types]
    return {"metadata": {"name": "orders", "namespace": "shop"}, "spec": {}, "status": {"conditions": listed}}


def seen(document: dict[str, Any] | None = None, **more: Any) -> ReplayObservation:
    """An observation of a replay whose route is ready."""
    whole: dict[str, Any] = {
        "replay": document or replay(), "route": ready_route(), "job": None, "pods": (), "progress": None, "has_tools": True,
        "now": NOW,
    }  # fmt: skip
    return ReplayObservation(**(whole | more))


def job(*true: str, suspend: bool = False, reason: str = "") -> dict[str, Any]:
    """A Job with some conditions True."""
    conditions = [{"type": each, "status": "True", "reason": reason, "message": "of the Job"} for each in true]
    metadata = {"name": JOB, "namespace": "shop", "creationTimestamp": "2026-11-24T10:00:00Z", "uid": "j"}
    return {"metadata": metadata, "spec": {"suspend": suspend}, "status": {"conditions": conditions}}


def pod(phase: str = "Running", **state: Any) -> dict[str, Any]:
    """A Pod of the Job."""
    container = {"name": "replay", "image": "tools:1", "state": state}
    ports = [{"name": "progress", "containerPort": 9090}]
    return {
        "metadata": {"name": f"{JOB}-x"},
        "spec": {"containers": [{"name": "replay", "ports": ports}]},
        "status": {"phase": phase, "podIP": "10.0.0.7", "containerStatuses": [container]},
    }


def ended(code: int, message: str, at: str = "2026-11-24T10:01:00Z", reason: str = "Error") -> dict[str, Any]:
    """A Pod that has ended."""
    state = {"exitCode": code, "message": message, "finishedAt": at, "reason": reason}
    return pod("Failed" if code else "Succeeded", terminated=state)


def condition_of(decision: Decision, type_: str = "Progressing") -> tuple[str, str, str]:
    """Status, reason and message of a condition."""
    assert decision.status is not None
    found = next(each for each in decision.status["conditions"] if each["type"] == type_)
    return found["status"], found["reason"], found["message"]


@pytest.mark.parametrize(
    ("observation", "reason", "words"),
    [
        (seen(has_tools=False), "NoImage", "tools.image"),
        (seen(route=None), "RouteNotFound", "ChaskiRoute orders not found in namespace shop"),
        (seen(route={"metadata": {}, "spec": {}}), "RouteNotReady", "Accepted: not checked yet"),
        (seen(route=ready_route(TablesReady="False")), "RouteNotReady", "TablesReady: message of TablesReady"),
        (seen(replay(suspend=True)), "Suspended", "spec.suspend"),
    ],
    ids=["no image", "no route", "a new route", "a table in creation", "suspended"],
)
def test_blocked_replay_creates_no_job_and_reports_the_reason(
    observation: ReplayObservation, reason: str, words: str
) -> None:
    """It is reconciled again."""
    decision = decide(observation, 3.0)
    status, found, message = condition_of(decision)
    assert (status, found, decision.action) == ("False", reason, None)
    assert words in message
    assert decision.next_reconcile


def test_replay_starts_when_its_route_is_ready() -> None:
    """Workers need not run: the queues accept messages."""
    decision = decide(seen(), 3.0)
    assert decision.action is Action.CREATE_JOB
    assert decision.status is not None
    assert (decision.status["jobName"], decision.status["startTime"]) == (JOB, "2026-11-24T10:01:40Z")


def test_invalid_time_fails_the_replay_at_once() -> None:
    """No Pod could succeed."""
    decision = decide(seen(replay(filter={"since": "2026-13-01"})), 3.0)
    assert decision.action is None
    assert condition_of(decision, "Failed")[:2] == ("True", "InvalidSpec")


def test_deleted_job_is_created_again_unless_it_had_ended() -> None:
    """Messages already sent are marked, so the second Job continues; a finished replay never runs again."""
    running = replay()
    running["status"] = {"jobName": JOB, "startTime": "2026-11-24T10:00:01Z", "conditions": []}
    decision = decide(seen(running), 3.0)
    assert decision.action is Action.CREATE_JOB
    assert decision.status is not None
    assert decision.status["startTime"] == "2026-11-24T10:00:01Z"
    for type_ in ("Complete", "Failed"):
        running["status"]["conditions"] = [{"type": type_, "status": "True"}]
        assert decide(seen(running), 3.0) == Decision(None, None, None)


def test_the_counts_of_a_pod_that_runs_stand_in_the_status() -> None:
    """They always add up."""
    decision = decide(seen(job=job(), pods=[pod()], progress=REPORT), 3.0)
    assert decision.status is not None
    assert decision.status["counts"] == {"selected": 10, "replayed": 4, "skipped": 3, "refused": 1, "remaining": 2}
    assert decision.status["refusals"] == [{"reason": "NotAllowed", "count": 1}]
    assert (decision.status["phase"], decision.next_reconcile) == ("Running", 3.0)


def test_counts_do_not_fall_while_a_new_pod_reads_the_marks() -> None:
    """It counts from zero until it has read the marks of its predecessors."""
    known = replay()
    known["status"] = {"counts": {"selected": 10, "replayed": 4}, "conditions": []}
    fresh = replace(REPORT, found=2, sent=0, skipped={SkipReason.DONE: 2})
    decision = decide(seen(known, job=job(), pods=[pod()], progress=fresh), 3.0)
    assert decision.status is not None
    assert decision.status["counts"] == {"selected": 10, "replayed": 4}


def test_resumed_replay_counts_messages_sent_by_earlier_pods() -> None:
    """They carry the marks of the same run."""
    report = b'{"found": 10, "ready": 3, "sent": 3, "skipped": {"sentByThisRun": 7}}'
    decision = decide(seen(job=job("Complete"), pods=[ended(0, report.decode())]), 3.0)
    assert decision.status is not None
    assert decision.status["counts"]["replayed"] == 10
    assert (decision.status["phase"], decision.status["completionTime"]) == ("Complete", "2026-11-24T10:01:40Z")
    message = "10 replayed, of 10 selected by the filter"
    assert condition_of(decision, "Complete") == ("True", "Replayed", message)


def test_dry_run_reports_what_a_run_would_send() -> None:
    """With a sample, truncated to the limits of the schema; without queries, although a Job of another release reports them."""
    sample = tuple(SampleMessage("i", str(number), "s" * 600, "https://t.example/a?token=x") for number in range(12))
    report = replace(REPORT, sent=0, sample=sample)
    decision = decide(seen(replay(dryRun=True), job=job(), pods=[pod()], progress=report), 3.0)
    assert decision.status is not None
    assert (decision.status["counts"]["remaining"], decision.status["counts"]["replayed"]) == (6, 0)
    assert [len(each["subject"]) for each in decision.status["sample"]] == [512] * 10
    assert {each["url"] for each in decision.status["sample"]} == {"https://t.example/a?…"}


def test_job_without_its_pod_still_completes() -> None:
    """With the last known counts."""
    known = replay()
    known["status"] = {"counts": {"selected": 10, "replayed": 9}, "conditions": []}
    decision = decide(seen(known, job=job("Complete")), 3.0)
    assert decision.status is not None
    assert is_finished(decision.status)
    assert decision.status["counts"]["replayed"] == 9


_WRONG = "chaski: --to-url https://x.example: no allow rule of the route covers where 3 messages would go\nnext: add a rule\n"
_DENIED = "Traceback\nchaski: UpdateItem: AccessDeniedException: not yours\n"


@pytest.mark.parametrize(
    ("observation", "reason", "words"),
    [
        (seen(job=job("Failed", reason="PodFailurePolicy"), pods=[ended(2, _WRONG)]), "TargetNotAllowed", "; next: add a rule"),
        (seen(job=job("Failed"), pods=[ended(2, "chaski: --run: wrong")]), "InvalidSpec", "--run: wrong"),
        (seen(job=job("Failed", reason="BackoffLimitExceeded"), pods=[ended(1, _DENIED)]), "BackoffLimitExceeded",
         "chaski-orders.replay needs a role with docs/iam/replayer.json"),
        (seen(job=job("Failed", reason="DeadlineExceeded")), "DeadlineExceeded", "of the Job"),
    ],
    ids=["target not allowed", "invalid input", "access denied", "no Pod left"],
)  # fmt: skip
def test_failure_reports_the_remedy(observation: ReplayObservation, reason: str, words: str) -> None:
    """From the Pod that failed last."""
    decision = decide(observation, 3.0)
    status, found, message = condition_of(decision, "Failed")
    assert (status, found) == ("True", reason)
    assert words in message


@pytest.mark.parametrize(
    ("pods", "status", "reason", "words"),
    [
        ([pod("Pending", waiting={"reason": "ErrImagePull", "message": "denied"})], "False", "ImagePull", "denied"),
        ([], "False", "NoPod", f"kubectl describe job {JOB} -n shop"),
        ([ended(1, '{"found": 1, "ready": 1, "sent": 0, "skipped": {}, "reason": "no queue"}')], "True", "Retrying", "no queue"),
        ([ended(137, "", reason="OOMKilled")], "True", "Retrying", "killed (OOMKilled, exit code 137)"),
        ([pod("Pending")], "True", "Starting", "waiting for the Pod to start"),
        ([ended(1, "chaski: old", "2026-11-24T10:00:30Z"), ended(1, "chaski: new")], "True", "Retrying", "new"),
    ],
    ids=["no image", "no Pod", "queue unavailable", "out of memory", "starting", "the last of two"],
)  # fmt: skip
def test_running_job_reports_its_state(pods: list[dict[str, Any]], status: str, reason: str, words: str) -> None:
    """As the kubelet reports it, or the Pod that failed last."""
    found = condition_of(decide(seen(job=job(), pods=pods), 3.0))
    assert found[:2] == (status, reason)
    assert words in found[2]


@pytest.mark.parametrize(
    ("wanted", "suspended", "action"),
    [(True, False, Action.SUSPEND_JOB), (False, True, Action.RESUME_JOB), (True, True, None), (False, False, None)],
)
def test_suspend_of_a_replay_suspends_its_job(wanted: bool, suspended: bool, action: Action | None) -> None:
    """And resumes it."""
    assert decide(seen(replay(suspend=wanted), job=job(suspend=suspended)), 3.0).action is action


def test_finished_replay_is_deleted_after_its_ttl() -> None:
    """To the second; without a TTL it stays."""
    done = replay(ttlSecondsAfterFinished=60)
    done["status"] = {"completionTime": "2026-11-24T10:01:00Z", "conditions": [{"type": "Complete", "status": "True"}]}
    finished = seen(done)
    assert decide(finished, 3.0) == Decision(None, None, 20.0)
    assert decide(replace(finished, now=NOW + 20), 3.0) == Decision(None, Action.DELETE_REPLAY, None)


def test_only_a_running_pod_has_a_progress_url() -> None:
    """With its address and the number of its named port."""
    assert progress_url([ended(0, ""), pod()]) == "http://10.0.0.7:9090/progress"
    assert progress_url([ended(0, ""), pod("Pending")]) is None
    six = pod()
    six["status"]["podIP"] = "fd00::7"
    assert progress_url([six]) == "http://[fd00::7]:9090/progress"
