"""Why Pods do not run, in the words of the kubelet and the scheduler. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_IMAGE = ("ErrImageNeverPull", "ErrImagePull", "ImageInspectError", "ImagePullBackOff", "InvalidImageName")
_START = ("CrashLoopBackOff", "CreateContainerConfigError", "CreateContainerError", "RunContainerError")
_ADVICE = "add nodes, or lower spec.workers.resources"


@dataclass(frozen=True, slots=True)
class PodFailure:
    """The reason why a Pod does not run."""

    reason: str  # ImagePull | Unschedulable | a reason of the kubelet
    message: str


def first_failure(pods: Sequence[Mapping[str, Any]], *, advice: str = _ADVICE) -> PodFailure | None:
    """The first reason why one of the Pods does not run; None if no Pod reports one.

    Args:
        pods: as the API server returns them.
        advice: the remedy for a Pod that can't be scheduled.
    """
    for pod in pods:
        failure = _unscheduled(pod, advice) or _waiting(pod)
        if failure is not None:
            return failure
    return None


def _unscheduled(pod: Mapping[str, Any], advice: str) -> PodFailure | None:
    for condition in (pod.get("status") or {}).get("conditions") or ():
        found = (condition["type"], condition["status"], condition.get("reason"))
        if found == ("PodScheduled", "False", "Unschedulable"):
            message = f"{pod['metadata']['name']} can't be scheduled: {condition.get('message', '')} ({advice})"
            return PodFailure("Unschedulable", message)
    return None


def _waiting(pod: Mapping[str, Any]) -> PodFailure | None:
    for container in (pod.get("status") or {}).get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason, name = waiting.get("reason", ""), pod["metadata"]["name"]
        if reason in _IMAGE:
            # The same text during a pull and during the pause before the next one.
            cause = waiting.get("message", reason).rpartition("ErrImagePull: ")[2]
            return PodFailure("ImagePull", f"{name} can't pull the image {container['image']}: {cause}")
        if reason in _START:
            return PodFailure(reason, f"{name} fails to start: {_cause(waiting, reason)}{_last_exit(container)}")
    return None


def _cause(waiting: Mapping[str, Any], reason: str) -> str:
    # The kubelet's message names the current backoff, which changes all the time; a condition should not.
    return reason if reason == "CrashLoopBackOff" else f"{reason}: {waiting.get('message', '')}"


def _last_exit(container: Mapping[str, Any]) -> str:
    ended = (container.get("lastState") or {}).get("terminated")
    return f"; last exit code {ended.get('exitCode')} ({ended.get('reason', '')}); see its log" if ended else ""
