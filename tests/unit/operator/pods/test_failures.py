"""Why Pods do not run: the first cause that one of them reports."""

from typing import Any

import pytest

from chaski_operator.pods.failures import PodFailure, first_failure
from chaski_operator.route.conditions import workers_available
from unit.operator.builders import deployment

NO_CPU = "0/1 nodes are available: 1 Insufficient cpu."


def pod(name: str = "p", *, waiting: dict[str, str] | None = None, **status: Any) -> dict[str, Any]:
    """A Pod as the API server returns it."""
    state = {"waiting": waiting} if waiting else {"running": {}}
    container = {"name": "worker", "image": "registry/worker:1", "state": state, **status.pop("container", {})}
    return {"metadata": {"name": name}, "status": {"containerStatuses": [container], **status}}


def unscheduled(name: str = "p") -> dict[str, Any]:
    """A Pod that can't be scheduled."""
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": NO_CPU}
    return {"metadata": {"name": name}, "status": {"phase": "Pending", "conditions": [condition]}}


@pytest.mark.parametrize(
    ("pods", "reason", "words"),
    [
        ([unscheduled()], "Unschedulable", ["p", NO_CPU, "spec.workers.resources"]),
        ([pod(), unscheduled("q")], "Unschedulable", ["q"]),
        ([pod(waiting={"reason": "ImagePullBackOff", "message": "no"})], "ImagePull", ["registry/worker:1", "no"]),
        ([pod(waiting={"reason": "ErrImagePull", "message": "gone"})], "ImagePull", ["gone"]),
        (
            [pod(waiting={"reason": "CreateContainerConfigError", "message": 'secret "x" not found'})],
            "CreateContainerConfigError",
            ['secret "x" not found'],
        ),
        (
            [
                pod(
                    waiting={"reason": "CrashLoopBackOff", "message": "back-off 10s restarting"},
                    container={"lastState": {"terminated": {"exitCode": 2, "reason": "Error"}}},
                )
            ],
            "CrashLoopBackOff",
            ["exit code 2", "log"],
        ),
    ],
)
def test_first_cause_is_reported(pods: list[dict[str, Any]], reason: str, words: list[str]) -> None:
    """With the Pod's name and the remedy."""
    found = first_failure(pods)
    assert found is not None
    assert found.reason == reason
    assert [word for word in words if word not in found.message] == []


@pytest.mark.parametrize(
    "pods", [[], [pod()], [{"metadata": {"name": "p"}}], [pod(waiting={"reason": "ContainerCreating"})]]
)
def test_running_or_starting_pod_has_no_failure(pods: list[dict[str, Any]]) -> None:
    """Starting takes a moment, and is not a failure."""
    assert first_failure(pods) is None


def test_pull_and_pull_backoff_are_one_cause() -> None:
    """The kubelet alternates between them."""
    trying = pod(waiting={"reason": "ErrImagePull", "message": "not found"})
    waiting = pod(
        waiting={"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x": ErrImagePull: not found'}
    )
    assert first_failure([trying]) == first_failure([waiting])


def test_backoff_of_the_kubelet_is_left_out() -> None:
    """Otherwise the condition would be written again with every retry."""
    first, second = (pod(waiting={"reason": "CrashLoopBackOff", "message": f"back-off {n}0s"}) for n in (1, 2))
    assert (
        first_failure([first])
        == first_failure([second])
        == PodFailure("CrashLoopBackOff", "p fails to start: CrashLoopBackOff")
    )


def test_reason_of_a_pod_precedes_that_of_its_deployment() -> None:
    """Only if no Pod of the Deployment runs: a single missing Pod is not an outage."""
    stuck = workers_available([deployment(availableReplicas=0)], 1, [unscheduled()])
    assert (stuck.status, stuck.reason) == ("False", "Unschedulable")
    running = workers_available([deployment(replicas=3, availableReplicas=1)], 1, [unscheduled()])
    assert running.is_true
