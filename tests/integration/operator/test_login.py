"""The operator with a kubeconfig of a cloud's kind: a credential plugin, over TLS, for its requests and for kopf's watches."""

from pathlib import Path

import pytest
import yaml

from support.kube.api_server import KubeApi
from support.kube.fake_server import EXEC_API
from support.operator.processes import operator, until
from support.operator.routes import OperatedRoute

pytestmark = pytest.mark.timeout(400)


def test_operator_works_with_a_credential_plugin(kube: KubeApi, tmp_path: Path, moto: str) -> None:
    """A route is reconciled long before the next list of the cluster, so the watch reported it."""
    namespace = kube.make_namespace()
    account = {"kind": "ServiceAccount", "name": "default", "namespace": namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": namespace},
    }
    kube.kubectl("apply", "-f", "-", document=binding | {"roleRef": role, "subjects": [account]})
    token = kube.kubectl("create", "token", "default", "-n", namespace).strip()
    script, runs = tmp_path / "plugin", tmp_path / "runs"
    runs.touch()
    status = f'{{"apiVersion":"{EXEC_API}","kind":"ExecCredential","status":{{"token":"{token}"}}}}'
    script.write_text(f"#!/bin/sh\necho x >>{runs}\necho '{status}'\n")
    script.chmod(0o700)
    config = yaml.safe_load(kube.kubeconfig.read_text())
    config["users"] = [{"name": "u", "user": {"exec": {"command": "./plugin", "apiVersion": EXEC_API}}}]
    config["contexts"][0]["context"]["namespace"] = namespace
    (tmp_path / "plugin.kubeconfig").write_text(yaml.safe_dump(config))
    with operator(kube, tmp_path, moto, namespace, flags=("--resync-seconds", "600")) as op:
        op.environment = {"KUBECONFIG": str(tmp_path / "plugin.kubeconfig")}
        op.start()
        until(lambda: "chaski.metrics.url" in op.log.read_text(), "the operator did not start")
        until(lambda: len(runs.read_text().split()) == 2, "kopf did not log in")
        route = OperatedRoute(op, namespace)
        route.apply()
        until(route.queues, "the route was not reconciled")
        assert op.api.asked == []  # no request went to the usual address
