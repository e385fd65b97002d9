"""The worker Pod of one Deployment. Pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from chaski_core.route.model import Route
from chaski_core.route.resolved import ResolvedRoute
from chaski_core.route.resolved_document import resolved_document
from chaski_operator.manifests.names import ROUTE_HASH, config_map_name, service_account_name
from chaski_operator.settings import WorkerPodTemplate

METRICS_PORT = 9090
SWEEP = "sweep"
_COMMANDS = {"first": "consume", "retry": "retry", SWEEP: "sweep"}
USER = 65532  # "nonroot" of distroless images; any number but 0 does
GRACE_SECONDS = 15  # beside the route's timeout: for deletes and what is given back
RESOLVED_KEY = "resolved.yaml"
ROUTE_FOLDER = "/etc/chaski/route"
_SECRETS_FOLDER = "/etc/chaski/secrets"
#: What the restricted Pod security standard asks for.
RESTRICTED_POD: Mapping[str, Any] = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}
RESTRICTED_CONTAINER: Mapping[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
# What a worker never looks at: a change of these restarts nobody.
_NOT_FOR_WORKERS = ("autoscaling", "deletionPolicy", "producers", "workers")


@dataclass(frozen=True, slots=True)
class WorkerDeployment:
    """What one Deployment's Pods do."""

    name: str  # of the Deployment
    stage: str  # first | retry | sweep
    queue: str | None  # None: retry or sweep
    labels: Mapping[str, str]


def route_hash(resolved: ResolvedRoute) -> str:
    """Changes with all that a worker reads, and with nothing else."""
    document = resolved_document(resolved)
    spec = {name: value for name, value in document["route"]["spec"].items() if name not in _NOT_FOR_WORKERS}
    spec["suspend"] = spec.get("suspend", {}).get("delivery", False)
    told = orjson.dumps([spec, document["resolved"]], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(told).hexdigest()[:16]


def pod_template(job: WorkerDeployment, resolved: ResolvedRoute, pods: WorkerPodTemplate) -> dict[str, Any]:
    """`{metadata, spec}`: fit for namespaces that enforce the restricted Pod security standard."""
    route = resolved.route
    workers = route.document["spec"].get("workers") or {}
    spec: dict[str, Any] = {
        "serviceAccountName": workers.get("serviceAccountName") or service_account_name(route.name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": route.delivery.timeout_seconds + GRACE_SECONDS,
        "securityContext": dict(RESTRICTED_POD),
        "containers": [_container(job, route, pods)],
        "volumes": [
            {"name": "route", "configMap": {"name": config_map_name(route.name)}},
            *({"name": _volume(name), "secret": {"secretName": name}} for name in _secrets_for(job, route)),
        ],
        "topologySpreadConstraints": [_spread(key, job.labels) for key in ("kubernetes.io/hostname", _ZONE)],
    }
    if pods.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in pods.pull_secrets]
    for name in ("nodeSelector", "tolerations"):
        if workers.get(name):
            spec[name] = workers[name]
    return {"metadata": {"labels": dict(job.labels), "annotations": {ROUTE_HASH: route_hash(resolved)}}, "spec": spec}


def secrets_of(route: Route) -> list[str]:
    """Names of the Secrets that its workers mount; the kubelet reads them, the operator never does."""
    signing = (route.document["spec"].get("signing") or {}).get("secretName")
    clients = [rule.client_cert_secret_name for rule in route.allow]
    return list(dict.fromkeys(name for name in (signing, *clients) if name))


def _secrets_for(job: WorkerDeployment, route: Route) -> list[str]:
    return [] if job.stage == SWEEP else secrets_of(route)  # it calls no target, and must run where a Secret is missing


# A worker never calls its own Pod, whatever a route says.
_OWN_ADDRESSES = [
    {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
    for name, path in (("POD_IP", "status.podIP"), ("POD_IPS", "status.podIPs"))
]
_ZONE = "topology.kubernetes.io/zone"


def _container(job: WorkerDeployment, route: Route, pods: WorkerPodTemplate) -> dict[str, Any]:
    command = [
        "chaski-worker",
        _COMMANDS[job.stage],
        "--route",
        f"{ROUTE_FOLDER}/{RESOLVED_KEY}",
    ]
    if job.queue is not None:
        command += ["--queue", job.queue]
    container: dict[str, Any] = {
        "name": "worker",
        "image": pods.image,
        "imagePullPolicy": pods.pull_policy,
        "command": [*command, "--metrics-port", str(METRICS_PORT)],
        "env": [*({"name": name, "value": value} for name, value in sorted(pods.environment.items())), *_OWN_ADDRESSES],
        "ports": [{"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"}],
        "securityContext": dict(RESTRICTED_CONTAINER),
        "startupProbe": _probe("/readyz", period=2, failures=30),
        "livenessProbe": _probe("/healthz", period=10, failures=3),
        "readinessProbe": _probe("/readyz", period=5, failures=3),
        "volumeMounts": [
            {"name": "route", "mountPath": ROUTE_FOLDER, "readOnly": True},
            *(
                {"name": _volume(name), "mountPath": f"{_SECRETS_FOLDER}/{name}", "readOnly": True}
                for name in _secrets_for(job, route)
            ),
        ],
    }
    resources = (route.document["spec"].get("workers") or {}).get("resources")
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


def _spread(key: str, labels: Mapping[str, str]) -> dict[str, Any]:
    return {
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": dict(labels)},
    }


def _volume(secret: str) -> str:
    # A Secret's name may have dots and 253 characters, a volume's neither.
    return "secret-" + hashlib.sha256(secret.encode()).hexdigest()[:10]
