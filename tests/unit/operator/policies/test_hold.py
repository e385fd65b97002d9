"""What becomes of a route that policies deny."""

from collections.abc import Mapping
from typing import Any

import pytest

from chaski_core.policy.model import Violation
from chaski_core.retry.policy import Rung
from chaski_core.route.resolved import Generation, ResolvedRoute, RungQueue
from chaski_core.route.resolved_document import resolved_values
from chaski_operator.manifests.manifests import desired_objects
from chaski_operator.manifests.worker_pod import secrets_of, worker_deployments
from chaski_operator.policies.hold import held_route, verdict_of, was_accepted
from chaski_operator.route.conditions import conditions_for, summary
from chaski_operator.route.observation import RouteObservation, judged_route
from chaski_operator.settings import WorkerPodTemplate
from unit.operator.builders import resolved_of, route_of

DENIED = [Violation("teams", "spec.targets.allow[0].url", 'the host "evil.example" is not allowed; allowed: a.example')]
_RETRY = {"rungs": [{"name": "1m", "delaySeconds": 60}], "ladders": [{"class": "5xx", "rungs": ["1m"]}]}


def document(spec: Mapping[str, Any] | None = None, *, conditions: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    """A route of two queues that was resolved, with a changed spec."""
    route = route_of(
        queues=[{"name": "messages", "partitions": 2}, {"name": "vip", "subjects": ["vip*"]}],
        retry=_RETRY,
        workers={"serviceAccountName": "mine", "resources": {"limits": {"memory": "1Gi"}}},
    )
    values = resolved_values(resolved_of(route, Generation(1, {"old": ("q/old/0",)})))
    status = {"resolved": values | {"retry": _RETRY, "observedGeneration": 1}, "conditions": list(conditions)}
    whole = {**route.document, "spec": {**route.document["spec"], **(spec or {})}, "status": status}
    return whole | {"metadata": route.document["metadata"] | {"generation": 2}}


def accepted(status: str, reason: str, generation: int = 2) -> dict[str, Any]:
    """The condition."""
    return {"type": "Accepted", "status": status, "reason": reason, "observedGeneration": generation}


def held(spec: Mapping[str, Any] | None = None, **more: Any) -> ResolvedRoute:
    """The route as its workers get it."""
    found = held_route(document(spec), **more)
    assert found is not None
    return found


def test_a_held_route_has_its_queues_and_is_suspended() -> None:
    """All generations, rungs and the table, so that its Deployments are the same ones, and delete nothing."""
    route = held()
    assert (route.route.suspend.delivery, route.route.suspend.ingest) == (True, True)
    assert [each.number for each in route.generations] == [1, 2]
    assert route.rungs == (RungQueue(Rung("1m", 60), "q/rung-1m"),)
    assert route.dead_letter_table == "table"
    assert [each.name for each in worker_deployments(route)] == [
        "chaski-orders-messages",
        "chaski-orders-vip",
        "chaski-orders-old",
        "chaski-orders-retry",
    ]


@pytest.mark.parametrize(
    "spec",
    [
        {"queues": [{"name": "others"}]},
        {"retry": {"rungs": [], "ladders": []}},
        {"targets": {"allow": [{"name": "t", "url": "https://evil.example/", "clientCertSecretName": "database"}]}},
        {"signing": {"secretName": "database"}},
        {"producers": [], "autoscaling": {"mode": "External"}},
    ],
)
def test_a_denied_change_of_the_spec_changes_neither_queues_nor_secrets(spec: dict[str, Any]) -> None:
    """What the workers get is of what was accepted, and names no Secret."""
    route = held(spec)
    assert {each.name for each in route.route.queues} == {"messages", "vip"}
    assert [rung.name for rung in route.route.retry.rungs] == ["1m"]
    assert not secrets_of(route.route)


@pytest.mark.parametrize(("keep", "account"), [(True, "mine"), (False, "chaski-orders")])
def test_a_denied_account_is_not_used(keep: bool, account: str) -> None:
    """An account that no policy denies keeps its rights on the queues, which the sweep of old messages needs."""
    objects = desired_objects(held(keep_account=keep), "uid", WorkerPodTemplate(image="w"))
    pods = [each["spec"]["template"]["spec"] for each in objects if each["kind"] == "Deployment"]
    assert {each["serviceAccountName"] for each in pods} == {account}
    assert {each["containers"][0]["resources"]["limits"]["memory"] for each in pods} == {"1Gi"}


@pytest.mark.parametrize("status", [{}, {"resolved": {}}, {"resolved": {"generations": []}}])
def test_a_new_route_has_nothing_to_hold(status: dict[str, Any]) -> None:
    """It gets neither queues nor workers."""
    assert held_route({**document(), "status": status}) is None


@pytest.mark.parametrize(
    ("condition", "verdict", "was"),
    [
        (accepted("True", "Valid"), None, True),
        (accepted("True", "Valid", 1), None, False),
        (accepted("False", "InvalidSpec"), None, False),
        (accepted("False", "PolicyDenied"), "PolicyDenied", False),
        (accepted("False", "PolicyDenied", 1), None, False),
        (accepted("Unknown", "PoliciesUnknown"), "PoliciesUnknown", False),
    ],
)
def test_the_last_verdict_is_of_this_generation(condition: dict[str, Any], verdict: str | None, was: bool) -> None:
    """One about an older spec says nothing about this one."""
    known = document(conditions=(condition,))
    assert (verdict_of(known), was_accepted(known)) == (verdict, was)


def test_unknown_policies_widen_nothing() -> None:
    """An accepted spec stays accepted; any other waits."""
    route = route_of()
    assert judged_route(route, document(conditions=(accepted("True", "Valid"),)), None) is None
    waiting = judged_route(route, document(conditions=(accepted("True", "Valid", 1),)), None)
    assert waiting == RouteObservation(route=route, undecided=True)
    assert judged_route(route, document(), ()) is None


def test_conditions_name_policy_and_field() -> None:
    """Ready takes the reason over; a held route is Suspended as well."""
    observation = judged_route(route_of(), document(), DENIED)
    assert observation is not None
    found = {each.type: each for each in conditions_for(observation)}
    whole, *_ = summary(list(found.values()))
    assert (whole.status, whole.reason) == ("False", "PolicyDenied")
    assert str(DENIED[0]) in whole.message
    assert 'policy "teams"' in found["Accepted"].message
    assert (found["Suspended"].status, found["Suspended"].reason) == ("True", "SuspendedByPolicy")
    new = {each.type: each for each in conditions_for(RouteObservation(route=route_of(), denied=DENIED))}
    assert {each.status for name, each in new.items() if name != "Accepted"} == {"Unknown"}


def test_a_waiting_route_is_not_ready() -> None:
    """Unknown, with the reason."""
    found, *_ = summary(conditions_for(RouteObservation(route=route_of(), undecided=True)))
    assert (found.status, found.reason) == ("Unknown", "PoliciesUnknown")
