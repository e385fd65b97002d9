"""When a route is reconciled again, and what its spec and status ask of the reconciler. Pure."""

from collections.abc import Mapping
from typing import Any

from chaski_aws.provision.errors import ProvisionError
from chaski_core.retry.backoff import Backoff
from chaski_operator.kube.apply import ForeignObjectError
from chaski_operator.manifests.names import FINALIZER, PAUSED
from chaski_operator.route.conditions import QUEUES_READY, TABLES_READY, workers_available
from chaski_operator.route.observation import Failure, RouteObservation
from chaski_operator.settings import ReconcileIntervals
from chaski_runtime.kube.client import KubeRefusedError


def next_reconcile(observation: RouteObservation, failures: int, intervals: ReconcileIntervals) -> float:
    """Seconds until the route is reconciled again, unless it is enqueued before.

    Args:
        observation: of this reconciliation.
        failures: consecutive reconciliations that failed, this one included.
        intervals: the operator's.
    """
    if observation.route is None:
        return intervals.resync_seconds
    if not observation.failures:
        draining = observation.provisioned is not None and bool(observation.provisioned.draining)
        return intervals.busy_seconds if draining or needs_pods(observation) else intervals.resync_seconds
    if all(is_terminal(error) for error in observation.failures):
        return intervals.terminal_retry_seconds
    backoff = Backoff(intervals.retry_seconds, intervals.max_retry_seconds).seconds(failures)
    requested = [error.retry_after_seconds for error in observation.failures if isinstance(error, ProvisionError)]
    return max(backoff, min(intervals.max_retry_seconds, max((each for each in requested if each), default=0.0)))


def needs_pods(observation: RouteObservation) -> bool:
    """Whether Deployments exist whose Pods do not run: the Pods have the reason."""
    if observation.route is None:
        return False
    deployments = observation.deployments
    return bool(deployments) and not workers_available(deployments, observation.wanted_deployments).is_true


def is_terminal(error: Failure) -> bool:
    """Whether a retry can't succeed before the route is changed or a human intervenes."""
    if isinstance(error, ProvisionError):
        return not error.retryable
    return isinstance(error, ForeignObjectError) or (isinstance(error, KubeRefusedError) and error.status in (400, 422))


def wants_finalizer(document: Mapping[str, Any]) -> bool:
    """Whether the route's deletion must wait for the operator: only if it deletes resources on AWS."""
    return bool(document["spec"].get("deletionPolicy") == "Delete")


def has_finalizer(document: Mapping[str, Any]) -> bool:
    """Whether the route carries the operator's finalizer."""
    return FINALIZER in (document["metadata"].get("finalizers") or ())


def identity_of(document: Mapping[str, Any]) -> tuple[str, int, bool]:
    """What must not have changed since a route was observed: the object, its spec, and whether it is being deleted."""
    metadata = document["metadata"]
    return metadata["uid"], metadata["generation"], "deletionTimestamp" in metadata


def is_paused(document: Mapping[str, Any]) -> bool:
    """Whether an annotation pauses the reconciliation and the scaling of the route."""
    return (document["metadata"].get("annotations") or {}).get(PAUSED) == "disabled"


def was_provisioned(document: Mapping[str, Any]) -> bool:
    """Whether the status says that queues and table were provisioned for this generation of the spec."""
    generation = document["metadata"]["generation"]
    true = {
        each["type"]
        for each in (document.get("status") or {}).get("conditions") or ()
        if each["status"] == "True" and each.get("observedGeneration") == generation
    }
    return {QUEUES_READY, TABLES_READY} <= true
