"""What others do to the objects of a route: additions, orphans, names that are taken, and admission that changes them."""

import base64
import contextlib
import json
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from support.kube.api_server import KubeApi
from support.kube.certificates import make_all
from support.operator.processes import QUICK, Operator, kubelets, operator, until
from support.operator.routes import OperatedRoute

pytestmark = pytest.mark.timeout(400)

WORKERS = "chaski-orders-messages"
ADDED: dict[str, Any] = {
    "hostNetwork": True,
    "initContainers": [{"name": "first", "image": "evil"}],
    "volumes": [{"name": "token", "secret": {"secretName": "s"}}],
    "containers": [
        {"name": "worker", "env": [{"name": "SSL_CERT_FILE", "value": "/evil"}]},
        {"name": "thief", "image": "evil"},
    ],
}
PLACES = (
    "hostNetwork", "initContainers", "volumes[token]", "containers[thief]", "containers[worker].env[SSL_CERT_FILE]",
)  # fmt: skip
REPLACED = '[{"op":"replace","path":"/metadata/managedFields","value":[{}]}]'
DISOWNED = '[{"op":"remove","path":"/metadata/ownerReferences"}]'


@pytest.fixture
def removing(kube: KubeApi, tmp_path: Path, moto: str) -> Iterator[OperatedRoute]:
    """A route that is ready, of an operator that removes additions."""
    namespace = kube.make_namespace("removing")
    flags = (*QUICK, "--remove-additions")
    with operator(kube, tmp_path, moto, namespace, flags=flags) as op, kubelets(kube, namespace):
        op.start()
        made = OperatedRoute(op, namespace)
        made.apply()
        made.ready()
        yield made


def patch(
    route: OperatedRoute, body: str, kind: str = "strategic", name: str = WORKERS, what: str = "deployment"
) -> None:
    """`kubectl patch` of an object of the route."""
    route.op.kube.kubectl("patch", what, name, "-n", route.namespace, f"--type={kind}", "-p", body)


def add(route: OperatedRoute) -> None:
    """Adds all of `ADDED` to the Pod template."""
    patch(route, json.dumps({"spec": {"template": {"spec": ADDED}}}))


def deployment(route: OperatedRoute) -> Any:
    """The workers' Deployment."""
    return route.op.kube.get("deployment", WORKERS, "-n", route.namespace, "--show-managed-fields")


def is_clean(document: Any) -> bool:
    """Whether nothing of `ADDED` is there."""
    spec = document["spec"]["template"]["spec"]
    names = [each["name"] for each in (*spec["containers"], *spec.get("initContainers", ()), *spec["volumes"])]
    env = {each["name"] for each in spec["containers"][0]["env"]}
    return "hostNetwork" not in spec and names == ["worker", "route"] and "SSL_CERT_FILE" not in env


def test_additions_are_reported_with_field_and_manager(route: OperatedRoute) -> None:
    """They stay; marks of tools are none of them; the report ends when they are removed."""
    route.op.kube.kubectl("rollout", "restart", "deployment", WORKERS, "-n", route.namespace)
    until(lambda: route.condition("Drifted").get("status") == "False", "a restart is reported")
    add(route)
    condition = route.await_condition("Drifted", "True", "Added")
    for place in PLACES:
        assert f"Deployment {WORKERS}: spec.template.spec.{place} by kubectl-patch" in condition["message"]
    assert "operator.removeAdditions" in condition["message"]
    until(lambda: "Added" in route.events(), "no event")
    route.op.quiet(route.namespace, 4.0)
    assert not is_clean(deployment(route))
    assert route.condition("Drifted")["reason"] == "Added"
    gone = dict.fromkeys(("hostNetwork", "initContainers"))
    removed = {"$patch": "delete"}
    containers = [{"name": "thief", **removed}, {"name": "worker", "env": [{"name": "SSL_CERT_FILE", **removed}]}]
    pod = gone | {"containers": containers, "volumes": [{"name": "token", **removed}]}
    patch(route, json.dumps({"spec": {"template": {"spec": pod}}}))
    route.await_condition("Drifted", "False", "NoDrift")
    assert "kubectl.kubernetes.io/restartedAt" in deployment(route)["spec"]["template"]["metadata"]["annotations"]


def test_addition_is_found_without_the_record_of_managers(route: OperatedRoute) -> None:
    """Who adds something may remove that record too: then the whole Deployment is written again."""
    add(route)
    patch(route, REPLACED, "json")
    until(lambda: is_clean(deployment(route)), "the additions stayed")
    route.op.quiet(route.namespace, 4.0)
    route.await_condition("Drifted", "False", "NoDrift")
    managers = [each["manager"] for each in deployment(route)["metadata"]["managedFields"] if "subresource" not in each]
    assert managers == ["chaski-operator"]
    patch(route, json.dumps({"spec": {"template": {"spec": {"hostPID": True}}}}))
    assert "spec.template.spec.hostPID by kubectl-patch" in route.await_condition("Drifted", "True", "Added")["message"]


def test_additions_are_removed_on_request(removing: OperatedRoute) -> None:
    """The number of Pods, labels of the Deployment and a restart stay."""
    kube = removing.op.kube
    kube.kubectl("scale", "deployment", WORKERS, "-n", removing.namespace, "--replicas=3")
    kube.kubectl("label", "deployment", WORKERS, "-n", removing.namespace, "team=x")
    kube.kubectl("rollout", "restart", "deployment", WORKERS, "-n", removing.namespace)
    add(removing)
    until(lambda: is_clean(deployment(removing)), "the additions stayed")
    found = deployment(removing)
    assert found["metadata"]["labels"]["team"] == "x"
    assert "kubectl.kubernetes.io/restartedAt" in found["spec"]["template"]["metadata"]["annotations"]
    assert found["spec"]["replicas"] == 3
    until(lambda: "DriftCorrected" in removing.events(), "no event")
    removing.op.quiet(removing.namespace, 4.0)
    assert deployment(removing)["metadata"]["generation"] == found["metadata"]["generation"]
    removing.apply(delivery={"timeoutSeconds": 44})  # fields are still the operator's own
    removing.ready()
    assert deployment(removing)["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 59
    removing.await_condition("Drifted", "False")


def test_orphans_are_taken_over_without_what_they_had_besides(route: OperatedRoute) -> None:
    """As after `kubectl delete --cascade=orphan`: objects with the labels and the hash, but without a controller."""
    patch(route, '{"metadata":{"annotations":{"eks.amazonaws.com/role-arn":"evil"}}}', "merge", "chaski-orders", "sa")
    add(route)
    patch(route, '{"data":{"other":"x"}}', "merge", "chaski-orders", "configmap")
    for what, name in (("configmap", "chaski-orders"), ("sa", "chaski-orders"), ("deployment", WORKERS)):
        patch(route, DISOWNED, "json", name, what)
    uid = (route.get() or {})["metadata"]["uid"]

    def owner(what: str, name: str) -> str:
        found = route.op.kube.get(what, name, "-n", route.namespace)
        return str(found["metadata"].get("ownerReferences", [{"uid": ""}])[0]["uid"])

    until(lambda: owner("configmap", "chaski-orders") == uid, "the ConfigMap is an orphan")
    until(lambda: owner("sa", "chaski-orders") == uid, "the ServiceAccount is an orphan")
    until(lambda: owner("deployment", WORKERS) == uid, "the Deployment is an orphan")
    until(lambda: is_clean(deployment(route)), "the additions stayed")
    kube = route.op.kube
    assert list(kube.get("configmap", "chaski-orders", "-n", route.namespace)["data"]) == ["resolved.yaml"]
    account = kube.get("sa", "chaski-orders", "-n", route.namespace)
    assert "eks.amazonaws.com/role-arn" not in account["metadata"].get("annotations", {})
    route.ready()


@pytest.mark.promise(7)
def test_object_with_a_foreign_controller_is_never_touched(route: OperatedRoute) -> None:
    """Though it carries every label and the hash."""
    route.op.kube.kubectl("create", "configmap", "other", "-n", route.namespace)
    uid = route.op.kube.get("configmap", "other", "-n", route.namespace)["metadata"]["uid"]
    other = {"apiVersion": "v1", "kind": "ConfigMap", "name": "other", "uid": uid, "controller": True}
    replaced = json.dumps([{"op": "replace", "path": "/metadata/ownerReferences", "value": [other]}])
    patch(route, replaced, "json", "chaski-orders", "configmap")
    before = route.op.kube.get("configmap", "chaski-orders", "-n", route.namespace)
    route.await_condition("WorkersAvailable", "False", "ObjectNotOwned")
    route.op.quiet(route.namespace, 3.0)
    after = route.op.kube.get("configmap", "chaski-orders", "-n", route.namespace)
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def test_what_admission_changes_is_not_reported_as_corrected(
    kube: KubeApi, op: Operator, namespace: str, tmp_path: Path
) -> None:
    """A policy rewrites the image, at each write: it is applied once, and no drift is counted."""
    route = OperatedRoute(op, namespace)
    with rewritten_images(kube, namespace, tmp_path / "hook"):
        route.apply()
        route.ready()
        assert image(route) == "mirror.example/worker:1"
        op.quiet(namespace, 4.0)
        assert route.condition("Drifted")["reason"] == "NoDrift"
        generation = deployment(route)["metadata"]["generation"]
        patch(route, '{"spec":{"template":{"spec":{"enableServiceLinks":true}}}}')
        until(lambda: deployment(route)["spec"]["template"]["spec"]["enableServiceLinks"] is False, "drift stayed")
        op.quiet(namespace, 4.0)
        assert deployment(route)["metadata"]["generation"] == generation + 2
    with urlopen(op.metrics_url()) as response:  # noqa: S310 - of the operator that the test runs
        page = response.read().decode()
    assert f'chaski_drifts_total{{kind="Deployment",namespace="{namespace}"' not in page


def image(route: OperatedRoute) -> str:
    """Of the worker's container."""
    return str(deployment(route)["spec"]["template"]["spec"]["containers"][0]["image"])


@contextlib.contextmanager
def rewritten_images(kube: KubeApi, namespace: str, folder: Path) -> Iterator[None]:
    """A mutating webhook that sets another image in every Deployment of a namespace."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            place = "/spec/template/spec/containers/0/image"
            change = json.dumps([{"op": "replace", "path": place, "value": "mirror.example/worker:1"}])
            response = {
                "uid": review["request"]["uid"],
                "allowed": True,
                "patchType": "JSONPatch",
                "patch": base64.b64encode(change.encode()).decode(),
            }
            body = json.dumps(
                {"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response}
            ).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Silent."""

    make_all(folder, "https://127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "apiserver.crt", folder / "apiserver.key")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        name = f"images.{namespace}.example"
        hook = {
            "name": name,
            "clientConfig": {
                "url": f"https://127.0.0.1:{server.server_address[1]}/",
                "caBundle": base64.b64encode((folder / "ca.crt").read_bytes()).decode(),
            },
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "rules": [
                {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"], "operations": ["*"]}
            ],
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }
        metadata = {"name": name}
        kube.kubectl(
            "apply", "-f", "-",
            document={
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "MutatingWebhookConfiguration",
                "metadata": metadata,
                "webhooks": [hook],
            },
        )  # fmt: skip
        time.sleep(2)  # the API server reads the configuration every second
        try:
            yield
        finally:
            kube.kubectl("delete", "mutatingwebhookconfiguration", name)
            server.shutdown()
