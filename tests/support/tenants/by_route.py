"""Actions of routes of one's own: what a policy denies, and what a route must not reach."""

from collections.abc import Mapping
from typing import Any

from support.cluster.pods import PRIVATE, PRODUCER
from support.tenants.action import Action, Kind, Means, by_bob_or_mallory
from support.tenants.scene import DONE, ROUTE, SHARED, Actor, Scene, Tenant, replay

_TRIED = "tried"
_WITHOUT_PODS = {"minReplicas": 0, "maxReplicas": 1}
_LIMITED = {"ratePerSecond": 50}


def _accepted(scene: Scene, tenant: Tenant, spec: Mapping[str, Any]) -> str:
    """Applies a route; `Accepted`, or the reason why it is not. The route is deleted."""
    producers = [{"namespace": tenant.namespace, "serviceAccount": PRODUCER, **_LIMITED}]
    given = {"producers": producers, "autoscaling": _WITHOUT_PODS, **spec}
    tenant.team.route(_TRIED, **given)

    def judged() -> str | None:
        conditions = tenant.team.status(_TRIED).get("conditions", [])
        found = next((each for each in conditions if each["type"] == "Accepted"), None)
        return None if found is None else "Accepted" if found["status"] == "True" else str(found["reason"])

    try:
        return scene.cluster.until(f"a judgement of {spec}", judged, 60)
    finally:
        scene.cluster.kubectl("delete", "chaskiroute", _TRIED, "-n", tenant.namespace, "--timeout=60s")


def _denied(kind: Kind, text: str, spec: Mapping[str, Any]) -> Action:
    """A route that the policy for Mallory's namespace denies, and none denies in Bob's."""

    def act(scene: Scene, tenant: Tenant) -> str:
        return _accepted(scene, tenant, _filled(scene, spec))

    return by_bob_or_mallory(kind, Means.ROUTE, text, "PolicyDenied", "Accepted", act)


def _filled(scene: Scene, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _filled(scene, each) for name, each in value.items()}
    if isinstance(value, list):
        return [_filled(scene, each) for each in value]
    return scene.filled(value) if isinstance(value, str) else value


def _replay_of_bobs(scene: Scene, tenant: Tenant) -> str:
    """A replay in one's own namespace that names a route of Bob's."""
    document = replay(tenant.namespace, "of-bobs", routeRef={"name": SHARED})
    seen = tenant.kubectl("create", "-f", "-", document=document)
    if seen != DONE:
        return seen

    def ended() -> str | None:
        status = scene.cluster.get("chaskireplay", "of-bobs", "-n", tenant.namespace).get("status", {})
        waits = [each["reason"] for each in status.get("conditions", []) if each["reason"] == "RouteNotFound"]
        return waits[0] if waits else "Complete" if status.get("phase") == "Complete" else None

    try:
        return scene.cluster.until("the end of the replay", ended, 90)
    finally:
        scene.cluster.kubectl("delete", "chaskireplay", "of-bobs", "-n", tenant.namespace, "--timeout=60s")


def _replay_content(text: str, **spec: Any) -> Action:
    """A replay that needs a verb that the role of a replayer does not have."""

    def act(actor: Actor, scene: Scene, *more: str) -> str:
        document = replay(scene.mallory.namespace, "content", **spec)
        return actor.kubectl("create", *more, "-f", "-", document=document)

    return Action(
        Kind.READ,
        Means.API,
        text,
        "Forbidden",
        lambda scene: act(scene.mallory, scene),
        "the administrator",
        DONE,
        lambda scene: act(scene.platform, scene, "--dry-run=server"),
    )


def _other_queues(scene: Scene, tenant: Tenant) -> str:
    """Whether the tenant's route of the same name as Bob's has Bob's queues."""
    resolved = [str(each.team.status(ROUTE)["resolved"]) for each in (tenant, scene.bob)]
    return "the same queues" if resolved[0] == resolved[1] else "queues of its own"


ACTIONS = (
    _denied(
        Kind.SEND,
        "an allow rule for a target of others, against a policy",
        {
            "targets": {
                "allow": [{"name": "theirs", "url": "http://target.<bob>.svc.cluster.local:8080/", "cidrs": PRIVATE}]
            }
        },
    ),
    _denied(
        Kind.READ,
        "a Secret that a policy does not name",
        {
            "targets": {
                "allow": [
                    {
                        "name": "own",
                        "url": "http://target.<mallory>.svc.cluster.local:8080/",
                        "cidrs": PRIVATE,
                        "auth": {"headers": [{"name": "Authorization", "secretName": "database", "key": "password"}]},
                    }
                ]
            }
        },
    ),
    _denied(Kind.READ, "a ServiceAccount that a policy does not name", {"workers": {"serviceAccountName": "default"}}),
    _denied(Kind.EXHAUST, "50 Pods, against a policy", {"autoscaling": {"minReplicas": 0, "maxReplicas": 50}}),
    _denied(Kind.EXHAUST, "8 partitions, against a policy", {"queues": [{"name": "messages", "partitions": 8}]}),
    _denied(
        Kind.EXHAUST,
        "a producer without a rate, against a policy",
        {"producers": [{"namespace": "<mallory>", "serviceAccount": PRODUCER}]},
    ),
    by_bob_or_mallory(
        Kind.REPLAY,
        Means.ROUTE,
        "a ChaskiReplay of a route in another namespace",
        "RouteNotFound",
        "Complete",
        _replay_of_bobs,
    ),
    _replay_content("content of messages, by a replay's filter", filter={"text": "secret"}),
    _replay_content("whole messages, by a replay to another URL", toURL="https://mallory.example/"),
    by_bob_or_mallory(
        Kind.SQUAT,
        Means.ROUTE,
        "the queues of a route, by a route of the same name",
        "queues of its own",
        "the same queues",
        _other_queues,
    ),
)
