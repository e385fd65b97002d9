"""Two tenants in a cluster: Mallory, who attacks, and Bob, whose the objects are. A third actor is the platform's administrator."""

import base64
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from support.cluster.cluster import SYSTEM, Cluster
from support.cluster.namespaces import Namespaces
from support.cluster.pods import PRIVATE, PRODUCER, TeamNamespace

ROUTE, SHARED, ACTOR, SECRET, REPLAY = "orders", "shared", "actor", "target-token", "old-orders"
"""Names of Bob's objects; each tenant has a route, a Secret and a Pod of these names too."""

KEY = base64.b64encode(os.urandom(32)).decode()
DONE = "done"
CONCURRENCY = 4  # attempts at a time of each worker
_DEVELOPER = "developer"
_ROLES = ("edit", "chaski-route-editor", "chaski-replayer")
_REASON = re.compile(r"Error from server \((\w+)\)|(?<=is )(forbidden)")


@dataclass
class Actor:
    """A user of the API server."""

    cluster: Cluster
    kubeconfig: Path | None = None  # none: the administrator's

    def kubectl(self, *arguments: str, document: Any = None) -> str:
        """Runs kubectl; `done`, or the API server's reason for the refusal."""
        given = [] if self.kubeconfig is None else ["--kubeconfig", str(self.kubeconfig)]
        ran = self.cluster.try_kubectl(*given, *arguments, document=document)
        if ran.returncode == 0:
            return DONE
        found = _REASON.search(ran.stderr)
        return (found[1] or found[2]).capitalize() if found else ran.stderr.strip()[-300:]


@dataclass
class Tenant(Actor):
    """The developer of a team, bound to the roles of docs/teams.md in the team's namespace only."""

    team: TeamNamespace = field(kw_only=True)

    @property
    def namespace(self) -> str:
        """The team's namespace."""
        return self.team.namespace

    def token(self, *arguments: str) -> str:
        """A token of the team's producer, for ingest by default."""
        given = arguments or ("--audience=chaski",)
        return self.cluster.kubectl("create", "token", PRODUCER, "-n", self.namespace, *given).strip()

    def ask_ingest(self, *requests: Mapping[str, Any]) -> list[str]:
        """The results of requests that the team's Pod makes."""
        host = f"chaski-ingest.{SYSTEM}.svc.cluster.local"
        command = ("exec", "-i", "-n", self.namespace, ACTOR, "--", "python3", "/scripts/actor.py", host)
        found: list[str] = json.loads(self.cluster.kubectl(*command, document=json.dumps(requests)))
        return found

    def outcome(self, label: str, url: str, at: TeamNamespace | None = None, seconds: float = 60) -> str:
        """What becomes of a message of the team's own route within that time; otherwise AssertionError.

        Returns:
            `delivered` if the team's own target, or that of `at`, got it; otherwise the class of its dead letter.
        """
        message = {"id": label, "subject": label, "body": {"url": url, "content": {"subject": label, "sequence": 1}}}
        (accepted,) = self.ask_ingest(post(self.namespace, ROUTE, message, self.token()))
        if not accepted.startswith("202"):
            return accepted

        def ended() -> str | None:
            if label in (at or self.team).seen()["seen"]:
                return "delivered"
            return next(
                (f"dead letter {each['errorClass']}" for each in self._dead_letters() if each["id"] == label), None
            )

        return self.cluster.until(f"the end of the message {label}", ended, seconds)

    def _dead_letters(self) -> list[dict[str, Any]]:
        table = self.team.status(ROUTE)["resolved"]["deadLetterTable"]
        condition = "attribute_exists(deadLetteredAt)"
        items = self.cluster.aws("dynamodb").scan(TableName=table, FilterExpression=condition)["Items"]
        return [{name: next(iter(value.values())) for name, value in item.items()} for item in items]


@dataclass
class Scene:
    """All actors, and the names of Bob's objects that exist once it is set up."""

    cluster: Cluster
    mallory: Tenant
    bob: Tenant
    platform: Actor
    names: dict[str, str] = field(default_factory=dict)

    def filled(self, text: str) -> str:
        """A text with names in place of `<bob>`, `<mallory>`, `<worker>` and others."""
        for name, value in self.names.items():
            text = text.replace(f"<{name}>", value)
        return text


def post(namespace: str, route: str, message: Any, token: str | None, **more: Any) -> dict[str, Any]:
    """A request for `Tenant.ask_ingest`. `message` may be a text, which is sent as it is."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    body = message if isinstance(message, str) else json.dumps(message)
    return {"path": f"/v1/routes/{namespace}/{route}/messages", "headers": headers, "body": body} | more


def set_up(cluster: Cluster, namespaces: Namespaces, folder: Path) -> Scene:
    """Both tenants with their routes, and a policy for Mallory's namespace."""
    mallory, bob = (_tenant(cluster, name, folder) for name in namespaces.tenants)
    scene = Scene(cluster, mallory, bob, Actor(cluster))
    cluster.apply(_policy(mallory))
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    _route(bob, {"namespace": bob.namespace, "serviceAccount": PRODUCER}, {"apiKeySha256": [digest]})
    theirs = {"namespace": mallory.namespace, "serviceAccount": PRODUCER, "subjects": ["mallory-*"], "ratePerSecond": 2}
    own = {"namespace": bob.namespace, "serviceAccount": PRODUCER}
    bob.team.route(SHARED, producers=[own, theirs], autoscaling={"minReplicas": 0, "maxReplicas": 1})
    _route(mallory, {"namespace": mallory.namespace, "serviceAccount": PRODUCER, "ratePerSecond": 50})
    for tenant in (mallory, bob):
        cluster.ready(tenant.namespace, ROUTE)
    cluster.ready(bob.namespace, SHARED)
    cluster.apply(replay(bob.namespace, REPLAY, suspend=True))
    workers = cluster.get("pods", "-n", bob.namespace, "-l", f"chaski.dev/route={ROUTE},chaski.dev/stage=first")
    scene.names = {
        "bob": bob.namespace,
        "mallory": mallory.namespace,
        "worker": workers["items"][0]["metadata"]["name"],
        "system": SYSTEM,
    }
    return scene


def replay(namespace: str, name: str, **spec: Any) -> dict[str, Any]:
    """A ChaskiReplay of all dead letters of the route."""
    metadata = {"name": name, "namespace": namespace}
    given = {"routeRef": {"name": ROUTE}, "filter": {}, **spec}
    return {"apiVersion": "chaski.dev/v1alpha1", "kind": "ChaskiReplay", "metadata": metadata, "spec": given}


def _tenant(cluster: Cluster, namespace: str, folder: Path) -> Tenant:
    team = TeamNamespace(cluster, namespace)
    team.serve(ACTOR, "target.py")
    account = {"kind": "ServiceAccount", "name": _DEVELOPER, "namespace": namespace}
    cluster.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": _DEVELOPER, "namespace": namespace}},
        *(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": f"{_DEVELOPER}-{role}", "namespace": namespace},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": [account],
            }
            for role in _ROLES
        ),
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "namespace": namespace},
            "stringData": {"header": f"Bearer token-of-{namespace}"},
        },
    )
    document = json.loads(cluster.kubectl("config", "view", "--raw", "-o", "json"))
    token = cluster.kubectl("create", "token", _DEVELOPER, "-n", namespace, "--duration=2h").strip()
    document["users"] = [{"name": document["users"][0]["name"], "user": {"token": token}}]
    file = folder / f"{namespace}.kubeconfig"
    file.write_text(yaml.safe_dump(document))
    file.chmod(0o600)
    return Tenant(cluster, file, team=team)


def _route(tenant: Tenant, *producers: Mapping[str, Any]) -> None:
    """The tenant's own route, with addresses that no process may dial."""
    open_to_all = {"cidrs": ["0.0.0.0/0"]}
    allow = [
        {"name": "target", "url": f"{tenant.team.target}/", "cidrs": PRIVATE},
        {"name": "api-server", "url": "https://10.96.0.1/", **open_to_all},
        {"name": "itself", "url": "http://127.0.0.1:9090/", **open_to_all},
    ]
    tenant.team.route(
        ROUTE,
        targets={"allow": allow},
        producers=[*producers],
        retry={"rungs": [], "ladders": []},
        delivery={"timeoutSeconds": 20, "concurrencyPerPod": CONCURRENCY},
        autoscaling={"minReplicas": 1, "maxReplicas": 1},
    )


def _policy(mallory: Tenant) -> dict[str, Any]:
    hosts = [f"*.{mallory.namespace}.svc.cluster.local", "10.96.0.1", "127.0.0.1"]
    allow = {"hosts": hosts, "secretNames": [SECRET], "serviceAccountNames": []}
    limits = {"partitions": 4, "replicas": 4, "ratePerSecond": 100}
    selector = {"matchLabels": {"kubernetes.io/metadata.name": mallory.namespace}}
    spec = {"namespaceSelector": selector, "allow": allow, "limits": limits, "producersRequired": True}
    metadata = {"name": f"tenants-{mallory.namespace}"}
    return {"apiVersion": "chaski.dev/v1alpha1", "kind": "ChaskiPolicy", "metadata": metadata, "spec": spec}
