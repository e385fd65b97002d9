"""When a route is reconciled again."""

from typing import Any

import pytest

from chaski_aws.provision.errors import ProvisionError
from chaski_operator.kube.apply import ForeignObjectError
from chaski_operator.route.observation import RouteObservation
from chaski_operator.route.policy import is_terminal, next_reconcile
from chaski_operator.settings import ReconcileIntervals
from chaski_runtime.kube.client import KubeApiError, KubeRefusedError, KubeUnavailableError
from unit.operator.builders import FOREIGN_QUEUE, provision_error, route_of

INTERVALS = ReconcileIntervals()
OBJECT: dict[str, Any] = {"kind": "Deployment", "metadata": {"namespace": "n", "name": "d"}}


@pytest.mark.parametrize(
    ("error", "terminal"),
    [
        (provision_error("AccessDenied"), False),
        (provision_error("InvalidAttributeValue"), True),
        (FOREIGN_QUEUE, True),
        (ForeignObjectError(OBJECT), True),
        (KubeRefusedError(422, "Invalid", "no"), True),
        (KubeRefusedError(409, "Conflict", "no"), False),
        (KubeRefusedError(403, "Forbidden", "no"), False),
        (KubeUnavailableError("unavailable"), False),
    ],
    ids=str,
)
def test_terminal_failure_is_retried_rarely(error: Any, terminal: bool) -> None:
    """A terminal failure every five minutes, any other soon."""
    assert is_terminal(error) == terminal
    is_aws = isinstance(error, ProvisionError)
    found = RouteObservation(
        route=route_of(), aws_error=error if is_aws else None, apply_error=None if is_aws else error
    )
    assert (next_reconcile(found, 1, INTERVALS) == INTERVALS.terminal_retry_seconds) == terminal


@pytest.mark.parametrize(("failures", "seconds"), [(1, 1), (2, 2), (4, 8), (7, 60), (1000, 60)])
def test_transient_failure_is_retried_with_backoff(failures: int, seconds: float) -> None:
    """Doubling, up to a minute."""
    error: KubeApiError = KubeUnavailableError("unavailable")
    assert next_reconcile(RouteObservation(route=route_of(), apply_error=error), failures, INTERVALS) == seconds


def test_retry_after_of_aws_delays_the_retry() -> None:
    """Up to the maximum."""
    assert (
        next_reconcile(RouteObservation(route=route_of(), aws_error=provision_error("RequestThrottled")), 1, INTERVALS)
        == 5
    )
    assert (
        next_reconcile(
            RouteObservation(route=route_of(), aws_error=provision_error("QueueDeletedRecently")), 1, INTERVALS
        )
        == 60
    )
