"""Namespaces that enforce the restricted Pod security standard run every Pod of Chaski."""

import pytest

from support.cluster.cluster import SYSTEM
from support.cluster.pods import TeamNamespace

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1900)]

ENFORCE = "pod-security.kubernetes.io/enforce"


def test_every_pod_runs_where_restricted_pod_security_is_enforced(team: TeamNamespace) -> None:
    """Operator, ingest and workers of both stages run; a Pod without security settings is refused there."""
    cluster = team.cluster
    team.route("restricted", autoscaling={"minReplicas": 1})
    cluster.ready(team.namespace, "restricted")
    for namespace in (SYSTEM, team.namespace):
        assert cluster.get("namespace", namespace)["metadata"]["labels"][ENFORCE] == "restricted"
        container = {"name": "main", "image": "localhost/pause:1"}
        document = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "loose"},
            "spec": {"containers": [container]},
        }
        refused = cluster.try_kubectl("create", "-n", namespace, "-f", "-", document=document)
        assert refused.returncode != 0
        assert 'violates PodSecurity "restricted' in refused.stderr

    def running() -> bool:
        names = "app.kubernetes.io/name in (chaski, chaski-worker)"
        pods = [
            pod for where in (SYSTEM, team.namespace) for pod in cluster.get("pods", "-n", where, "-l", names)["items"]
        ]
        ready = [
            pod["metadata"]["labels"].get("chaski.dev/stage")
            or pod["metadata"]["labels"]["app.kubernetes.io/component"]
            for pod in pods
            if any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", []))
        ]
        return {"operator", "ingest", "first", "retry"} <= set(ready)

    cluster.until("a ready Pod of each kind", running)
