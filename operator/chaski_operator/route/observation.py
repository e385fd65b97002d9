"""What one reconciliation of a route observed. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chaski_aws.provision.errors import ProvisionError
from chaski_core.errors import FieldError
from chaski_core.policy.decision import ACCOUNT_FIELD
from chaski_core.policy.model import Violation
from chaski_core.route.model import Route
from chaski_core.route.resolved import ResolvedRoute
from chaski_operator.kube.apply import ForeignObjectError
from chaski_operator.policies.hold import held_route, was_accepted
from chaski_operator.route.aws_resources import ProvisionResult
from chaski_runtime.kube.client import KubeApiError

Failure = ProvisionError | KubeApiError | ForeignObjectError


@dataclass(frozen=True, slots=True)
class RouteObservation:
    """Everything that one reconciliation of a route observed; its steps add to it, its report is made of it."""

    errors: Sequence[FieldError] = ()
    route: Route | None = None  # None: the spec is invalid, see `errors`
    denied: Sequence[Violation] = ()  # fields with which the route does not comply with policies
    undecided: bool = False  # the policies can't be read, and this spec was not accepted before
    held: ResolvedRoute | None = None  # a denied route that exists already, as its workers get it
    provisioned: ProvisionResult | None = None  # None: AWS could not be read
    aws_error: ProvisionError | None = None
    corrected: Sequence[str] = ()  # drift that was corrected since AWS was last read
    added: Sequence[str] = ()  # what others have added to the Deployments, and it is still there
    apply_error: KubeApiError | ForeignObjectError | None = None
    deployments: Sequence[Mapping[str, Any]] = ()
    wanted_deployments: int = 0
    pods: Sequence[Mapping[str, Any]] = ()  # of the workers, if some do not run

    @property
    def resolved(self) -> ResolvedRoute | None:
        """The route with its queues and table; None if one of them does not exist yet."""
        return None if self.provisioned is None else self.provisioned.resolved

    @property
    def failures(self) -> list[Failure]:
        """The failures that may be retried."""
        return [error for error in (self.aws_error, self.apply_error) if error is not None]

    @property
    def result(self) -> str:
        """As in chaski_reconciles_total: ok, invalid (the route is wrong), or error (tried again)."""
        if self.failures:
            return "error"
        return "invalid" if self.route is None or self.denied or self.undecided else "ok"


def judged_route(
    route: Route, document: Mapping[str, Any], found: Sequence[Violation] | None
) -> RouteObservation | None:
    """What is observed of a route that policies deny, or that can't be judged; None: it is reconciled as it is.

    Args:
        route: valid.
        document: the same, with its status.
        found: where it does not comply; None: unknown, so a spec that was accepted stays accepted.
    """
    if found is None:
        return None if was_accepted(document) else RouteObservation(route=route, undecided=True)
    if not found:
        return None
    held = held_route(document, keep_account=ACCOUNT_FIELD not in {each.field for each in found})
    return RouteObservation(route=route, denied=found, held=held)


def rolled_out(deployments: Sequence[Mapping[str, Any]]) -> bool:
    """Whether no Pod of an older template is left."""
    return all(_is_rolled_out(each) for each in deployments)


def _is_rolled_out(deployment: Mapping[str, Any]) -> bool:
    status = deployment.get("status") or {}
    observed = int(status.get("observedGeneration", 0)) >= int(deployment["metadata"].get("generation", 1))
    return observed and int(status.get("updatedReplicas", 0)) == int(status.get("replicas", 0))
