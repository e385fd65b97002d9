"""The reconciler's part of a route's status."""

import copy
from dataclasses import replace
from typing import Any

import pytest

from chaski_aws.provision.desired import ProvisionSettings, desired
from chaski_aws.provision.state import Observed
from chaski_core.route.default_retry import default_retry
from chaski_core.route.model import Ordering
from chaski_core.route.resolved import Generation
from chaski_operator.route.aws_resources import ProvisionResult
from chaski_operator.route.events import events_for
from chaski_operator.route.observation import RouteObservation
from chaski_operator.route.status import is_current, rows_of, status_of
from unit.operator.builders import deployment, provision_error, resolved_of, route_of

ROUTE = route_of()
OBSERVATION = RouteObservation(
    route=ROUTE,
    provisioned=ProvisionResult(
        Observed({}), desired(ROUTE, Observed({}), ProvisionSettings("chaski")), (), None, resolved_of(ROUTE)
    ),
    deployments=[deployment(replicas=2)],
    wanted_deployments=1,
)


def status(
    known: dict[str, Any] | None = None, now: str = "now", observation: RouteObservation = OBSERVATION
) -> dict[str, Any]:
    """The resulting status."""
    return status_of(observation, 7, known or {}, now)


def test_unchanged_status_is_current() -> None:
    """Neither a later time nor the autoscaler's part is a change."""
    live = status()
    live["conditions"].append({"type": "Autoscaling", "status": "True", "reason": "Steady", "message": ""})
    live["queues"][0]["visible"] = 12
    live["queues"].append({"name": "only-counted", "visible": 1})
    assert is_current(status(live, "later"), live)


@pytest.mark.parametrize("change", ["condition", "row more", "row less", "url", "generation", "time"])
def test_difference_is_not_current(change: str) -> None:
    """In any of the reconciler's fields; a later time alone is not a difference."""
    live = copy.deepcopy(status())
    if change == "condition":
        live["conditions"][3]["reason"] = "Other"
    elif change == "row more":
        live["queues"].append({"name": "messages.g0", "role": "Queue", "state": "Draining"})
    elif change == "row less":
        del live["queues"][1]
    elif change == "url":
        live["resolved"]["generations"][0]["queues"][0]["urls"].append("more")
    elif change == "generation":
        live["observedGeneration"] = 6
    else:
        assert is_current(status(live, "later"), live)
        return
    assert not is_current(status(live), live)


def test_status_is_of_the_observation() -> None:
    """Its generation, the conditions with Ready first, the number of Pods, the resolved route."""
    made = status()
    assert (made["observedGeneration"], made["replicas"]) == (7, 2)
    assert [each["type"] for each in made["conditions"]][:4] == ["Ready", "Reconciling", "Stalled", "Accepted"]
    assert made["conditions"][0]["status"] == "True"
    assert made["resolved"]["observedGeneration"] == 7
    assert made["resolved"]["retry"] == default_retry(Ordering.RELAXED)


def test_missing_producers_are_reported_once_by_an_event() -> None:
    """As a warning with the reason of the condition; messages are delivered all the same, so the rest of the status stays."""
    observation = replace(OBSERVATION, route=route_of(producers=[]))
    closed = status(observation=observation)
    assert (closed["conditions"][0]["status"], closed["conditions"][0]["reason"]) == ("False", "NoProducers")
    assert closed["resolved"]["observedGeneration"] == 7
    (event,) = (each for each in events_for((), closed["conditions"], observation) if each.reason == "NoProducers")
    assert (event.type, "spec.producers is empty" in event.message) == ("Warning", True)
    assert events_for(closed["conditions"], closed["conditions"], observation) == []


def test_unknown_values_are_kept() -> None:
    """Ingest continues with the known queues while AWS can't be read."""
    live = status()
    blind = status(live, observation=RouteObservation(route=ROUTE, aws_error=provision_error("Unreachable")))
    assert blind["resolved"] == live["resolved"]
    assert blind["queues"] == live["queues"]
    assert blind["conditions"][0]["status"] == "Unknown"


def test_older_generations_and_retired_rungs_have_their_own_rows() -> None:
    """Marked as draining."""
    rows = rows_of(resolved_of(route_of(), Generation(1, {"messages": ("q",)}), retired=("old",)), {"messages.g1": "x"})
    draining = {row["name"]: row.get("message", "") for row in rows if row["state"] == "Draining"}
    assert draining == {"messages.g1": "x", "rung-old": ""}
    assert len({row["name"] for row in rows}) == len(rows)
