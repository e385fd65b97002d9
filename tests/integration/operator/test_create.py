"""A route is applied, and everything that it declares is created; applied again, nothing is written."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from chaski_core.route.loading import load_route
from chaski_core.route.resolved_document import load_resolved
from support.kube.api_server import ROOT
from support.operator.processes import Operator, until

pytestmark = pytest.mark.timeout(400)  # many waits, each with its own deadline, on a shared machine

EXAMPLES = sorted(set((ROOT / "examples").glob("*.yaml")) - {ROOT / "examples" / "replay.yaml"})  # the routes
PROMISED_SECONDS = 20.0


def example(name: str, namespace: str) -> dict[str, Any]:
    """A document of examples/, moved to a namespace."""
    document: dict[str, Any] = yaml.safe_load((ROOT / "examples" / name).read_text())
    document["metadata"]["namespace"] = namespace
    return document


def apply_examples(op: Operator, namespace: str) -> None:
    """Applies all of examples/ and waits until they are Ready."""
    for file in EXAMPLES:
        op.kube.kubectl("apply", "-f", "-", document=example(file.name, namespace))
    op.kube.kubectl("wait", "--for=condition=Ready", "--timeout=120s", "chaskiroutes", "--all", "-n", namespace)


def test_examples_become_ready_and_then_nothing_is_written(
    op: Operator, namespace: str, report: Callable[[str], None]
) -> None:
    """Ready by `kubectl wait`; ten resyncs and another apply cause no write, to the API server or to AWS."""
    until(lambda: '"ready"' in op.log.read_text(), "the operator did not start")
    started = time.monotonic()
    apply_examples(op, namespace)
    taken = time.monotonic() - started
    report(f"{len(EXAMPLES)} examples Ready after {taken:.1f} s")
    assert taken < PROMISED_SECONDS * len(EXAMPLES)

    op.quiet(namespace, 2)
    written, calls = op.writes(namespace), op.calls(namespace, "ListQueues")
    for file in EXAMPLES:
        op.kube.kubectl("apply", "-f", "-", document=example(file.name, namespace))
    until(lambda: op.calls(namespace, "ListQueues") >= calls + 10 * len(EXAMPLES), "no ten resyncs", 240)
    assert op.writes(namespace) == written


def test_workers_match_their_route(op: Operator, namespace: str) -> None:
    """Deployments, ServiceAccount, budget and ConfigMap, field by field."""
    document = example("conversations.yaml", namespace)
    document["spec"]["workers"] = {"resources": {"requests": {"cpu": "0.25"}}, "nodeSelector": {"disk": "ssd"}}
    op.kube.kubectl("apply", "-f", "-", document=document)
    op.kube.kubectl("wait", "--for=condition=Ready", "--timeout=120s", "chaskiroute/conversations", "-n", namespace)
    listed = op.kube.get("deployments", "-n", namespace, "--show-managed-fields")["items"]
    made = {each["metadata"]["name"]: each for each in listed}
    assert sorted(made) == [
        "chaski-conversations-assignments",
        "chaski-conversations-messages",
        "chaski-conversations-retry",
    ]
    deployment = made["chaski-conversations-messages"]
    uid = op.kube.get("chaskiroute", "conversations", "-n", namespace)["metadata"]["uid"]
    assert [owner["uid"] for owner in deployment["metadata"]["ownerReferences"]] == [uid]
    managers = {each["manager"] for each in deployment["metadata"]["managedFields"] if not each.get("subresource")}
    assert managers == {"chaski-operator"}
    owned = next(each for each in deployment["metadata"]["managedFields"] if each["manager"] == "chaski-operator")
    assert "f:replicas" not in owned["fieldsV1"]["f:spec"]
    assert deployment["spec"]["replicas"] == 1  # the API server's default for a new Deployment

    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == [
        "chaski-worker", "consume", "--route", "/etc/chaski/route/resolved.yaml", "--queue", "messages", "--metrics-port", "9090",
    ]  # fmt: skip
    assert container["image"] == "registry.example/worker:1"
    assert {each["name"]: each["value"] for each in container["env"] if "value" in each} == {
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
        "CHASKI_COUNT_QUEUES": "false",
        "AWS_ENDPOINT_URL_SQS": op.aws.url,
        "AWS_ENDPOINT_URL_DYNAMODB": op.aws.url,
    }
    assert container["resources"] == {"requests": {"cpu": "250m"}}
    assert pod["nodeSelector"] == {"disk": "ssd"}
    assert pod["terminationGracePeriodSeconds"] == 45
    assert pod["serviceAccountName"] == "chaski-conversations"
    assert pod["automountServiceAccountToken"] is False
    retry = made["chaski-conversations-retry"]["spec"]["template"]["spec"]["containers"][0]
    assert retry["command"][:2] == ["chaski-worker", "retry"]

    config = op.kube.get("configmap", "chaski-conversations", "-n", namespace)
    (resolved,) = load_resolved(config["data"]["resolved.yaml"])
    assert resolved.route.document["spec"] == load_route(document).document["spec"]
    status = op.kube.get("chaskiroute", "conversations", "-n", namespace)["status"]
    urls = {each["name"]: tuple(each["urls"]) for each in status["resolved"]["generations"][0]["queues"]}
    assert urls == dict(resolved.current.queues)
    assert [len(each) for each in urls.values()] == [1, 4]


@pytest.mark.parametrize("level", ["restricted"])
def test_pods_are_admitted_by_restricted_namespaces(op: Operator, namespace: str, level: str) -> None:
    """By the API server's own check of Pod security."""
    op.kube.kubectl("label", "namespace", namespace, f"pod-security.kubernetes.io/enforce={level}")
    apply_examples(op, namespace)
    for deployment in op.kube.get("deployments", "-n", namespace)["items"]:
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "probe", "namespace": namespace},
            "spec": deployment["spec"]["template"]["spec"] | {"serviceAccountName": "default"},
        }
        op.kube.kubectl("create", "--dry-run=server", "-f", "-", document=pod)
