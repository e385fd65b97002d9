"""Why Pods do not run: the first cause that one of them names."""

from typing import Any

import pytest

from chaski_operator.pods.failures import PodFailure, trouble_of
from chaski_operator.route.conditions import workers_available
from unit.operator.making import deployment

NO_ROOM = "0/1 nodes are available: 1 Insufficient cpu."


def pod(name: str = "p", *, waiting: dict[str, str] | None = None, **status: Any) -> dict[str, Any]:
    """A Pod as the API server has it."""
    state = {"waiting": waiting} if waiting else {"running": {}}
    container = {"name": "worker", "image": "registry/worker:1", "state": state, **status.pop("container", {})}
    return {"metadata": {"name": name}, "status": {"containerStatuses": [container], **status}}


def unscheduled(name: str = "p") -> dict[str, Any]:
    """A Pod that no node takes."""
    told = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": NO_ROOM}
    return {"metadata": {"name": name}, "status": {"phase": "Pending", "conditions": [told]}}


@pytest.mark.parametrize(
    ("pods", "reason", "words"),
    [
        ([unscheduled()], "Unschedulable", ["p", NO_ROOM, "spec.workers.resources"]),
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
            ["exit code 2", "its log"],
        ),
    ],
)
def test_the_first_cause_is_told(pods: list[dict[str, Any]], reason: str, words: list[str]) -> None:
    """By the Pod's name, with what leads to the fix."""
    found = trouble_of(pods)
    assert found is not None
    assert found.reason == reason
    assert [word for word in words if word not in found.message] == []


@pytest.mark.parametrize(
    "pods", [[], [pod()], [{"metadata": {"name": "p"}}], [pod(waiting={"reason": "ContainerCreating"})]]
)
def test_a_pod_that_runs_or_is_about_to_has_no_trouble(pods: list[dict[str, Any]]) -> None:
    """Beginning takes a moment, and that is no fault."""
    assert trouble_of(pods) is None


def test_trying_and_waiting_to_try_is_one_cause() -> None:
    """The kubelet goes to and fro between them."""
    trying = pod(waiting={"reason": "ErrImagePull", "message": "not found"})
    waiting = pod(
        waiting={"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x": ErrImagePull: not found'}
    )
    assert trouble_of([trying]) == trouble_of([waiting])


def test_how_long_the_kubelet_waits_is_left_out() -> None:
    """Otherwise the condition would be written anew with every try."""
    first, second = (pod(waiting={"reason": "CrashLoopBackOff", "message": f"back-off {n}0s"}) for n in (1, 2))
    assert (
        trouble_of([first])
        == trouble_of([second])
        == PodFailure("CrashLoopBackOff", "p does not start: CrashLoopBackOff")
    )


def test_what_pods_say_goes_before_what_their_deployment_says() -> None:
    """Only where the Deployment has no Pod that runs: one of several that is missing is no outage."""
    stuck = workers_available([deployment(availableReplicas=0)], 1, [unscheduled()])
    assert (stuck.status, stuck.reason) == ("False", "Unschedulable")
    running = workers_available([deployment(replicas=3, availableReplicas=1)], 1, [unscheduled()])
    assert running.holds
