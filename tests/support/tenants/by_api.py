"""Actions at the API server, with the credentials of a team's developer."""

import json
from typing import Any

from support.tenants.action import Action, Kind, Means, by_bob_or_mallory, by_platform_or_mallory
from support.tenants.scene import DONE, REPLAY, ROUTE, SECRET, Actor, Scene, replay

_FORBIDDEN = "Forbidden"
_WRITES = {"apply", "create", "delete", "label", "patch", "scale"}
_ADDED = {"name": "added", "url": "http://target.<mallory>.svc.cluster.local:8080/", "cidrs": ["10.0.0.0/8"]}
_CONTAINER_SECURITY = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def _ran(scene: Scene, actor: Actor, *arguments: str, document: Any = None, only_tried: bool) -> str:
    """Runs kubectl with Bob's names filled in. A write by an actor who may do it is checked by the API server and not stored."""
    dry = ["--dry-run=server"] if only_tried and arguments[0] in _WRITES and arguments[1] != "token" else []
    text = None if document is None else scene.filled(json.dumps(document))
    return actor.kubectl(*map(scene.filled, arguments), *dry, document=text)


def _on_bobs(kind: Kind, text: str, *arguments: str, document: Any = None) -> Action:
    """An action in Bob's namespace."""
    more = ("-f", "-") if document else ()

    def act(scene: Scene, actor: Actor) -> str:
        return _ran(scene, actor, *arguments, *more, document=document, only_tried=actor is scene.bob)

    return by_bob_or_mallory(kind, Means.API, text, _FORBIDDEN, DONE, act)


def _on_platforms(kind: Kind, text: str, *arguments: str, document: Any = None) -> Action:
    """An action on what belongs to the platform."""
    more = ("-f", "-") if document else ()
    return by_platform_or_mallory(
        kind,
        text,
        lambda scene, actor, tried: _ran(scene, actor, *arguments, *more, document=document, only_tried=tried),
    )


def _merge(kind: str, name: str, patch: Any, *more: str) -> tuple[str, ...]:
    return ("patch", kind, name, "-n", "<bob>", "--type=merge", "-p", json.dumps(patch), *more)


def _pod(name: str, **spec: Any) -> dict[str, Any]:
    security = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    container = {"name": "main", "image": "localhost/pause:1", "securityContext": _CONTAINER_SECURITY}
    metadata = {"name": name, "namespace": "<bob>"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"securityContext": security, "containers": [container], **spec},
    }


def _route(name: str) -> dict[str, Any]:
    spec = {"queues": [{"name": "messages"}], "targets": {"allow": [_ADDED]}}
    metadata = {"name": name, "namespace": "<bob>"}
    return {"apiVersion": "chaski.dev/v1alpha1", "kind": "ChaskiRoute", "metadata": metadata, "spec": spec}


def _config_map(name: str) -> dict[str, Any]:
    labels = {"app.kubernetes.io/managed-by": "chaski-operator"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "<bob>", "labels": labels}}


def _endpoints() -> dict[str, Any]:
    metadata = {
        "name": "more",
        "namespace": "<system>",
        "labels": {"kubernetes.io/service-name": "chaski-ingest"},
    }
    ports = [{"name": "http", "port": 8080, "protocol": "TCP"}]
    document = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata}
    return {**document, "addressType": "IPv4", "endpoints": [{"addresses": ["10.244.0.250"]}], "ports": ports}


def _policy() -> dict[str, Any]:
    spec: dict[str, Any] = {"namespaceSelector": {}, "allow": {"hosts": []}}
    return {
        "apiVersion": "chaski.dev/v1alpha1",
        "kind": "ChaskiPolicy",
        "metadata": {"name": "of-mallory"},
        "spec": spec,
    }


_THIEF = [{"name": "thief", "image": "localhost/pause:1", "securityContext": _CONTAINER_SECURITY}]
_WORKERS = f"deployment/chaski-{ROUTE}-messages"

READING = (
    _on_bobs(Kind.READ, "a route: its targets and its producers", "get", "chaskiroute", ROUTE, "-n", "<bob>"),
    _on_bobs(Kind.READ, "a replay: what it sampled", "get", "chaskireplay", REPLAY, "-n", "<bob>"),
    _on_bobs(Kind.READ, "a Secret with a target's credential", "get", "secret", SECRET, "-n", "<bob>"),
    _on_bobs(Kind.READ, "the resolved route: queues and table", "get", "configmap", f"chaski-{ROUTE}", "-n", "<bob>"),
    _on_bobs(Kind.READ, "the log of a worker", "logs", "<worker>", "-n", "<bob>", "--tail=1"),
    _on_bobs(
        Kind.READ, "a worker's files, by exec", "exec", "<worker>", "-n", "<bob>", "--", "/opt/chaski/bin/python", "-V"
    ),
    _on_bobs(
        Kind.READ, "a worker's metrics", "get", "--raw", "/api/v1/namespaces/<bob>/pods/<worker>:9090/proxy/metrics"
    ),
    _on_platforms(Kind.READ, "all routes of the cluster", "get", "chaskiroutes", "--all-namespaces"),
    _on_platforms(Kind.READ, "the key of ingest's certificate", "get", "secret", "chaski-ingest-tls", "-n", "<system>"),
    _on_platforms(Kind.READ, "the log of ingest", "logs", "deployment/chaski-ingest", "-n", "<system>", "--tail=1"),
)
SENDING = (
    _on_bobs(Kind.SEND, "a token of a producer", "create", "token", "producer", "--audience=chaski", "-n", "<bob>"),
    _on_bobs(
        Kind.SEND, "the identity of a producer", "get", "--raw", "/apis", "--as=system:serviceaccount:<bob>:producer"
    ),
    _on_bobs(
        Kind.SEND,
        "a Pod with a producer's ServiceAccount",
        "create",
        document=_pod("sender", serviceAccountName="producer"),
    ),
    _on_bobs(
        Kind.SEND,
        "a Pod with the workers' ServiceAccount, for their AWS role",
        "create",
        document=_pod("worker", serviceAccountName=f"chaski-{ROUTE}"),
    ),
)
REPLAYING = (
    _on_bobs(Kind.REPLAY, "a ChaskiReplay", "create", document=replay("<bob>", "forced")),
    _on_bobs(Kind.REPLAY, "a suspended replay, resumed", *_merge("chaskireplay", REPLAY, {"spec": {"suspend": False}})),
)
STOPPING = (
    _on_bobs(Kind.STOP, "a replay, deleted", "delete", "chaskireplay", REPLAY, "-n", "<bob>"),
    _on_bobs(Kind.STOP, "a route, deleted", "delete", "chaskiroute", ROUTE, "-n", "<bob>"),
    _on_bobs(
        Kind.STOP, "delivery, suspended", *_merge("chaskiroute", ROUTE, {"spec": {"suspend": {"delivery": True}}})
    ),
    _on_bobs(Kind.STOP, "workers, scaled to zero", "scale", _WORKERS, "--replicas=0", "-n", "<bob>"),
    _on_bobs(Kind.STOP, "a worker, deleted", "delete", "pod", "<worker>", "-n", "<bob>"),
    _on_platforms(
        Kind.STOP,
        "the operator, scaled to zero",
        "scale",
        "deployment/chaski-operator",
        "--replicas=0",
        "-n",
        "<system>",
    ),
    _on_platforms(Kind.STOP, "the operator's lease, deleted", "delete", "lease", "chaski-operator", "-n", "<system>"),
    _on_platforms(
        Kind.STOP, "all routes of the cluster, by a policy that denies every host", "create", document=_policy()
    ),
)
FORGING = (
    _on_bobs(
        Kind.FORGE,
        "a target of one's own in a route",
        *_merge("chaskiroute", ROUTE, {"spec": {"targets": {"allow": [_ADDED]}}}),
    ),
    _on_bobs(Kind.FORGE, "a route", "create", document=_route("forged")),
    _on_bobs(Kind.FORGE, "a target's credential", *_merge("secret", SECRET, {"stringData": {"header": "forged"}})),
    _on_bobs(
        Kind.FORGE,
        "a container in the workers' Pods",
        *_merge(
            "deployment",
            f"chaski-{ROUTE}-messages",
            {"spec": {"template": {"spec": {"containers": _THIEF}}}},
            "--dry-run=server",
        ),
    ),
    _on_platforms(
        Kind.FORGE,
        "other queues in the status of one's own route",
        "patch",
        "chaskiroute",
        ROUTE,
        "-n",
        "<mallory>",
        "--subresource=status",
        "--type=merge",
        "-p",
        '{"status": {"installation": "another"}}',
    ),
    _on_platforms(
        Kind.FORGE,
        "other policies for one's own namespace, by its labels",
        "label",
        "namespace",
        "<mallory>",
        "kubernetes.io/metadata.name=free",
        "--overwrite",
    ),
    _on_platforms(
        Kind.FORGE, "an endpoint of ingest, to get others' messages and tokens", "create", document=_endpoints()
    ),
)
SQUATTING = (
    _on_bobs(
        Kind.SQUAT, "an object under the name that a route will need", "create", document=_config_map("chaski-later")
    ),
)
ACTIONS = (*READING, *SENDING, *REPLAYING, *STOPPING, *FORGING, *SQUATTING)
