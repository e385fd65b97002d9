"""Conditions: what each follows from."""

from typing import Any

import pytest

from chaski_operator.route.conditions import (
    NEEDED,
    Verdict,
    bad,
    conditions,
    good,
    ready,
    rolled_out,
    unknown,
    workers_available,
)
from unit.operator.making import deployment

ALL = [good(each, "Good") for each in NEEDED]


@pytest.mark.parametrize(
    ("verdicts", "status", "reason"),
    [
        (ALL, "True", "Ready"),
        ([*ALL[:1], bad("QueuesReady", "AccessDenied", "no"), *ALL[2:]], "False", "AccessDenied"),
        ([*ALL[:2], unknown("TablesReady", "Throttled"), ALL[3]], "Unknown", "Throttled"),
        ([*ALL[:1], bad("QueuesReady", "First", "x"), bad("TablesReady", "Second", "x"), ALL[3]], "False", "First"),
        (ALL[:3], "Unknown", "Pending"),
        ([*ALL, bad("Drifted", "NoDrift", "")], "True", "Ready"),
    ],
)
def test_ready_takes_its_reason_from_the_first_that_fails(verdicts: list[Verdict], status: str, reason: str) -> None:
    """And only from what delivery needs."""
    verdict = ready(verdicts)
    assert (verdict.status, verdict.reason) == (status, reason)


def test_a_condition_keeps_its_time_while_its_status_stays() -> None:
    """Reason and message may change meanwhile."""
    known = [{"type": "Ready", "status": "False", "lastTransitionTime": "then", "reason": "A"}]
    (same,) = conditions([bad("Ready", "B", "m")], known, 3, "now")
    assert (same["lastTransitionTime"], same["reason"], same["observedGeneration"]) == ("then", "B", 3)
    (other,) = conditions([good("Ready", "B")], known, 3, "now")
    assert other["lastTransitionTime"] == "now"


@pytest.mark.parametrize(
    ("deployments", "wanted", "status", "reason"),
    [
        ([deployment()], 1, "True", "Available"),
        ([deployment()], 2, "False", "Progressing"),
        ([deployment(replicas=0)], 1, "True", "ScaledToZero"),
        ([deployment(replicas=0), deployment()], 2, "True", "Available"),
        ([deployment(generation=2, observedGeneration=1)], 1, "False", "Progressing"),
        ([deployment(replicas=0, generation=2, observedGeneration=1)], 1, "False", "Progressing"),
        ([deployment(availableReplicas=0)], 1, "False", "Progressing"),
        ([deployment(replicas=3, availableReplicas=1)], 1, "True", "Available"),
        ([deployment(updatedReplicas=0)], 1, "False", "Progressing"),
        (
            [deployment(conditions=[{"type": "ReplicaFailure", "status": "True", "message": "quota"}])],
            1,
            "False",
            "FailedCreate",
        ),
        (
            [deployment(conditions=[{"type": "Progressing", "status": "False", "message": "late"}])],
            1,
            "False",
            "ProgressDeadlineExceeded",
        ),
    ],
)
def test_workers_are_available_when_each_deployment_is(
    deployments: list[dict[str, Any]], wanted: int, status: str, reason: str
) -> None:
    """At the template of now; no Pods at all is fine where none is asked for."""
    verdict = workers_available(deployments, wanted)
    assert (verdict.status, verdict.reason) == (status, reason)


@pytest.mark.parametrize(
    ("one", "done"),
    [
        (deployment(), True),
        (deployment(replicas=0), True),
        (deployment(replicas=2, updatedReplicas=1), False),
        (deployment(generation=2, observedGeneration=1), False),
        ({"metadata": {"name": "d", "generation": 1}, "spec": {}}, False),
    ],
)
def test_a_rollout_is_over_when_no_older_pod_is_left(one: dict[str, Any], done: bool) -> None:
    """Only then nothing is put on a retired rung any more."""
    assert rolled_out([deployment(), one]) == done
