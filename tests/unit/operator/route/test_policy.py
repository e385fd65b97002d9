"""When a route is reconciled again."""

from typing import Any

import pytest

from chaski_aws.provision.errors import ProvisionError
from chaski_operator.kube.apply import ForeignObjectError
from chaski_operator.route.observation import RouteObservation
from chaski_operator.route.policy import identity_of, is_terminal, next_reconcile
from chaski_operator.settings import ReconcileIntervals
from chaski_runtime.kube.client import KubeApiError, KubeRefusedError, KubeUnavailableError
from unit.operator.builders import FOREIGN_QUEUE, provision_error, route_of

INTERVALS = ReconcileIntervals()
OBJECT: dict[str, Any] = {"kind": "Deployment", "metadata": {"namespace": "n", "name": "d"}}


@pytest.mark.promise(7)
@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"resourceVersion": "9", "labels": {"a": "b"}}, True),
        ({"uid": "another"}, False),
        ({"generation": 2}, False),
        ({"deletionTimestamp": "2026-01-01T00:00:00Z"}, False),
    ],
    ids=["labels", "another object", "spec", "deleted"],
)
def test_route_is_the_observed_one_unless_it_was_replaced_changed_or_deleted(
    change: dict[str, Any], same: bool
) -> None:
    """Its status and labels may have changed."""
    metadata = {"uid": "u", "generation": 1, "resourceVersion": "1"}
    assert (identity_of({"metadata": metadata | change}) == identity_of({"metadata": metadata})) is same


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
