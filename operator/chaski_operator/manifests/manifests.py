"""All Kubernetes objects of a route. Pure: computed from the resolved route and the settings."""

from collections.abc import Collection, Iterable, Mapping

from chaski_core.errors import FieldError
from chaski_core.message.target_url import TargetUrl, parse_url
from chaski_core.route.model import OAuth2, Route
from chaski_core.route.resolved import ResolvedRoute
from chaski_core.route.resolved_document import resolved_yaml
from chaski_operator.manifests.kinds import (
    BUDGET,
    CONFIG_MAP,
    NETWORK_POLICY,
    SERVICE_ACCOUNT,
    Object,
    new_object,
    with_hash,
    with_owner,
)
from chaski_operator.manifests.names import (
    REPLAYS,
    ROLE_ANNOTATION,
    ROUTE_OF_REPLAY_LABEL,
    config_map_name,
    replay_account_name,
    service_account_name,
    worker_labels,
)
from chaski_operator.manifests.pod_settings import aws_ports, ca_config_maps
from chaski_operator.manifests.worker_pod import (
    METRICS_PORT,
    RESOLVED_KEY,
    WorkerDeployment,
    deployment,
    sweeper_of,
    worker_deployments,
)
from chaski_operator.settings import PodTemplate, ToolPods, WorkerPodTemplate

_MAX_CONFIG_MAP_BYTES = 1_048_576


def desired_objects(
    resolved: ResolvedRoute, uid: str, pods: WorkerPodTemplate, tools: ToolPods | None = None, *, sweep: bool = False
) -> list[Object]:
    """All objects of a route, in the order of creation.

    Args:
        resolved: the route and its queues.
        uid: of the ChaskiRoute, which owns them all.
        pods: what is the same for all workers.
        tools: what is the same for all replays; None: replays are not configured.
        sweep: include the sweeper, which dead-letters what is about to expire.
    """
    route = resolved.route
    workers = worker_deployments(resolved)
    resolved_data = {"data": {RESOLVED_KEY: resolved_yaml([resolved])}}
    objects = [
        new_object(CONFIG_MAP, config_map_name(route.name), route, resolved_data),
        *ca_config_maps(route, pods.common),
        *_service_account(route, pods),
        *([_network_policy(route, pods)] if pods.network_policy else []),
        *(_for_replays(route, tools) if tools else []),
        *(_budget(worker, route) for worker in workers),
        *(deployment(each, resolved, pods) for each in [*workers, *([sweeper_of(resolved)] if sweep else [])]),
    ]
    return [with_hash(with_owner(each, route, uid)) for each in objects]


def oversize(objects: Iterable[Object]) -> FieldError | None:
    """Why the route is too large to be handed to its workers; None if it is not.

    Limit: the values of a ConfigMap together, `ValidateConfigMap` of k8s.io/kubernetes. Rules of the definition can't
    express it, because the size depends on the names of the queues and on how characters are escaped.
    """
    for each in objects:
        if each["kind"] == CONFIG_MAP.kind:
            size = sum(len(text.encode()) for text in each["data"].values())
            if size > _MAX_CONFIG_MAP_BYTES:
                return FieldError(
                    "spec",
                    f"makes, with the route's queues, a ConfigMap of {size} bytes, but at most {_MAX_CONFIG_MAP_BYTES} are"
                    " allowed; shorten caBundles and patterns, or use fewer partitions",
                )
    return None


def _service_account(route: Route, pods: WorkerPodTemplate) -> list[Object]:
    if (route.document["spec"].get("workers") or {}).get("serviceAccountName"):
        return []  # the user's own account: neither created nor changed
    return [_account(service_account_name(route.name), route, pods)]


def _account(name: str, route: Route, pods: PodTemplate) -> Object:
    account = new_object(SERVICE_ACCOUNT, name, route, _NO_TOKEN)
    role = pods.role_in(route.namespace)
    if role:
        account["metadata"]["annotations"] = {ROLE_ANNOTATION: role}
    return account


_NO_TOKEN = {"automountServiceAccountToken": False}


def _for_replays(route: Route, tools: ToolPods) -> list[Object]:
    """ServiceAccount and NetworkPolicy of the route's replay Jobs; created with the route, before any replay needs them."""
    name = replay_account_name(route.name)
    account = _account(name, route, tools)
    if not tools.network_policy:
        return [account]
    selector = {"app.kubernetes.io/name": REPLAYS, ROUTE_OF_REPLAY_LABEL: route.name}
    spec = _network_spec(selector, tools, aws_ports(tools.environment))
    policy = new_object(NETWORK_POLICY, name, route, {"spec": spec})
    return [account, policy]


def _budget(worker: WorkerDeployment, route: Route) -> Object:
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": dict(worker.labels)}}
    budget = new_object(BUDGET, worker.name, route, {"spec": spec})
    budget["metadata"]["labels"].update(worker.labels)
    return budget


def _network_policy(route: Route, pods: WorkerPodTemplate) -> Object:
    called = [rule.url.replace("*.", "", 1) for rule in route.allow]
    called += [rule.auth.token_url for rule in route.allow if isinstance(rule.auth, OAuth2)]
    urls = map(parse_url, called)
    ports = {url.port for url in urls if isinstance(url, TargetUrl)} | aws_ports(pods.environment)
    spec = _network_spec(worker_labels(route.name), pods, ports)
    return new_object(NETWORK_POLICY, config_map_name(route.name), route, {"spec": spec})


def _network_spec(labels: Mapping[str, str], pods: PodTemplate, ports: Collection[int]) -> Object:
    """Ingress: metrics and progress only, for the peers that may read them. Egress: DNS, web ports, `ports` (of targets and of AWS) and the Pod Identity agent."""
    dns = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    targets = [{"protocol": "TCP", "port": port} for port in sorted({80, 443, *ports})]
    agent = [{"ipBlock": {"cidr": cidr}} for cidr in ("169.254.170.23/32", "fd00:ec2::23/128")]
    # Never the metadata service of a node: it hands out the node's credentials.
    anywhere = [
        {"namespaceSelector": {}},  # some network plugins do not count Pods as IP blocks
        {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}},
        {"ipBlock": {"cidr": "::/0", "except": ["fd00:ec2::/32", "fe80::/10"]}},
    ]
    scrapes: Object = {"ports": [{"protocol": "TCP", "port": METRICS_PORT}]}
    if pods.metrics_from:
        scrapes["from"] = [dict(peer) for peer in pods.metrics_from]
    return {
        "podSelector": {"matchLabels": dict(labels)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [scrapes],
        "egress": [
            {"ports": dns},
            {"to": agent, "ports": [{"protocol": "TCP", "port": 80}]},
            {"to": anywhere, "ports": targets},
        ],
    }
