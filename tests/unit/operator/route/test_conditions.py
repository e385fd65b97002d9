"""The conditions of a route."""

from typing import Any

import pytest

from chaski_aws.provision.desired import ProvisionSettings, desired
from chaski_aws.provision.errors import ProvisionError
from chaski_aws.provision.state import Observed, ObservedQueue
from chaski_core.errors import FieldError
from chaski_operator.kube.status import Condition, condition_false, condition_true, condition_unknown
from chaski_operator.route.aws_resources import ProvisionResult
from chaski_operator.route.conditions import (
    NEEDED,
    aws_conditions,
    conditions_for,
    reason_of,
    summary,
    workers_available,
)
from chaski_operator.route.observation import RouteObservation
from unit.operator.builders import FOREIGN_QUEUE, deployment, provision_error, route_of

ALL = [condition_true(each, "Good") for each in NEEDED]
LATE = deployment(availableReplicas=0, conditions=[{"type": "Progressing", "status": "False", "message": "late"}])


@pytest.mark.parametrize(
    ("conditions", "status", "reason"),
    [
        (ALL, "True", "Ready"),
        ([*ALL[:1], condition_false("QueuesReady", "AccessDenied", "no"), *ALL[2:]], "False", "AccessDenied"),
        ([*ALL[:2], condition_unknown("TablesReady", "Throttled"), *ALL[3:]], "Unknown", "Throttled"),
        (
            [ALL[0], condition_false("QueuesReady", "1st"), condition_false("TablesReady", "2nd"), *ALL[3:]],
            "False",
            "1st",
        ),
        (ALL[:3], "Unknown", "Pending"),
        ([*ALL, condition_false("Drifted", "NoDrift", "")], "True", "Ready"),
    ],
)
def test_ready_takes_its_reason_from_the_first_that_is_not_true(
    conditions: list[Condition], status: str, reason: str
) -> None:
    """Of those that delivery requires."""
    condition = summary(conditions)[0]
    assert (condition.status, condition.reason) == (status, reason)


@pytest.mark.parametrize(
    ("deployments", "wanted", "status", "reason"),
    [
        ([deployment()], 1, "True", "Available"),
        ([deployment()], 2, "False", "Progressing"),
        ([deployment(replicas=0)], 1, "True", "ScaledToZero"),
        ([deployment(replicas=0), deployment()], 2, "True", "Available"),
        ([deployment(generation=2, observedGeneration=1)], 1, "False", "Progressing"),
        ([deployment(replicas=0, generation=2, observedGeneration=1)], 1, "False", "Progressing"),
        ([deployment(availableReplicas=0)], 1, "False", "Progressing"),
        ([deployment(replicas=3, availableReplicas=1)], 1, "True", "Available"),
        ([deployment(updatedReplicas=0)], 1, "False", "Progressing"),
        (
            [deployment(conditions=[{"type": "ReplicaFailure", "status": "True", "message": "quota"}])],
            1,
            "False",
            "FailedCreate",
        ),
        (
            [deployment(conditions=[{"type": "Progressing", "status": "False", "message": "late"}])],
            1,
            "False",
            "ProgressDeadlineExceeded",
        ),
    ],
)
def test_workers_are_available_if_each_deployment_is(
    deployments: list[dict[str, Any]], wanted: int, status: str, reason: str
) -> None:
    """With its latest template; no Pods at all if none is requested."""
    condition = workers_available(deployments, wanted)
    assert (condition.status, condition.reason) == (status, reason)


@pytest.mark.parametrize(
    ("error", "queues", "tables"),
    [
        (provision_error("AccessDenied"), ("False", "AccessDenied"), ("Unknown", "Pending")),
        (provision_error("RequestThrottled"), ("Unknown", "RequestThrottled"), ("Unknown", "Pending")),
        (provision_error("Unreachable"), ("Unknown", "Unreachable"), ("Unknown", "Pending")),
        (provision_error("QueueDeletedRecently"), ("False", "RecentlyDeleted"), ("Unknown", "Pending")),
        (provision_error("InvalidAttributeValue"), ("False", "InvalidAttributeValue"), ("Unknown", "Pending")),
        (FOREIGN_QUEUE, ("False", "QueueNotOwned"), ("Unknown", "Pending")),
        (provision_error("TableNotActive", "dynamodb"), ("Unknown", "Pending"), ("False", "TableCreating")),
        (provision_error("AccessDeniedException", "dynamodb"), ("Unknown", "Pending"), ("False", "AccessDenied")),
        (None, ("Unknown", "Pending"), ("Unknown", "Pending")),
    ],
    ids=str,
)
def test_failure_on_aws_belongs_to_queues_or_table(
    error: ProvisionError | None, queues: tuple[str, str], tables: tuple[str, str]
) -> None:
    """A transient failure is Unknown, any other False."""
    first, second = aws_conditions(None, error)
    assert (first.status, first.reason) == queues
    assert (second.status, second.reason) == tables


def test_invalid_route_has_all_other_conditions_unknown() -> None:
    """All conditions exist from the first reconciliation on."""
    accepted, *others = conditions_for(RouteObservation(errors=[FieldError("spec.queues", "is missing")]))
    assert {each.status for each in others} == {"Unknown"}
    assert (accepted.type, accepted.status, accepted.reason) == ("Accepted", "False", "InvalidSpec")
    assert "spec.queues: is missing" in accepted.message


@pytest.mark.parametrize(
    ("spec", "required", "status", "reason"),
    [
        ({"producers": []}, True, "False", "NoProducers"),
        ({}, True, "True", "Declared"),
        ({"producers": []}, False, "True", "NotRequired"),
        ({"producers": [], "suspend": {"ingest": True}}, True, "True", "IngestSuspended"),
        ({"producers": [], "suspend": {"delivery": True}}, True, "False", "NoProducers"),
    ],
)
def test_route_that_no_client_may_send_to_is_not_ready(
    spec: dict[str, Any], required: bool, status: str, reason: str
) -> None:
    """Its message names the field; where clients need no credentials, or ingest is suspended, none is needed."""
    observation = RouteObservation(route=route_of(**spec))
    conditions = conditions_for(observation, producers_required=required)
    (found,) = (each for each in conditions if each.type == "ProducersDeclared")
    assert (found.status, found.reason) == (status, reason)
    others = [condition_true(each, "Good") for each in NEEDED if each != found.type]
    ready = summary([*others, found])[0]
    assert (ready.status, ready.reason) == (status, "Ready" if found.is_true else reason)
    assert found.is_true or "spec.producers is empty" in ready.message


@pytest.mark.parametrize(
    ("spec", "required", "status", "reason"),
    [
        ({"suspend": {"delivery": True}}, True, "False", "Suspended"),
        ({"suspend": {"ingest": True}}, True, "False", "Suspended"),
        ({"suspend": {"ingest": True}, "producers": []}, False, "False", "Suspended"),
        ({"suspend": {"delivery": True, "ingest": True}, "producers": []}, True, "False", "Suspended"),
        ({"suspend": {"ingest": True}, "producers": []}, True, "True", "Ready"),
        ({}, True, "True", "Ready"),
    ],
)
def test_a_suspended_route_is_not_ready(spec: dict[str, Any], required: bool, status: str, reason: str) -> None:
    """Unless only ingest is suspended and no client may send: then messages are put on SQS, and delivered."""
    conditions = conditions_for(RouteObservation(route=route_of(**spec)), producers_required=required)
    found = [each for each in conditions if each.type in ("ProducersDeclared", "Suspended")]
    good = [condition_true(each, "Good") for each in NEEDED if each != "ProducersDeclared"]
    ready, reconciling, stalled = summary([*good, *found])
    assert (ready.status, ready.reason) == (status, reason)
    assert (reconciling.status, stalled.status) == ("False", "False" if ready.is_true else "True")
    assert ready.is_true or "spec.suspend" in ready.message


@pytest.mark.parametrize(
    ("obstacle", "deployments", "reconciling", "stalled"),
    [
        (condition_true("Accepted", "Valid"), [], "False", "False"),
        (condition_false("Accepted", "InvalidSpec", "m"), [], "False", "True"),
        (condition_unknown("Accepted", "PoliciesUnknown"), [], "True", "False"),
        (condition_false("QueuesReady", "QueueNotOwned", "m"), [], "False", "True"),
        (condition_false("QueuesReady", "AccessDenied", "m"), [], "False", "True"),
        (condition_false("QueuesReady", "RecentlyDeleted", "m"), [], "True", "False"),
        (condition_unknown("QueuesReady", "RequestThrottled"), [], "True", "False"),
        (condition_false("TablesReady", "TableCreating", "m"), [], "True", "False"),
        (condition_false("ProducersDeclared", "NoProducers", "m"), [], "False", "True"),
        (condition_false("WorkersAvailable", "Progressing", "m"), [deployment()], "True", "False"),
        (condition_false("WorkersAvailable", "ImagePull", "m"), [deployment()], "True", "False"),
        (condition_false("WorkersAvailable", "ImagePull", "m"), [deployment(), LATE], "False", "True"),
        (condition_false("WorkersAvailable", "ProgressDeadlineExceeded", "m"), [LATE], "False", "True"),
        (condition_false("WorkersAvailable", "ObjectNotOwned", "m"), [], "False", "True"),
        (condition_false("WorkersAvailable", "Refused", "m"), [], "False", "True"),
    ],
)
def test_a_route_is_stalled_where_only_a_person_can_act(
    obstacle: Condition, deployments: list[dict[str, Any]], reconciling: str, stalled: str
) -> None:
    """As kstatus defines it; with the reason and message of Ready. What may still become ready is reconciling."""
    conditions = [each if each.type != obstacle.type else obstacle for each in ALL]
    ready, *found = summary(conditions, deployments)
    assert [(each.type, each.status) for each in found] == [("Reconciling", reconciling), ("Stalled", stalled)]
    true = [each for each in found if each.is_true]
    assert ready.is_true != bool(true)
    assert all((each.reason, each.message) == (ready.reason, ready.message) for each in true)


@pytest.mark.parametrize(
    ("mode", "replicas", "status"),
    [
        ("Disabled", (0, 1), "False"),
        ("Disabled", (1, 1), "True"),
        ("BuiltIn", (0, 0), "True"),
        ("External", (0, 1), "True"),
    ],
)
def test_a_deployment_that_no_message_scales_up_is_not_available(
    mode: str, replicas: tuple[int, ...], status: str
) -> None:
    """With `mode: Disabled` no message starts a Pod; the condition names the Deployment without one."""
    spec: dict[str, Any] = {"autoscaling": {"mode": mode}}
    observation = RouteObservation(
        route=route_of(**spec),
        deployments=[deployment(f"d{number}", each) for number, each in enumerate(replicas)],
        wanted_deployments=len(replicas),
    )
    (workers,) = (each for each in conditions_for(observation) if each.type == "WorkersAvailable")
    assert workers.status == status
    assert workers.is_true or (workers.reason, "d0" in workers.message) == ("ScaledToZero", True)


def test_reasons_are_valid_for_a_condition() -> None:
    """For any error code of AWS."""
    assert reason_of(provision_error("AWS.SimpleQueueService.Odd-Thing")).isalnum()
    assert reason_of(provision_error("")) == "Failed"


@pytest.mark.parametrize(
    ("visible", "in_flight", "delayed", "status"),
    [(96_000, 0, 0, "False"), (96_001, 0, 0, "True"), (95_000, 1_000, 0, "False"), (95_000, 1_000, 1, "True")],
)
def test_queue_near_the_limit_of_sqs_is_reported(visible: int, in_flight: int, delayed: int, status: str) -> None:
    """Messages in all states count, from 80 % of 120,000 on; queues of other owners do not."""

    def queue(name: str, count: int) -> ObservedQueue:
        attributes = {
            "ApproximateNumberOfMessages": str(count),
            "ApproximateNumberOfMessagesNotVisible": str(in_flight),
            "ApproximateNumberOfMessagesDelayed": str(delayed),
        }
        return ObservedQueue(name, f"https://q/{name}", attributes, {})

    queues = {each.name: each for each in (queue("deep", visible), queue("small", 5), queue("others", 200_000))}
    observed = Observed(queues, ours=frozenset({"deep", "small"}))
    provisioned = ProvisionResult(observed, desired(route_of(), observed, ProvisionSettings("chaski")), (), None, None)
    (condition,) = [
        each
        for each in conditions_for(RouteObservation(route=route_of(), provisioned=provisioned))
        if each.type == "BacklogLimit"
    ]
    assert condition.status == status
    assert condition.message.startswith("deep: ") == (status == "True")
    assert "small" not in condition.message


@pytest.mark.parametrize(
    ("corrected", "added", "status", "reason", "texts"),
    [
        ((), (), "False", "NoDrift", ()),
        (("Deployment d (spec.x)",), (), "True", "Corrected", ("corrected: Deployment d (spec.x)",)),
        (
            (),
            ("Deployment d: spec.y by kubectl",),
            "True",
            "Added",
            ("d: spec.y by kubectl", "operator.removeAdditions"),
        ),
        (("AWS",), ("Deployment d: spec.y by x",), "True", "Added", ("d: spec.y by x", "corrected: AWS")),
    ],
)
def test_drift_names_what_was_corrected_and_what_is_still_there(
    corrected: tuple[str, ...], added: tuple[str, ...], status: str, reason: str, texts: tuple[str, ...]
) -> None:
    """With the next step."""
    conditions = conditions_for(RouteObservation(route=route_of(), corrected=corrected, added=added))
    (drifted,) = [each for each in conditions if each.type == "Drifted"]
    assert (drifted.status, drifted.reason) == (status, reason)
    assert all(text in drifted.message for text in texts)


def _rule(name: str, host: str, signing: Any = None) -> dict[str, Any]:
    return {"name": name, "url": f"https://{host}/x", **({"signing": signing} if signing else {})}


@pytest.mark.promise(14)
@pytest.mark.parametrize(
    ("allow", "signing", "named"),
    [
        ([_rule("a", "a.example"), _rule("b", "b.example")], None, None),
        ([_rule("a", "a.example"), _rule("b", "A.example:8443")], {"secretName": "keys"}, None),
        (
            [_rule("a", "a.example"), _rule("b", "b.example")],
            {"secretName": "keys"},
            "keys signs for a.example, b.example",
        ),
        ([_rule("a", "*.a.example")], {"secretName": "keys"}, "keys signs for *.a.example"),
        ([_rule("a", "a.example"), _rule("b", "b.example")], {"secretName": "keys", "scheme": "v1a"}, None),
        ([_rule("a", "a.example"), _rule("b", "b.example", {"secretName": "b"})], {"secretName": "keys"}, None),
        (
            [_rule("a", "a.example", {"secretName": "s"}), _rule("b", "b.example", {"secretName": "s"})],
            None,
            "s signs for a.example, b.example",
        ),
    ],
)
def test_a_shared_key_of_several_hosts_is_reported(
    allow: list[dict[str, Any]], signing: dict[str, Any] | None, named: str | None
) -> None:
    """Since each of them can forge requests to the others; not with public keys, nor within one host."""
    spec: dict[str, Any] = {"targets": {"allow": allow}, **({"signing": signing} if signing else {})}
    conditions = conditions_for(RouteObservation(route=route_of(**spec)))
    (shared,) = (each for each in conditions if each.type == "SigningShared")
    assert shared.status == ("False" if named is None else "True")
    assert named is None or named in shared.message
