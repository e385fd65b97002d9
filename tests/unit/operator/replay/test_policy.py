"""What follows of each state that a ChaskiReplay, its route, its Job and its Pods can be in."""

from dataclasses import replace
from typing import Any

import pytest

from chaski_operator.replay.policy import Act, Decision, ReplayObservation, decide, is_finished
from chaski_operator.replay.reports import progress_url, read_report
from unit.operator.replay.test_job import UID, replay

NOW = 1_795_514_500.0  # 100 s after the creation
JOB = f"chaski-replay-mended-{UID[:8]}"
REPORT = {
    "run": "r",
    "found": 10,
    "ready": 6,
    "sent": 4,
    "skipped": {"notAllowed": 1, "replayedBefore": 3},
    "sample": [],
}


def ready_route(**status: str) -> dict[str, Any]:
    """A route with these conditions; True unless given."""
    types = ("Accepted", "QueuesReady", "TablesReady")
    listed = [{"type": each, "status": status.get(each, "True"), "message": f"{each} says"} for each in types]
    return {"metadata": {"name": "orders", "namespace": "shop"}, "spec": {}, "status": {"conditions": listed}}


def seen(document: dict[str, Any] | None = None, **more: Any) -> ReplayObservation:
    """A look at a replay whose route is ready."""
    whole: dict[str, Any] = {
        "replay": document or replay(), "route": ready_route(), "job": None, "pods": (), "progress": None, "has_tools": True,
        "now": NOW,
    }  # fmt: skip
    return ReplayObservation(**(whole | more))


def job(*told: str, suspend: bool = False, reason: str = "") -> dict[str, Any]:
    """A Job of which some conditions are True."""
    conditions = [{"type": each, "status": "True", "reason": reason, "message": "the Job says"} for each in told]
    metadata = {"name": JOB, "namespace": "shop", "creationTimestamp": "2026-11-24T10:00:00Z", "uid": "j"}
    return {"metadata": metadata, "spec": {"suspend": suspend}, "status": {"conditions": conditions}}


def pod(phase: str = "Running", **state: Any) -> dict[str, Any]:
    """One of its Pods."""
    container = {"name": "replay", "image": "tools:1", "state": state}
    ports = [{"name": "progress", "containerPort": 9090}]
    return {
        "metadata": {"name": f"{JOB}-x"},
        "spec": {"containers": [{"name": "replay", "ports": ports}]},
        "status": {"phase": phase, "podIP": "10.0.0.7", "containerStatuses": [container]},
    }


def over(code: int, message: str, at: str = "2026-11-24T10:01:00Z", reason: str = "Error") -> dict[str, Any]:
    """A Pod that ended."""
    ended = {"exitCode": code, "message": message, "finishedAt": at, "reason": reason}
    return pod("Failed" if code else "Succeeded", terminated=ended)


def said(decision: Decision, type_: str = "Progressing") -> tuple[str, str, str]:
    """Status, reason and message of a condition."""
    assert decision.status is not None
    found = next(each for each in decision.status["conditions"] if each["type"] == type_)
    return found["status"], found["reason"], found["message"]


@pytest.mark.parametrize(
    ("look", "reason", "words"),
    [
        (seen(has_tools=False), "NoImage", "tools.image"),
        (seen(route=None), "RouteNotFound", "no ChaskiRoute orders in shop"),
        (seen(route={"metadata": {}, "spec": {}}), "RouteNotReady", "Accepted: not looked at yet"),
        (seen(route=ready_route(TablesReady="False")), "RouteNotReady", "TablesReady: TablesReady says"),
        (seen(replay(suspend=True)), "Suspended", "spec.suspend"),
    ],
    ids=["no image", "no route", "a new route", "a table that is being made", "suspended"],
)
def test_what_is_in_the_way_is_told_and_nothing_is_made(look: ReplayObservation, reason: str, words: str) -> None:
    """It waits, and is looked at again."""
    decision = decide(look, 3.0)
    status, told, message = said(decision)
    assert (status, told, decision.act) == ("False", reason, None)
    assert words in message
    assert decision.next_look


def test_a_replay_begins_when_its_route_is_ready() -> None:
    """Workers need not run: their queues take messages."""
    decision = decide(seen(), 3.0)
    assert decision.act is Act.CREATE_JOB
    assert decision.status is not None
    assert (decision.status["jobName"], decision.status["startTime"]) == (JOB, "2026-11-24T10:01:40Z")


def test_a_wrong_time_fails_it_before_anything_is_made() -> None:
    """No Pod could mend it."""
    decision = decide(seen(replay(filter={"since": "2026-13-01"})), 3.0)
    assert decision.act is None
    assert said(decision, "Failed")[:2] == ("True", "InvalidSpec")


def test_a_job_that_somebody_deleted_is_made_again_unless_it_had_ended() -> None:
    """What was sent is marked, so the second goes on; after the end there is nothing to go on with."""
    begun = replay()
    begun["status"] = {"jobName": JOB, "startTime": "2026-11-24T10:00:01Z", "conditions": []}
    decision = decide(seen(begun), 3.0)
    assert decision.act is Act.CREATE_JOB
    assert decision.status is not None
    assert decision.status["startTime"] == "2026-11-24T10:00:01Z"
    for type_ in ("Complete", "Failed"):
        begun["status"]["conditions"] = [{"type": type_, "status": "True"}]
        assert decide(seen(begun), 3.0) == Decision(None, None, None)


def test_the_counts_of_a_pod_that_runs_stand_in_the_status() -> None:
    """They always add up."""
    decision = decide(seen(job=job(), pods=[pod()], progress=REPORT), 3.0)
    assert decision.status is not None
    assert decision.status["counts"] == {"selected": 10, "replayed": 4, "skipped": 3, "refused": 1, "remaining": 2}
    assert decision.status["refusals"] == [{"reason": "NotAllowed", "count": 1}]
    assert (decision.status["phase"], decision.next_look) == ("Running", 3.0)


def test_counts_do_not_fall_while_a_new_pod_looks_for_what_is_left() -> None:
    """It counts from zero until it has seen the marks of those before it."""
    known = replay()
    known["status"] = {"counts": {"selected": 10, "replayed": 4}, "conditions": []}
    fresh = REPORT | {"found": 2, "sent": 0, "skipped": {"sentByThisRun": 2}}
    decision = decide(seen(known, job=job(), pods=[pod()], progress=fresh), 3.0)
    assert decision.status is not None
    assert decision.status["counts"] == {"selected": 10, "replayed": 4}


def test_a_resumed_replay_counts_what_its_earlier_pods_sent() -> None:
    """The marks of this very run are its own work."""
    report = b'{"found": 10, "ready": 3, "sent": 3, "skipped": {"sentByThisRun": 7}}'
    decision = decide(seen(job=job("Complete"), pods=[over(0, report.decode())]), 3.0)
    assert decision.status is not None
    assert decision.status["counts"]["replayed"] == 10
    assert (decision.status["phase"], decision.status["completionTime"]) == ("Complete", "2026-11-24T10:01:40Z")
    assert said(decision, "Complete") == ("True", "Replayed", "10 sent again, of 10 that the filter finds")


def test_a_dry_run_says_what_a_run_would_send() -> None:
    """With a sample, cut to what the schema takes."""
    sample = [{"id": str(number), "subject": "s" * 600, "url": "u"} for number in range(12)]
    report = REPORT | {"sent": 0, "sample": sample}
    decision = decide(seen(replay(dryRun=True), job=job(), pods=[pod()], progress=report), 3.0)
    assert decision.status is not None
    assert (decision.status["counts"]["remaining"], decision.status["counts"]["replayed"]) == (6, 0)
    assert [len(each["subject"]) for each in decision.status["sample"]] == [512] * 10


def test_a_job_whose_pod_is_gone_is_complete_all_the_same() -> None:
    """With the counts that were read last."""
    known = replay()
    known["status"] = {"counts": {"selected": 10, "replayed": 9}, "conditions": []}
    decision = decide(seen(known, job=job("Complete")), 3.0)
    assert decision.status is not None
    assert is_finished(decision.status)
    assert decision.status["counts"]["replayed"] == 9


_WRONG = "chaski: --to-url https://x.example: no allow rule of the route covers where 3 messages would go\nnext: add a rule\n"
_DENIED = "Traceback\nchaski: UpdateItem: AccessDeniedException: not yours\n"


@pytest.mark.parametrize(
    ("look", "reason", "words"),
    [
        (seen(job=job("Failed", reason="PodFailurePolicy"), pods=[over(2, _WRONG)]), "TargetNotAllowed", "; next: add a rule"),
        (seen(job=job("Failed"), pods=[over(2, "chaski: --run: wrong")]), "InvalidSpec", "--run: wrong"),
        (seen(job=job("Failed", reason="BackoffLimitExceeded"), pods=[over(1, _DENIED)]), "BackoffLimitExceeded",
         "chaski-orders.replay needs a role with docs/iam/replayer.json"),
        (seen(job=job("Failed", reason="DeadlineExceeded")), "DeadlineExceeded", "the Job says"),
    ],
    ids=["a target that is not allowed", "wrong input", "no rights", "no Pod is left"],
)  # fmt: skip
def test_a_failure_says_what_to_mend(look: ReplayObservation, reason: str, words: str) -> None:
    """In the words of the Pod that failed last."""
    decision = decide(look, 3.0)
    status, told, message = said(decision, "Failed")
    assert (status, told) == ("True", reason)
    assert words in message


@pytest.mark.parametrize(
    ("pods", "status", "reason", "words"),
    [
        ([pod("Pending", waiting={"reason": "ErrImagePull", "message": "denied"})], "False", "ImagePull", "denied"),
        ([], "False", "NoPod", f"kubectl describe job {JOB} -n shop"),
        ([over(1, '{"found": 1, "ready": 1, "sent": 0, "skipped": {}, "reason": "queue away"}')], "True", "Retrying", "queue away"),
        ([over(137, "", reason="OOMKilled")], "True", "Retrying", "killed (OOMKilled, exit code 137)"),
        ([pod("Pending")], "True", "Starting", "about to start"),
        ([over(1, "chaski: old", "2026-11-24T10:00:30Z"), over(1, "chaski: new")], "True", "Retrying", "new"),
    ],
    ids=["no image", "no Pod", "a queue that is away", "out of memory", "starting", "the last of two"],
)  # fmt: skip
def test_a_job_at_work_says_how_it_stands(pods: list[dict[str, Any]], status: str, reason: str, words: str) -> None:
    """In the kubelet's words, or in those of the Pod that failed last."""
    found = said(decide(seen(job=job(), pods=pods), 3.0))
    assert found[:2] == (status, reason)
    assert words in found[2]


@pytest.mark.parametrize(
    ("wanted", "suspended", "act"),
    [(True, False, Act.SUSPEND_JOB), (False, True, Act.RESUME_JOB), (True, True, None), (False, False, None)],
)
def test_suspending_a_replay_suspends_its_job(wanted: bool, suspended: bool, act: Act | None) -> None:
    """And back."""
    assert decide(seen(replay(suspend=wanted), job=job(suspend=suspended)), 3.0).act is act


def test_a_finished_replay_goes_when_its_time_is_over() -> None:
    """To the second; without a time it stays."""
    done = replay(ttlSecondsAfterFinished=60)
    done["status"] = {"completionTime": "2026-11-24T10:01:00Z", "conditions": [{"type": "Complete", "status": "True"}]}
    look = seen(done)
    assert decide(look, 3.0) == Decision(None, None, 20.0)
    assert decide(replace(look, now=NOW + 20), 3.0) == Decision(None, Act.DELETE_REPLAY, None)


@pytest.mark.parametrize(
    "content",
    [b"", b"chaski: wrong", b"[]", b'{"found": 1}', b'{"found": -1, "ready": 0, "sent": 0, "skipped": {}}',
     b'{"found": 1, "ready": 0, "sent": "x", "skipped": {}}'],
)  # fmt: skip
def test_what_is_no_report_is_not_taken_for_one(content: bytes) -> None:
    """A Pod says what it likes; a status takes numbers."""
    assert read_report(content) is None


def test_a_pod_is_asked_only_while_it_runs() -> None:
    """At its own address and the port that it names."""
    assert progress_url([over(0, ""), pod()]) == "http://10.0.0.7:9090/progress"
    assert progress_url([over(0, ""), pod("Pending")]) is None
    six = pod()
    six["status"]["podIP"] = "fd00::7"
    assert progress_url([six]) == "http://[fd00::7]:9090/progress"
