"""Targets and producers for tests in a cluster, as Pods that comply with restricted Pod security."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from support.cluster.cluster import SYSTEM, Cluster
from support.cluster.hardened import authority

_SCRIPTS = Path(__file__).resolve().parents[2] / "e2e" / "pods"
_IMAGE = "docker.io/library/python:3.11-slim"
_POD_SECURITY = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
_CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}
PRIVATE = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]
PRODUCER = "producer"


class TeamNamespace:
    """A namespace of a team, which the installation serves: a target, a producer's ServiceAccount, the team's routes."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        """Starts the target and waits for it."""
        self.cluster = cluster
        self.namespace = namespace
        scripts = {file.name: file.read_text() for file in _SCRIPTS.glob("*.py")}
        cluster.apply(
            self._named("ConfigMap", "scripts", data={**scripts, "ca.crt": authority(cluster)}),
            self._named("ServiceAccount", PRODUCER),
            *self._server("target", "target.py"),
        )
        cluster.kubectl("wait", "-n", self.namespace, "--for=condition=Ready", "pod/target", "--timeout=90s")

    def end(self) -> None:
        """Deletes the routes and the Pods. The namespace stays: the release has Roles in it."""
        all_of = ("--all", "-n", self.namespace)
        self.cluster.try_kubectl("delete", "chaskireplays,chaskiroutes", *all_of, "--wait=true", "--timeout=60s")
        self.cluster.try_kubectl("delete", "pods,services", *all_of, "--wait=false")

    def serve(self, name: str, script: str) -> str:
        """Starts another server; returns its URL."""
        self.cluster.apply(*self._server(name, script))
        self.cluster.kubectl("wait", "-n", self.namespace, "--for=condition=Ready", f"pod/{name}", "--timeout=90s")
        return f"http://{name}.{self.namespace}.svc.cluster.local:8080"

    @property
    def target(self) -> str:
        """The target's URL, without a slash at the end."""
        return f"http://target.{self.namespace}.svc.cluster.local:8080"

    def route(self, name: str, **spec: Any) -> None:
        """Applies a route to the target, with one queue by default."""
        allow = [{"name": "target", "url": f"{self.target}/", "cidrs": PRIVATE}]
        given = {
            "queues": [{"name": "messages"}],
            "targets": {"allow": allow},
            "producers": [{"namespace": self.namespace, "serviceAccount": PRODUCER}],
            **spec,
        }
        document = self._named("ChaskiRoute", name, apiVersion="chaski.dev/v1alpha1", spec=given)
        self.cluster.apply(document)

    def seen(self) -> dict[str, Any]:
        """The target's requests by path and sequence numbers by subject."""
        found: dict[str, Any] = self._get("seen")
        return found

    def hurry(self) -> None:
        """Lets a paced producer send the rest at once."""
        self._get("hurry/now")

    def _get(self, path: str) -> Any:
        whole = f"/api/v1/namespaces/{self.namespace}/pods/target:8080/proxy/{path}"
        return json.loads(self.cluster.kubectl("get", "--raw", whole))

    def begin_sending(
        self, route: str, plan: Sequence[tuple[str, str, int, int]], retry_seconds: float = 120, pace_seconds: float = 0
    ) -> str:
        """Starts a producer; returns the name of its Pod.

        Args:
            route: the route to send to.
            plan: subject, target URL, first sequence number, count; sent concurrently.
            retry_seconds: how long a message is retried.
            pace_seconds: if above 0, the rate falls with the number of messages left, and the last ones wait for `hurry`.
        """
        name = f"sender-{os.urandom(3).hex()}"
        url = f"https://chaski-ingest.{SYSTEM}.svc.cluster.local/v1/routes/{self.namespace}/{route}/messages"
        environment = {"URL": url, "PLAN": json.dumps(plan), "RUN": name, "RETRY_SECONDS": str(retry_seconds)}
        if pace_seconds:
            environment |= {"PACE_SECONDS": str(pace_seconds), "HURRY_URL": f"{self.target}/hurry"}
        self.cluster.apply(self._pod(name, "sender.py", environment))
        return name

    def sending(self, sender: str) -> dict[str, int]:
        """The latest counts of a running producer."""
        last = self.cluster.kubectl("logs", "-n", self.namespace, sender, "--tail=1")
        found: dict[str, int] = json.loads(last or "{}")
        return found

    def sent(self, sender: str, seconds: float = 300) -> dict[str, Any]:
        """Waits for the end of a producer; returns its totals."""

        def phase() -> str | None:
            found: str = self.cluster.get("pod", "-n", self.namespace, sender)["status"].get("phase", "")
            return found if found in ("Succeeded", "Failed") else None

        ended = self.cluster.until(f"the end of {sender}", phase, seconds)
        log = self.cluster.kubectl("logs", "-n", self.namespace, sender)
        assert ended == "Succeeded", log[-2000:]
        result: dict[str, Any] = json.loads(log.splitlines()[-1])
        return result

    def replicas(self, route: str) -> int:
        """Sum of the replicas in the Deployments of a route."""
        items = self.cluster.get("deployments", "-n", self.namespace, "-l", f"chaski.dev/route={route}")["items"]
        return sum(each["spec"]["replicas"] for each in items)

    def status(self, route: str) -> dict[str, Any]:
        """A route's status."""
        found: dict[str, Any] = self.cluster.get("chaskiroute", "-n", self.namespace, route).get("status", {})
        return found

    def described(self, route: str) -> str:
        """The output of `kubectl describe` for a route."""
        return self.cluster.kubectl("describe", "chaskiroute", "-n", self.namespace, route)

    def _named(self, kind: str, name: str, *, apiVersion: str = "v1", **content: Any) -> dict[str, Any]:  # noqa: N803 - name of the field in Kubernetes
        return {
            "apiVersion": apiVersion,
            "kind": kind,
            "metadata": {"name": name, "namespace": self.namespace},
            **content,
        }

    def _server(self, name: str, script: str) -> list[dict[str, Any]]:
        service = self._named("Service", name, spec={"selector": {"pod": name}, "ports": [{"port": 8080}]})
        pod = self._pod(name, script, {})
        pod["spec"]["containers"][0]["readinessProbe"] = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
        return [pod, service]

    def _pod(self, name: str, script: str, environment: Mapping[str, str]) -> dict[str, Any]:
        token = {"audience": "chaski", "path": "token", "expirationSeconds": 3600}
        container = {
            "name": "main",
            "image": _IMAGE,
            "imagePullPolicy": "IfNotPresent",
            "command": ["python3", f"/scripts/{script}"],
            "env": [{"name": key, "value": value} for key, value in environment.items()],
            "securityContext": _CONTAINER_SECURITY,
            "volumeMounts": [{"name": "scripts", "mountPath": "/scripts"}, {"name": "token", "mountPath": "/token"}],
        }
        spec = {
            "restartPolicy": "Never",
            "serviceAccountName": PRODUCER,
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": _POD_SECURITY,
            "containers": [container],
            "volumes": [
                {"name": "scripts", "configMap": {"name": "scripts"}},
                {"name": "token", "projected": {"sources": [{"serviceAccountToken": token}]}},
            ],
        }
        pod = self._named("Pod", name, spec=spec)
        pod["metadata"]["labels"] = {"pod": name}
        return pod
