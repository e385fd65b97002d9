"""Why Pods do not run, in the kubelet's and the scheduler's own words. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_IMAGE = ("ErrImageNeverPull", "ErrImagePull", "ImageInspectError", "ImagePullBackOff", "InvalidImageName")
_START = ("CrashLoopBackOff", "CreateContainerConfigError", "CreateContainerError", "RunContainerError")


@dataclass(frozen=True, slots=True)
class PodFailure:
    """What keeps a Pod from running."""

    reason: str  # ImagePull | Unschedulable | one of the kubelet's words
    message: str


_ADVICE = "add nodes, or lower spec.workers.resources"


def trouble_of(pods: Sequence[Mapping[str, Any]], *, advice: str = _ADVICE) -> PodFailure | None:
    """The first thing that keeps one of the Pods from running; None where none says any.

    Args:
        pods: as the API server has them.
        advice: what to do where a Pod finds no node.
    """
    for pod in pods:
        found = _unscheduled(pod, advice) or _waiting(pod)
        if found is not None:
            return found
    return None


def _unscheduled(pod: Mapping[str, Any], advice: str) -> PodFailure | None:
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if (condition["type"], condition["status"], condition.get("reason")) == (
            "PodScheduled",
            "False",
            "Unschedulable",
        ):
            told = f"{pod['metadata']['name']} finds no node: {condition.get('message', '')}"
            return PodFailure("Unschedulable", f"{told} ({advice})")
    return None


def _waiting(pod: Mapping[str, Any]) -> PodFailure | None:
    for container in (pod.get("status") or {}).get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason, name = waiting.get("reason", ""), pod["metadata"]["name"]
        if reason in _IMAGE:
            told = waiting.get("message", reason).rpartition("ErrImagePull: ")[
                2
            ]  # the same while it waits and while it tries
            return PodFailure("ImagePull", f"{name} can't get the image {container['image']}: {told}")
        if reason in _START:
            return PodFailure(reason, f"{name} does not start: {_of(waiting, reason)}{_last(container)}")
    return None


def _of(waiting: Mapping[str, Any], reason: str) -> str:
    # How long the kubelet waits before the next try changes all the time, and a condition should not.
    return reason if reason == "CrashLoopBackOff" else f"{reason}: {waiting.get('message', '')}"


def _last(container: Mapping[str, Any]) -> str:
    ended = (container.get("lastState") or {}).get("terminated")
    return f"; last exit code {ended.get('exitCode')} ({ended.get('reason', '')}); its log says why" if ended else ""
