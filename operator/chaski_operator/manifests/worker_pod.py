"""Worker Deployments of a route, and their Pods. Pure.

No Deployment sets `spec.replicas`: that field belongs to the autoscaler, or to the one that the route leaves it to.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from chaski_core.route.model import AllowRule, OAuth2, Ordering, Route, ServiceAccountToken
from chaski_core.route.resolved import ResolvedRoute
from chaski_core.route.resolved_document import resolved_document
from chaski_operator.manifests.kinds import DEPLOYMENT, Object, new_object
from chaski_operator.manifests.names import (
    QUEUE_LABEL,
    ROLE_HASH,
    ROUTE_HASH,
    STAGE_LABEL,
    config_map_name,
    consumer_name,
    retry_name,
    service_account_name,
    sweeper_name,
    worker_labels,
)
from chaski_operator.manifests.pod_settings import (
    RESTRICTED_CONTAINER,
    ca_annotations,
    ca_mounts,
    ca_volumes,
    dns_config,
    environment,
    placement,
    pod_security,
    pod_values,
)
from chaski_operator.settings import WorkerPodTemplate

METRICS_PORT = 9090
SWEEP = "sweep"
_COMMANDS = {"first": "consume", "retry": "retry", SWEEP: "sweep"}
GRACE_SECONDS = 15  # on top of the route's timeout: for deletes and for releasing messages
RESOLVED_KEY = "resolved.yaml"
ROUTE_FOLDER = "/etc/chaski/route"
_SECRETS_FOLDER = "/etc/chaski/secrets"
_TOKENS_FOLDER = f"{_SECRETS_FOLDER}/_tokens"  # a Secret's name has no underscore
# Parts of the spec that no worker reads: a change of these does not roll the Pods.
_NOT_FOR_WORKERS = ("autoscaling", "deletionPolicy", "encryption", "producers", "workers")


@dataclass(frozen=True, slots=True)
class WorkerDeployment:
    """One worker Deployment of a route."""

    name: str
    stage: str  # first | retry | sweep
    queue: str | None  # None: retry or sweep
    labels: Mapping[str, str]  # of its Pods


def worker_deployments(resolved: ResolvedRoute) -> list[WorkerDeployment]:
    """The Deployments of a route: one for each queue, draining ones included, and one for all retries."""
    route = resolved.route
    names = [queue.name for queue in route.queues]
    older = [name for generation in resolved.generations for name in generation.queues]
    workers = []
    for name in dict.fromkeys([*names, *older]):
        labels = worker_labels(route.name, {STAGE_LABEL: "first", QUEUE_LABEL: name})
        workers.append(WorkerDeployment(consumer_name(route.name, name), "first", name, labels))
    if route.ordering is Ordering.RELAXED and (resolved.rungs or resolved.retired_rungs):
        labels = worker_labels(route.name, {STAGE_LABEL: "retry"})
        workers.append(WorkerDeployment(retry_name(route.name), "retry", None, labels))
    return workers


def sweeper_of(resolved: ResolvedRoute) -> WorkerDeployment:
    """The sweeper: attempts nothing, and dead-letters what is about to expire in all queues and rungs."""
    route = resolved.route.name
    return WorkerDeployment(sweeper_name(route), SWEEP, None, worker_labels(route, {STAGE_LABEL: SWEEP}))


def deployment(worker: WorkerDeployment, resolved: ResolvedRoute, pods: WorkerPodTemplate) -> Object:
    """The Deployment as a manifest, still without its owner and hash."""
    spec = {
        "revisionHistoryLimit": 3,
        "selector": {"matchLabels": dict(worker.labels)},
        "template": pod_template(worker, resolved, pods),
    }
    document = new_object(DEPLOYMENT, worker.name, resolved.route, {"spec": spec})
    document["metadata"]["labels"].update(worker.labels)
    return document


def route_hash(resolved: ResolvedRoute) -> str:
    """A hash of everything that a worker reads of the route at its start, and of nothing else.

    Workers read `targets.allow[].suspend` again while they run.
    """
    document = resolved_document(resolved)
    spec = {name: value for name, value in document["route"]["spec"].items() if name not in _NOT_FOR_WORKERS}
    spec["suspend"] = spec.get("suspend", {}).get("delivery", False)
    rules = spec["targets"]["allow"]
    spec["targets"] = {
        **spec["targets"],
        "allow": [{k: v for k, v in rule.items() if k != "suspend"} for rule in rules],
    }
    content = orjson.dumps([spec, document["resolved"]], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(content).hexdigest()[:16]


def pod_template(worker: WorkerDeployment, resolved: ResolvedRoute, pods: WorkerPodTemplate) -> dict[str, Any]:
    """`{metadata, spec}` of a Pod that the restricted Pod security standard admits."""
    route = resolved.route
    workers = pod_values(route.document["spec"], pods.defaults)
    spec: dict[str, Any] = {
        "serviceAccountName": workers.get("serviceAccountName") or service_account_name(route.name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": route.delivery.timeout_seconds + GRACE_SECONDS,
        "securityContext": pod_security(pods.common),
        "dnsConfig": dns_config(pods.common),
        "containers": [_container(worker, route, pods, workers.get("resources"))],
        "volumes": [
            {"name": "route", "configMap": {"name": config_map_name(route.name)}},
            *(_secret_volume(name, optional) for name, optional in _secrets_for(worker, route).items()),
            *(_token_volume(rule, token) for rule, token in _tokens_for(worker, route)),
            *ca_volumes(route.name, pods.common),
        ],
        "topologySpreadConstraints": [
            each | {"labelSelector": {"matchLabels": dict(worker.labels)}}
            for each in workers.get("topologySpread", _SPREAD)
        ],
        **placement(workers),
    }
    if pods.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in pods.pull_secrets]
    annotations = {**workers["annotations"], ROUTE_HASH: route_hash(resolved), **ca_annotations(pods.common)}
    role = pods.role_in(route.namespace)
    if role:  # IRSA hands it to new Pods only
        annotations[ROLE_HASH] = hashlib.sha256(role.encode()).hexdigest()[:16]
    labels = {**workers["labels"], **worker.labels}  # no label of a route makes its Pods another Deployment's
    return {"metadata": {"labels": labels, "annotations": annotations}, "spec": spec}


def secrets_of(route: Route) -> dict[str, bool]:
    """The Secrets that the route's workers mount, and whether Pods start without them.

    The kubelet reads them; the operator never does. A Secret that is used by rules only is optional: without it the messages
    of these rules wait, and a mounted volume gets it once it exists
    (https://kubernetes.io/docs/concepts/configuration/secret/#restriction-secret-must-exist).
    """
    shared = [route.signing.secret_name] if route.signing and any(rule.signing is None for rule in route.allow) else []
    required = [*shared, *(rule.client_cert_secret_name for rule in route.allow)]
    optional = [rule.signing.secret_name for rule in route.allow if rule.signing is not None]
    for rule in route.allow:
        match rule.auth:
            case OAuth2():
                optional.append(rule.auth.secret_name)
            case tuple():
                optional += [header.secret_name for header in rule.auth]
    return {**dict.fromkeys(optional, True), **{name: False for name in required if name}}


def _secrets_for(worker: WorkerDeployment, route: Route) -> dict[str, bool]:
    # The sweeper calls no target, and must run even where a Secret is missing.
    return {} if worker.stage == SWEEP else secrets_of(route)


def _token_volume(rule: AllowRule, token: ServiceAccountToken) -> Object:
    source = {"audience": token.audience, "expirationSeconds": token.expiration_seconds, "path": "token"}
    return {"name": _token_name(rule), "projected": {"sources": [{"serviceAccountToken": source}]}}


def _token_name(rule: AllowRule) -> str:
    return "token-" + hashlib.sha256(rule.name.encode()).hexdigest()[:10]


def _tokens_for(worker: WorkerDeployment, route: Route) -> list[tuple[AllowRule, ServiceAccountToken]]:
    """The rules with a token of the workers' ServiceAccount, which the kubelet writes and renews."""
    pairs = [(rule, rule.auth) for rule in route.allow if isinstance(rule.auth, ServiceAccountToken)]
    return [] if worker.stage == SWEEP else pairs


def _secret_volume(name: str, optional: bool) -> Object:
    return {"name": _volume(name), "secret": {"secretName": name, **({"optional": True} if optional else {})}}


# A worker never calls its own Pod, whatever a route says.
_OWN_ADDRESSES = [
    {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
    for name, path in (("POD_IP", "status.podIP"), ("POD_IPS", "status.podIPs"))
]
_SPREAD = [
    {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway"}
    for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
]
# A variable, not a flag, which workers of an earlier release would refuse.
_COUNTED_BY_OPERATOR = {"CHASKI_COUNT_QUEUES": "false"}


def _container(
    worker: WorkerDeployment, route: Route, pods: WorkerPodTemplate, resources: Mapping[str, Any] | None
) -> dict[str, Any]:
    command = [
        "chaski-worker",
        _COMMANDS[worker.stage],
        "--route",
        f"{ROUTE_FOLDER}/{RESOLVED_KEY}",
    ]
    if worker.queue is not None:
        command += ["--queue", worker.queue]
    container: dict[str, Any] = {
        "name": "worker",
        "image": pods.image,
        "imagePullPolicy": pods.pull_policy,
        "command": [*command, "--metrics-port", str(METRICS_PORT)],
        "env": environment(_COUNTED_BY_OPERATOR | dict(pods.environment), pods.common, *_OWN_ADDRESSES),
        "ports": [{"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"}],
        "securityContext": dict(RESTRICTED_CONTAINER),
        "startupProbe": _probe("/readyz", period=2, failures=30),
        "livenessProbe": _probe("/healthz", period=10, failures=3),
        "readinessProbe": _probe("/readyz", period=5, failures=3),
        "volumeMounts": [
            {"name": "route", "mountPath": ROUTE_FOLDER, "readOnly": True},
            *(
                {"name": _volume(name), "mountPath": f"{_SECRETS_FOLDER}/{name}", "readOnly": True}
                for name in _secrets_for(worker, route)
            ),
            *(
                {"name": _token_name(rule), "mountPath": f"{_TOKENS_FOLDER}/{rule.name}", "readOnly": True}
                for rule, _ in _tokens_for(worker, route)
            ),
            *ca_mounts(pods.common),
        ],
    }
    if resources:
        container["resources"] = resources
    return container


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "metrics"},
        "periodSeconds": period,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }


def _volume(secret: str) -> str:
    # A Secret's name may have dots and 253 characters, a volume's neither.
    return "secret-" + hashlib.sha256(secret.encode()).hexdigest()[:10]
