"""What one reconciliation of a route observed, and what follows from it directly. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chaski_aws.provision.errors import ProvisionError
from chaski_aws.provision.state import GENERATION_TAG, QUEUE_TAG, RUNG_TAG, Observed, ObservedQueue
from chaski_core.errors import FieldError
from chaski_core.route.model import Route
from chaski_operator.kube.apply import ForeignObjectError
from chaski_operator.kube.status import rfc3339
from chaski_operator.route.aws_resources import ProvisionResult
from chaski_runtime.kube.client import KubeApiError

Failure = ProvisionError | KubeApiError | ForeignObjectError


@dataclass(frozen=True, slots=True)
class RouteObservation:
    """Everything that one reconciliation of a route observed."""

    errors: Sequence[FieldError] = ()
    route: Route | None = None  # None: the spec is invalid, see `errors`
    provisioned: ProvisionResult | None = None  # None: AWS could not be read
    aws_error: ProvisionError | None = None
    corrected: Sequence[str] = ()  # drift that was corrected since AWS was last read
    apply_error: KubeApiError | ForeignObjectError | None = None
    deployments: Sequence[Mapping[str, Any]] = ()
    wanted_deployments: int = 0
    pods: Sequence[Mapping[str, Any]] = ()  # of the workers, if some do not run
    is_fresh: bool = False  # `provisioned` is of this reconciliation, not cached

    @property
    def failures(self) -> list[Failure]:
        """The failures that may be retried."""
        return [error for error in (self.aws_error, self.apply_error) if error is not None]


def drift_of(provisioned: ProvisionResult) -> list[str]:
    """The resources on AWS that were changed or deleted by others and have been corrected."""
    return [
        f"{each.action.resource} ({', '.join(drift.attribute for drift in each.action.drift) or 'was deleted'})"
        for each in provisioned.done
        if each.action.drift or each.action.operation in ("CreateQueue", "CreateTable")
    ]


def fenced_at(observed: Observed, numbers: Iterable[int]) -> dict[int, str]:
    """The time since which each generation accepts no new messages, by number, as RFC 3339."""
    since: dict[int, float] = {}
    for queue in observed.own_queues:
        number = queue.tags.get(GENERATION_TAG, "")
        if queue.is_blocked and number.isdigit():
            since[int(number)] = max(since.get(int(number), 0.0), queue.modified_at)
    return {number: rfc3339(since[number]) for number in numbers if number in since}


def draining_rows(queues: Iterable[ObservedQueue]) -> dict[str, str]:
    """A message for each draining queue, by the name of its row in the status."""
    totals: dict[str, int] = {}
    for queue in queues:
        row = _row_of(queue.tags)
        if row:
            totals[row] = totals.get(row, 0) + queue.counts.total
    empty, holding = "empty; will be deleted after staying empty for a while", "draining; still holds messages"
    return {row: holding if total else empty for row, total in totals.items()}


def rolled_out(deployments: Sequence[Mapping[str, Any]]) -> bool:
    """Whether no Pod of an older template is left."""
    return all(_is_rolled_out(each) for each in deployments)


def _is_rolled_out(deployment: Mapping[str, Any]) -> bool:
    status = deployment.get("status") or {}
    observed = int(status.get("observedGeneration", 0)) >= int(deployment["metadata"].get("generation", 1))
    return observed and int(status.get("updatedReplicas", 0)) == int(status.get("replicas", 0))


def _row_of(tags: Mapping[str, str]) -> str | None:
    if RUNG_TAG in tags:
        return f"rung-{tags[RUNG_TAG]}"
    return f"{tags[QUEUE_TAG]}.g{tags[GENERATION_TAG]}" if {QUEUE_TAG, GENERATION_TAG} <= tags.keys() else None
