"""The chart's admission policy on a real API server: the operator does its work, and its account can do nothing else."""

import json
import subprocess
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from support.kube.api_server import KubeApi
from support.kube.charts import of_kind, render
from support.operator.processes import QUICK, kubelets, operator, until
from support.operator.routes import NAME, OperatedRoute

pytestmark = [pytest.mark.timeout(600), pytest.mark.promise(14)]
_KINDS = ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")
_POLICY = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
_RESTRICTED = {"allowPrivilegeEscalation": False}


class Account:
    """The operator's ServiceAccount, used by an attacker."""

    def __init__(self, kube: KubeApi, release: str) -> None:
        self.name = f"system:serviceaccount:{release}:chaski-operator"
        self._kubectl = [str(kube.programs / "kubectl"), f"--kubeconfig={kube.user_kubeconfig(self.name)}"]

    def tries(self, *arguments: str, document: Any = None) -> str:
        """The refusal of a call; "" if it is admitted."""
        ran = subprocess.run(
            [*self._kubectl, *arguments],
            input=json.dumps(document or {}),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return ran.stderr if ran.returncode else ""


def test_the_operator_does_its_work_and_its_account_nothing_else(kube: KubeApi, tmp_path: Path, moto: str) -> None:
    """Each attack is allowed by RBAC, in a ClusterRole, and refused by the policy."""
    release, namespace = kube.make_namespace("release"), kube.make_namespace("tenant")
    account, objects = Account(kube, release), render(namespace=release)
    kube.kubectl("apply", "-f", "-", document={"apiVersion": "v1", "kind": "List", "items": of_kind(objects, *_KINDS)})
    victim = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "victim", "namespace": namespace}}
    kube.kubectl("apply", "-f", "-", document=victim)
    assert account.tries("label", "configmap", "victim", "-n", namespace, "before=policy") == ""
    try:
        policies = of_kind(objects, *_POLICY)
        kube.kubectl("apply", "-f", "-", document={"apiVersion": "v1", "kind": "List", "items": policies})
        values = count()  # kubectl sends nothing for a label that the object has
        until(
            lambda: account.tries(
                "label", "configmap", "victim", "-n", namespace, f"try={next(values)}", "--overwrite"
            ),
            "the policy is not in force",
        )
        flags = (*QUICK, "--lease-namespace", release, "--lease-name", "chaski-operator", "--remove-additions")
        with operator(kube, tmp_path, moto, namespace, user=account.name, flags=flags) as op, kubelets(kube, namespace):
            op.start()
            route = OperatedRoute(op, namespace)
            route.apply(deletionPolicy="Delete")
            route.ready()
            route.apply(deletionPolicy="Delete", queues=[{"name": "other"}])  # one Deployment goes, another comes
            route.complete()
            names = route.names()
            kube.kubectl("set", "env", f"deployment/{names[0]}", "A=b", "-n", namespace)  # replaced by PUT
            until(lambda: "DriftCorrected" in kube.kubectl("get", "events", "-n", namespace), "drift stays")
            owned = kube.get("deployment", names[0], "-n", namespace)
            for what, refusal in attacks(account, namespace, owned).items():
                assert "ValidatingAdmissionPolicy" in refusal, (what, refusal)
            assert account.tries("scale", f"deployment/{names[0]}", "--replicas=1", "-n", namespace) == ""
            route.delete()
            assert "denied request" not in op.log.read_text()
    finally:
        for kind in _POLICY:
            kube.try_kubectl("delete", kind, f"chaski-{release}-operator")


def attacks(account: Account, namespace: str, owned: dict[str, Any]) -> dict[str, str]:
    """The refusals of what a stolen token could do, by name."""
    metadata = {name: owned["metadata"][name] for name in ("labels", "ownerReferences")} | {"namespace": namespace}
    template = owned["spec"]["template"]

    def made(name: str, *, spec: dict[str, Any] | None = None, **of_metadata: Any) -> dict[str, Any]:
        pod = {**template["spec"], **(spec or {})}
        whole = {**owned["spec"], "template": {**template, "spec": pod}}
        head = {"apiVersion": "apps/v1", "kind": "Deployment"}
        return {**head, "metadata": {**metadata, "name": name, **of_metadata}, "spec": whole}

    def config_map(name: str, **of_metadata: Any) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**metadata, "name": name, **of_metadata}}

    (owner,) = metadata["ownerReferences"]
    container = {**template["spec"]["containers"][0], "securityContext": {"privileged": True}}
    root = [{"name": "root", "hostPath": {"path": "/"}}]
    documents = {
        "no owner": made("chaski-a", ownerReferences=[]),
        "another owner": made("chaski-b", ownerReferences=[{**owner, "kind": "ConfigMap", "apiVersion": "v1"}]),
        "an owner that is not the controller": made("chaski-c", ownerReferences=[{**owner, "controller": False}]),
        "no label": made("chaski-d", labels={}),
        "the node's files": made("chaski-e", spec={"volumes": [*template["spec"].get("volumes", ()), *root]}),
        "the node's network": made("chaski-f", spec={"hostNetwork": True}),
        "a privileged container": made("chaski-g", spec={"containers": [container]}),
        "kube-system": config_map("aws-auth", namespace="kube-system"),
        "a ServiceAccount": {**config_map("x", ownerReferences=[]), "kind": "ServiceAccount"},
    }
    found = {name: account.tries("create", "-f", "-", document=each) for name, each in documents.items()}
    adopted = json.dumps({"metadata": {name: metadata[name] for name in ("labels", "ownerReferences")}})
    place = ("-n", namespace, "--type=merge", "-p")
    found["adopts another's ConfigMap"] = account.tries("patch", "configmap", "victim", *place, adopted)
    found["deletes another's ConfigMap"] = account.tries("delete", "configmap", "victim", "-n", namespace)
    patch = '{"spec": {"targets": {"allow": [{"name": "t", "url": "https://evil.example/"}]}}}'
    found["changes a route"] = account.tries("patch", "chaskiroute", NAME, *place, patch)
    return found


def _of_the_operator(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The admission policy of the operator's account and its binding, without those of replays."""
    return [each for each in of_kind(objects, *_POLICY) if each["metadata"]["name"].endswith("-operator")]


@pytest.mark.cluster
def test_the_policy_is_optional_and_needs_kubernetes_1_30() -> None:
    """It is on by default, for the operator's account only."""
    policy, binding = _of_the_operator(render())
    assert policy["metadata"]["name"] == binding["spec"]["policyName"]
    (condition,) = policy["spec"]["matchConditions"]
    assert "'system:serviceaccount:chaski-system:chaski-operator'" in condition["expression"]
    assert _of_the_operator(render({"operator": {"admissionPolicy": False}})) == []
