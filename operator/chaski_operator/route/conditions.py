"""The conditions of a route: status, reason and message of each. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from chaski_aws.provision.errors import NotOursError, ProvisionError
from chaski_core.route.model import Route, SigningScheme, rule_host
from chaski_operator.kube.apply import ForeignObjectError
from chaski_operator.kube.status import Condition, condition_false, condition_true, condition_unknown, reason_text
from chaski_operator.pods.failures import first_failure
from chaski_operator.policies.hold import ACCEPTED, POLICIES_UNKNOWN, POLICY_DENIED
from chaski_operator.route.aws_resources import ProvisionResult
from chaski_operator.route.observation import RouteObservation
from chaski_runtime.kube.client import KubeRefusedError

READY = "Ready"
RECONCILING = "Reconciling"
STALLED = "Stalled"
QUEUES_READY = "QueuesReady"
TABLES_READY = "TablesReady"
WORKERS_AVAILABLE = "WorkersAvailable"
PRODUCERS_DECLARED = "ProducersDeclared"
SUSPENDED = "Suspended"
DRIFTED = "Drifted"
BACKLOG_LIMIT = "BacklogLimit"
SIGNING_SHARED = "SigningShared"
# What a route requires, in the order of dependence: Ready takes its reason from the first that is not True.
NEEDED = (ACCEPTED, QUEUES_READY, TABLES_READY, WORKERS_AVAILABLE, PRODUCERS_DECLARED)
_OBSERVED = (*NEEDED, SUSPENDED, DRIFTED, BACKLOG_LIMIT, SIGNING_SHARED)
OWN = (READY, RECONCILING, STALLED, *_OBSERVED)  # the autoscaler writes its own conditions
# Transient reasons of a normal rollout: no warning.
IN_PROGRESS = frozenset({"Pending", "Progressing", "TableCreating", "TableUpdating", "RecentlyDeleted"})
_UNFIT_WORKERS = frozenset(
    {"ObjectNotOwned", "Refused", "ScaledToZero"}
)  # Pods that fail may recover until the deadline
_INGEST_UNUSED = "IngestUnused"

NEAR_LIMIT = 96_000  # messages in one queue: 80 % of those among which SQS finds deliverable message groups
_REASONS = {
    "QueueDeletedRecently": "RecentlyDeleted",
    "TableNotActive": "TableCreating",
    "ResourceInUse": "TableUpdating",
}
_NEEDS_A_HUMAN_SECONDS = 60.0  # a retry-after this long means that the failure needs a human


def conditions_for(observation: RouteObservation, *, producers_required: bool = True) -> list[Condition]:
    """All of the reconciler's conditions except those of `summary`, which derives them.

    `producers_required`: ingest admits only the producers that a route declares.
    """
    if observation.route is None:
        errors = "; ".join(str(error) for error in observation.errors)
        others = (condition_unknown(each) for each in _OBSERVED if each != ACCEPTED)
        return [condition_false(ACCEPTED, "InvalidSpec", errors), *others]
    if observation.denied or observation.undecided:
        return _by_policies(observation)
    return [
        condition_true(ACCEPTED, "Valid"),
        *aws_conditions(observation.provisioned, observation.aws_error),
        _workers(observation),
        _producers(observation.route, required=producers_required),
        _suspended(observation.route, producers_required=producers_required),
        _drifted(observation),
        _backlog(observation.provisioned),
        _signing_shared(observation.route),
    ]


def _by_policies(observation: RouteObservation) -> list[Condition]:
    """Of a route that policies deny, or that can't be judged: its queues and table are not checked."""
    if observation.denied:
        accepted = condition_false(ACCEPTED, POLICY_DENIED, "; ".join(map(str, observation.denied)))
    else:
        reason = "the policies can't be read, and this spec was not accepted before; see the operator's log"
        accepted = condition_unknown(ACCEPTED, POLICIES_UNKNOWN, reason)
    found = {ACCEPTED: accepted}
    if observation.held is not None:
        message = "a policy denies the route: no messages are accepted or attempted; they stay in their queues"
        found[SUSPENDED] = condition_true(SUSPENDED, "SuspendedByPolicy", message)
        found[WORKERS_AVAILABLE] = _workers(observation)
    return [found.get(each, condition_unknown(each)) for each in _OBSERVED]


def summary(conditions: Sequence[Condition], deployments: Sequence[Mapping[str, Any]] = ()) -> list[Condition]:
    """Ready, Reconciling and Stalled, from the other conditions and the route's Deployments.

    Ready is True if messages are accepted and delivered; else it has the reason of the first condition that keeps it from
    being True. Reconciling and Stalled are those of kstatus (https://github.com/kubernetes-sigs/cli-utils/tree/master/pkg/kstatus):
    Stalled ends the waits of Flux and Helm at once, so it is True only if nothing changes before a person acts.
    """
    obstacle = _obstacle(conditions)
    if obstacle is None:
        return [
            condition_true(READY, "Ready", _accepted_from(conditions)),
            condition_false(RECONCILING, "Reconciled"),
            condition_false(STALLED, "NotStalled"),
        ]
    status, reason, message = obstacle.status, obstacle.reason, f"{obstacle.type}: {obstacle.message}"
    if obstacle.type == SUSPENDED:
        status, reason = "False", SUSPENDED
    if status == "False" and _needs_a_person(obstacle, deployments):
        progress = [condition_false(RECONCILING, reason), condition_true(STALLED, reason, message)]
    else:
        progress = [condition_true(RECONCILING, reason, message), condition_false(STALLED, "NotStalled")]
    return [Condition(READY, status, reason, message), *progress]


def _obstacle(conditions: Sequence[Condition]) -> Condition | None:
    """The first condition by which messages are not accepted, or not delivered; None if there is none."""
    by_type = {each.type: each for each in conditions}
    for type_ in NEEDED:
        condition = by_type.get(type_, condition_unknown(type_))
        if not condition.is_true:
            return condition
    suspended = by_type.get(SUSPENDED)
    return suspended if suspended is not None and suspended.is_true and suspended.reason != _INGEST_UNUSED else None


def _accepted_from(conditions: Sequence[Condition]) -> str:
    unused = any((each.type, each.reason) == (SUSPENDED, _INGEST_UNUSED) for each in conditions)
    return "messages on SQS are delivered" if unused else "messages are accepted and delivered"


def _needs_a_person(obstacle: Condition, deployments: Sequence[Mapping[str, Any]]) -> bool:
    if obstacle.type != WORKERS_AVAILABLE:
        return obstacle.reason not in IN_PROGRESS
    return obstacle.reason in _UNFIT_WORKERS or any(_missed_deadline(each) for each in deployments)


# ---- AWS


def aws_conditions(provisioned: ProvisionResult | None, error: ProvisionError | None) -> list[Condition]:
    """QueuesReady and TablesReady."""
    return [_queues(provisioned, error), _tables(provisioned, error)]


def _queues(provisioned: ProvisionResult | None, error: ProvisionError | None) -> Condition:
    if provisioned is not None and provisioned.resolved is not None:
        queues = provisioned.queue_count
        if provisioned.draining:
            message = f"{queues} queues provisioned; {len(provisioned.draining)} older queues are draining"
            return condition_true(QUEUES_READY, "Draining", message)
        return condition_true(QUEUES_READY, "Provisioned", f"{queues} queues provisioned")
    if error is None:
        return condition_unknown(QUEUES_READY)
    if error.failure.service == "dynamodb":
        return condition_unknown(QUEUES_READY, "Pending", "waiting for the table")
    return _failed(QUEUES_READY, error)


def _tables(provisioned: ProvisionResult | None, error: ProvisionError | None) -> Condition:
    if error is not None and error.failure.service != "sqs":
        return _failed(TABLES_READY, error)
    if provisioned is None or (error is not None and not provisioned.has_table):
        return condition_unknown(TABLES_READY)
    return condition_true(TABLES_READY, "Active", f"table {provisioned.table}")


def _failed(type_: str, error: ProvisionError) -> Condition:
    reason, message = reason_of(error), f"{error}" + (f" -- {error.fix}" if error.fix else "")
    transient = error.retry_after_seconds is not None and error.retry_after_seconds < _NEEDS_A_HUMAN_SECONDS
    if transient and reason != "TableCreating":
        return condition_unknown(type_, reason, message)
    return condition_false(type_, reason, message)


def reason_of(error: ProvisionError) -> str:
    """The reason of a condition for a failure on AWS: CamelCase, for programs."""
    if isinstance(error, NotOursError):
        return "QueueNotOwned" if error.failure.service == "sqs" else "TableNotOwned"
    code = reason_text(error.code.removesuffix("Exception"))
    return _REASONS.get(code, code)


def _backlog(provisioned: ProvisionResult | None) -> Condition:
    if provisioned is None:
        return condition_unknown(BACKLOG_LIMIT)
    full = provisioned.fuller_than(NEAR_LIMIT)
    if full:
        limit = "SQS finds deliverable message groups only among the first 120,000 messages of a queue"
        return condition_true(BACKLOG_LIMIT, "NearLimit", f"{', '.join(full)}: {limit}")
    return condition_false(BACKLOG_LIMIT, "BelowLimit")


# ---- workers


def _workers(observation: RouteObservation) -> Condition:
    error = observation.apply_error
    if isinstance(error, ForeignObjectError):
        return condition_false(WORKERS_AVAILABLE, "ObjectNotOwned", str(error))
    if isinstance(error, KubeRefusedError):
        return condition_false(WORKERS_AVAILABLE, "Refused", error.message)
    if not observation.deployments and not observation.wanted_deployments:
        return condition_unknown(WORKERS_AVAILABLE, "Pending", "waiting for queues and table")
    spec = {} if observation.route is None else observation.route.document["spec"]
    starts = spec.get("autoscaling", {}).get("mode") != "Disabled"
    return workers_available(observation.deployments, observation.wanted_deployments, observation.pods, starts=starts)


def workers_available(
    deployments: Sequence[Mapping[str, Any]],
    wanted: int,
    pods: Sequence[Mapping[str, Any]] = (),
    *,
    starts: bool = True,
) -> Condition:
    """WorkersAvailable: whether the Deployments run their latest spec; else with the reason of the first that does not.

    Args:
        deployments: as the API server returns them.
        wanted: the number of Deployments that should exist.
        pods: of these Deployments, if some are known not to run.
        starts: a Deployment without Pods gets one for the first message; not where `spec.autoscaling.mode` is Disabled.
    """
    if len(deployments) < wanted:
        message = f"{len(deployments)} of {wanted} Deployments exist"
        return condition_false(WORKERS_AVAILABLE, "Progressing", message)
    replicas = [int(each["spec"].get("replicas", 1)) for each in deployments]
    for deployment, number in zip(deployments, replicas, strict=True):
        unavailable = _unavailable(deployment, number)
        failure = first_failure(pods) if unavailable is not None else None
        if failure is not None:
            return condition_false(WORKERS_AVAILABLE, failure.reason, failure.message)
        if unavailable is not None:
            return unavailable
    if not starts and (stopped := [each["metadata"]["name"] for each in deployments if _is_at_zero(each)]):
        remedy = "scale them up, or have the operator scale them (spec.autoscaling.mode)"
        return condition_false(WORKERS_AVAILABLE, "ScaledToZero", f"no Pods of {', '.join(stopped)}: {remedy}")
    if not any(replicas):
        message = "scaled to zero; the first message starts a worker"
        return condition_true(WORKERS_AVAILABLE, "ScaledToZero", message)
    message = f"all Deployments are available; {sum(replicas)} worker Pods requested"
    return condition_true(WORKERS_AVAILABLE, "Available", message)


def _unavailable(deployment: Mapping[str, Any], replicas: int) -> Condition | None:
    """The condition of a Deployment that is not available; None if it is."""
    name, status = deployment["metadata"]["name"], deployment.get("status") or {}
    by_type = {each["type"]: each for each in status.get("conditions") or ()}
    failure = by_type.get("ReplicaFailure", {})
    if failure.get("status") == "True":
        return condition_false(WORKERS_AVAILABLE, "FailedCreate", f"{name}: {failure.get('message', '')}")
    if _missed_deadline(deployment):
        message = by_type["Progressing"].get("message", "")
        return condition_false(WORKERS_AVAILABLE, "ProgressDeadlineExceeded", f"{name}: {message}")
    if int(status.get("observedGeneration", 0)) < int(deployment["metadata"].get("generation", 1)):
        message = f"{name}: the Deployment controller has not observed the latest spec yet"
        return condition_false(WORKERS_AVAILABLE, "Progressing", message)
    if not replicas:
        return None
    if int(status.get("updatedReplicas", 0)) < min(replicas, 1) or not int(status.get("availableReplicas", 0)):
        return condition_false(WORKERS_AVAILABLE, "Progressing", f"{name}: 0 of {replicas} Pods are available")
    return None


def _missed_deadline(deployment: Mapping[str, Any]) -> bool:
    """Whether its Pods were not available within `progressDeadlineSeconds`."""
    conditions = (deployment.get("status") or {}).get("conditions") or ()
    return any((each["type"], each["status"]) == ("Progressing", "False") for each in conditions)


def _is_at_zero(deployment: Mapping[str, Any]) -> bool:
    return not int(deployment["spec"].get("replicas", 1))


# ---- spec and drift


def _signing_shared(route: Route) -> Condition:
    """SigningShared: whether a target has the key by which another one recognizes its requests.

    Standard Webhooks 1.0.0, "Additional considerations": keys should be unique per endpoint.
    """
    hosts: dict[str, set[str]] = {}
    for rule in route.allow:
        signing = route.signing_of(rule)
        if signing is not None and signing.scheme is SigningScheme.V1:
            hosts.setdefault(signing.secret_name, set()).add(rule_host(rule.url))
    shared = {name: found for name, found in hosts.items() if len(found) > 1 or any("*" in host for host in found)}
    if not shared:
        return condition_false(SIGNING_SHARED, "KeyPerHost")
    named = "; ".join(f"{name} signs for {', '.join(sorted(found))}" for name, found in sorted(shared.items()))
    remedy = "give each rule a `signing` with a Secret of its own, or use the scheme v1a"
    return condition_true(
        SIGNING_SHARED, "KeyOfSeveralHosts", f"each can forge requests to the others: {named}. {remedy}"
    )


def _producers(route: Route, *, required: bool) -> Condition:
    if route.producers:
        return condition_true(PRODUCERS_DECLARED, "Declared")
    if not required:
        return condition_true(PRODUCERS_DECLARED, "NotRequired", "ingest accepts messages of every client")
    if route.suspend.ingest:
        return condition_true(PRODUCERS_DECLARED, "IngestSuspended", "spec.suspend.ingest: no producer is needed")
    message = (
        "spec.producers is empty, so ingest denies every request; list the clients that may send, or set"
        " spec.suspend.ingest if messages are put on SQS directly"
    )
    return condition_false(PRODUCERS_DECLARED, "NoProducers", message)


def _suspended(route: Route, *, producers_required: bool) -> Condition:
    suspended = [name for name in ("delivery", "ingest") if getattr(route.suspend, name)]
    if suspended == ["ingest"] and producers_required and not route.producers:
        message = "ingest suspended by spec.suspend, and no producers: messages are put on SQS directly"
        return condition_true(SUSPENDED, _INGEST_UNUSED, message)
    if suspended:
        message = f"{' and '.join(suspended)} suspended by spec.suspend; messages stay in their queues"
        return condition_true(SUSPENDED, "SuspendedBySpec", message)
    return condition_false(SUSPENDED, "NotSuspended")


def _drifted(observation: RouteObservation) -> Condition:
    corrected = "corrected: " + ", ".join(observation.corrected)
    if observation.added:
        message = "others have added " + "; ".join(observation.added)
        remedy = "remove it, or have the operator do so (operator.removeAdditions of the chart)"
        return condition_true(
            DRIFTED, "Added", f"{message}. {remedy}" + (f"; {corrected}" if observation.corrected else "")
        )
    if observation.corrected:
        return condition_true(DRIFTED, "Corrected", corrected)
    return condition_false(DRIFTED, "NoDrift")
