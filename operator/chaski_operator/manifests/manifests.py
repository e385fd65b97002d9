"""Every object that a route becomes in the cluster. Pure: a route and what was made for it in, objects out.

No object says how many Pods there are: `spec.replicas` is the autoscaler's, or whoever's the route leaves it to.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from chaski_core.message.target_url import TargetUrl, parse_url
from chaski_core.route.model import Ordering, Route
from chaski_core.route.resolved import ResolvedRoute
from chaski_core.route.resolved_document import resolved_yaml
from chaski_core.route.validation.crd import GROUP_VERSION, KIND
from chaski_operator.manifests.names import (
    MANAGED_BY_LABEL,
    MANAGER,
    MANIFEST_HASH,
    QUEUE_LABEL,
    REPLAYS,
    ROLE_ANNOTATION,
    ROUTE_LABEL,
    ROUTE_OF_REPLAY_LABEL,
    STAGE_LABEL,
    config_map_name,
    consumer_name,
    replay_account_name,
    retry_name,
    service_account_name,
    sweeper_name,
)
from chaski_operator.manifests.worker_pod import METRICS_PORT, RESOLVED_KEY, SWEEP, WorkerDeployment, pod_template
from chaski_operator.settings import ToolPods, WorkerPodTemplate

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object that the operator makes."""

    api_version: str
    kind: str
    plural: str


CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
SERVICE_ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
NETWORK_POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
# In the order in which they are made: a Pod needs its ConfigMap and its ServiceAccount.
KINDS = (CONFIG_MAP, SERVICE_ACCOUNT, NETWORK_POLICY, BUDGET, DEPLOYMENT)


def desired_objects(
    resolved: ResolvedRoute, uid: str, pods: WorkerPodTemplate, tools: ToolPods | None = None, *, sweep: bool = False
) -> list[Object]:
    """All objects of a route, in the order in which they are made.

    Args:
        resolved: the route and its queues.
        uid: of the ChaskiRoute, which owns them all.
        pods: what is the same for all workers.
        tools: what is the same for all replays; None: there are none.
        sweep: with the worker that keeps what is about to expire.
    """
    route = resolved.route
    jobs = jobs_of(resolved)
    objects = [
        _object(CONFIG_MAP, config_map_name(route.name), route, {"data": {RESOLVED_KEY: resolved_yaml([resolved])}}),
        *_service_account(route, pods),
        *([_network_policy(route)] if pods.network_policy else []),
        *(_of_replays(route, tools) if tools else []),
        *(_budget(job, route) for job in jobs),
        *(_deployment(job, resolved, pods) for job in [*jobs, *([sweeper_of(resolved)] if sweep else [])]),
    ]
    return [_sealed(_owned(each, route, uid)) for each in objects]


def jobs_of(resolved: ResolvedRoute) -> list[WorkerDeployment]:
    """The Deployments of a route: one for each queue, those running empty included, and one for all retries."""
    route = resolved.route
    names = [queue.name for queue in route.queues]
    older = [name for generation in resolved.generations for name in generation.queues]
    jobs = [
        WorkerDeployment(
            consumer_name(route.name, name), "first", name, _labels(route, {STAGE_LABEL: "first", QUEUE_LABEL: name})
        )
        for name in dict.fromkeys([*names, *older])
    ]
    if route.ordering is Ordering.RELAXED and (resolved.rungs or resolved.retired_rungs):
        jobs.append(WorkerDeployment(retry_name(route.name), "retry", None, _labels(route, {STAGE_LABEL: "retry"})))
    return jobs


def sweeper_of(resolved: ResolvedRoute) -> WorkerDeployment:
    """The Deployment that attempts nothing and keeps what is about to expire, of all queues and rungs."""
    route = resolved.route
    return WorkerDeployment(sweeper_name(route.name), SWEEP, None, _labels(route, {STAGE_LABEL: SWEEP}))


def kind_of(document: Mapping[str, Any]) -> Kind:
    """The kind of an object that `desired_objects` made."""
    return next(kind for kind in KINDS if kind.kind == document["kind"])


def _labels(route: Route, more: Mapping[str, str]) -> dict[str, str]:
    return {"app.kubernetes.io/name": "chaski-worker", ROUTE_LABEL: route.name, **more}


def _object(kind: Kind, name: str, route: Route, content: Mapping[str, Any]) -> Object:
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {
            "name": name,
            "namespace": route.namespace,
            "labels": {**_labels(route, {}), MANAGED_BY_LABEL: MANAGER},
        },
        **content,
    }


def _service_account(route: Route, pods: WorkerPodTemplate) -> list[Object]:
    if (route.document["spec"].get("workers") or {}).get("serviceAccountName"):
        return []  # somebody else's: not ours to make or to change
    made = _object(SERVICE_ACCOUNT, service_account_name(route.name), route, {"automountServiceAccountToken": False})
    if pods.role_arn:
        made["metadata"]["annotations"] = {ROLE_ANNOTATION: pods.role_arn}
    return [made]


def _of_replays(route: Route, tools: ToolPods) -> list[Object]:
    """What the Jobs of a route's ChaskiReplays use: an account with rights of its own, made before anybody needs it."""
    name = replay_account_name(route.name)
    account = _object(SERVICE_ACCOUNT, name, route, {"automountServiceAccountToken": False})
    if tools.role_arn:
        account["metadata"]["annotations"] = {ROLE_ANNOTATION: tools.role_arn}
    if not tools.network_policy:
        return [account]
    selector = {"app.kubernetes.io/name": REPLAYS, ROUTE_OF_REPLAY_LABEL: route.name}
    policy = _object(NETWORK_POLICY, name, route, {"spec": _network_spec(selector)})
    return [account, policy]


def _budget(job: WorkerDeployment, route: Route) -> Object:
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": dict(job.labels)}}
    return _with_labels(_object(BUDGET, job.name, route, {"spec": spec}), job)


def _deployment(job: WorkerDeployment, resolved: ResolvedRoute, pods: WorkerPodTemplate) -> Object:
    spec = {
        "revisionHistoryLimit": 3,
        "selector": {"matchLabels": dict(job.labels)},
        "template": pod_template(job, resolved, pods),
    }
    return _with_labels(_object(DEPLOYMENT, job.name, resolved.route, {"spec": spec}), job)


def _network_policy(route: Route) -> Object:
    own = {url.port for rule in route.allow if isinstance(url := parse_url(rule.url.replace("*.", "", 1)), TargetUrl)}
    spec = _network_spec(_labels(route, {}), own)
    return _object(NETWORK_POLICY, config_map_name(route.name), route, {"spec": spec})


def _network_spec(labels: Mapping[str, str], ports: Collection[int] = ()) -> Object:
    """In only for metrics and progress; out only to DNS, web ports, these ports and the Pod Identity agent."""
    names = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    out = [{"protocol": "TCP", "port": port} for port in sorted({80, 443, *ports})]
    agent = [{"ipBlock": {"cidr": cidr}} for cidr in ("169.254.170.23/32", "fd00:ec2::23/128")]
    # Never the metadata service of a node: it hands out the node's credentials.
    anywhere = [
        {"namespaceSelector": {}},  # some networks don't count Pods among addresses
        {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}},
        {"ipBlock": {"cidr": "::/0", "except": ["fd00:ec2::/32", "fe80::/10"]}},
    ]
    return {
        "podSelector": {"matchLabels": dict(labels)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"ports": [{"protocol": "TCP", "port": METRICS_PORT}]}],
        "egress": [
            {"ports": names},
            {"to": agent, "ports": [{"protocol": "TCP", "port": 80}]},
            {"to": anywhere, "ports": out},
        ],
    }


def _with_labels(document: Object, job: WorkerDeployment) -> Object:
    document["metadata"]["labels"].update(job.labels)
    return document


def _owned(document: Object, route: Route, uid: str) -> Object:
    document["metadata"]["ownerReferences"] = [
        {
            "apiVersion": GROUP_VERSION,
            "kind": KIND,
            "name": route.name,
            "uid": uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]
    return document


def _sealed(document: Object) -> Object:
    """With a hash of the whole, so that a field that is no longer wanted is seen as a difference too."""
    digest = hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
    document["metadata"].setdefault("annotations", {})[MANIFEST_HASH] = digest
    return document
