"""Routes with `autoscaling.mode: External`: the HPA controller of Kubernetes follows the operator's number, with docs/autoscalers.md.

One worker Pod is an object with the address 127.0.0.1, whose metrics the test serves; counts of SQS are given by the gate.
"""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import orjson
import pytest
import yaml
from aiohttp import web

from chaski_runtime.observability.metrics.registry import MetricsRegistry
from chaski_worker.metrics import LaneReading, WorkerMetrics
from support.aws.moto_server import MotoServer
from support.faults.recording_proxy import ProxiedRequest
from support.kube.api_server import CONTROLLERS, ROOT, KubeApi, kube_api
from support.kube.http import KubeHttp
from support.kube.metrics_adapter import fetch, metrics_adapter
from support.operator.processes import QUICK, Operator, kubelets, operator, until
from support.operator.routes import OperatedRoute

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

_HPA_CONTROLLER = "horizontal-pod-autoscaler-controller"
DEPLOYMENT = "chaski-orders-messages"
EXAMPLES: dict[str, dict[str, Any]] = {
    document["kind"]: document
    for text in re.findall(r"(?ms)^```yaml\n(.+?)^```", (ROOT / "docs" / "autoscalers.md").read_text(encoding="utf-8"))
    if "kind" in (document := yaml.safe_load(text))
}


@dataclass
class Load:
    """What the queue and its workers report."""

    namespace: str
    subjects: int = 0
    denied: bool = False
    metrics: MetricsRegistry = field(default_factory=MetricsRegistry)

    def respond(self, asked: ProxiedRequest) -> web.Response | None:
        """A refusal in place of a queue's counts, while they are denied."""
        if not self.denied or asked.summary != "GetQueueAttributes":
            return None
        error = {"__type": "com.amazonaws.sqs#AccessDenied", "message": "not allowed"}
        return web.Response(status=403, body=orjson.dumps(error), content_type="application/x-amz-json-1.0")

    def lanes(self) -> list[LaneReading]:
        """A worker that holds fewer lanes than it could, each with a subject of its own."""
        return [
            LaneReading(
                self.namespace, "orders", "messages", 64, 0, 64, 100, 128, 10**6, 64, subjects=self.subjects,
                mean_attempt_seconds=10_000.0,
            )
        ]  # fmt: skip


@pytest.fixture(scope="module")
def hpa_kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeApi]:
    """An API server with the HPA controller, for this module: it has one adapter of external metrics."""
    with kube_api(tmp_path_factory.mktemp("kube"), f"{CONTROLLERS},{_HPA_CONTROLLER}") as api:
        api.need_controllers()
        api.install_crds()
        yield api


@pytest.fixture
def load(hpa_kube: KubeApi) -> Load:
    """A namespace, and the metrics of its worker."""
    made = Load(hpa_kube.make_namespace("hpa"))
    WorkerMetrics(made.metrics).observe_lanes(made.lanes)
    return made


@pytest.fixture
def op(hpa_kube: KubeApi, load: Load, tmp_path: Path) -> Iterator[Operator]:
    """A running operator that checks queues every second."""
    moto = MotoServer()
    flags = (*QUICK, "--scaling-seconds", "1")
    try:
        with (
            operator(hpa_kube, tmp_path, moto.url, load.namespace, flags=flags) as made,
            kubelets(hpa_kube, load.namespace),
        ):
            made.aws.refuse = load.respond
            made.start()
            yield made
    finally:
        moto.stop()


@pytest.mark.promise(8)
def test_an_hpa_follows_the_operators_number_and_keeps_its_own_while_that_is_unknown(
    hpa_kube: KubeApi, op: Operator, load: Load
) -> None:
    """By the manifests of the documentation. The operator never sets the number."""
    route = OperatedRoute(op, load.namespace)
    route.apply(autoscaling=EXAMPLES["ChaskiRoute"]["spec"]["autoscaling"])
    route.ready()
    send(route, 8)
    http, asked = KubeHttp(hpa_kube), [0]

    def replicas() -> int:
        deployment = http.get(f"/apis/apps/v1/namespaces/{load.namespace}/deployments/{DEPLOYMENT}")
        return int(deployment["spec"]["replicas"])

    def page() -> str:
        asked[0] += 1
        return fetch(op.metrics_url())

    with worker_pod(hpa_kube, load), metrics_adapter(hpa_kube, load.namespace, page):
        load.subjects = 4 * 64
        hpa_kube.kubectl("apply", "-f", "-", document=quick_hpa(load.namespace))
        until(lambda: replicas() == 4, f"the HPA never set 4: {scaling_active(http, load)}")
        load.denied = True
        unknown = until(lambda: is_unknown(http, load), f"the HPA still has a number: {scaling_active(http, load)}")
        load.subjects = 2 * 64  # for when the counts are known again
        checks = asked[0]
        until(lambda: asked[0] > checks + 5, "the HPA controller does not ask any more")
        assert scaling_active(http, load)["lastTransitionTime"] == unknown["lastTransitionTime"]
        assert replicas() == 4
        load.denied = False
        until(lambda: replicas() == 2, f"the HPA never set 2: {scaling_active(http, load)}")
    assert route.condition("Autoscaling")["reason"] == "External"
    assert [each for each in op.api.writes() if each.path.endswith("/scale")] == []


def test_the_manifest_for_keda_is_valid_and_takes_a_missing_series_for_unknown(hpa_kube: KubeApi) -> None:
    """By KEDA's own definition. Its default takes a missing series for 0, and would remove all Pods."""
    hpa_kube.kubectl("apply", "--server-side", "-f", str(Path(__file__).with_name("keda") / "scaledobjects.yaml"))
    document = EXAMPLES["ScaledObject"]
    namespace = hpa_kube.make_namespace("keda")
    document = document | {"metadata": document["metadata"] | {"namespace": namespace}}
    arguments = ("apply", "--server-side", "--validate=strict", "--dry-run=server", "-f", "-")
    until(
        lambda: hpa_kube.try_kubectl(*arguments, document=document).returncode == 0,
        hpa_kube.try_kubectl(*arguments, document=document).stderr,
        seconds=60,
    )
    (trigger,) = document["spec"]["triggers"]
    assert trigger["metadata"]["ignoreNullValues"] == "false"
    assert (trigger["type"], trigger["metricType"], trigger["metadata"]["threshold"]) == (
        "prometheus",
        "AverageValue",
        "1",
    )
    assert 'state="wanted"' in trigger["metadata"]["query"]
    assert "fallback" not in document["spec"]


def quick_hpa(namespace: str) -> dict[str, Any]:
    """The HPA of the documentation, which removes Pods at once."""
    document = orjson.loads(orjson.dumps(EXAMPLES["HorizontalPodAutoscaler"]))
    document["metadata"]["namespace"] = namespace
    document["spec"]["behavior"]["scaleDown"] = {"stabilizationWindowSeconds": 0}
    assert document["spec"]["scaleTargetRef"]["name"] == DEPLOYMENT
    return dict(document)


def send(route: OperatedRoute, messages: int) -> None:
    """Messages of as many subjects, which no worker receives."""
    url = route.queue("messages")
    for number in range(messages):
        request = {
            "QueueUrl": url,
            "MessageBody": "x",
            "MessageGroupId": f"s{number}",
            "MessageDeduplicationId": f"d{number}",
        }
        route.op.boto().call("sqs", "SendMessage", request)


def scaling_active(http: KubeHttp, load: Load) -> dict[str, Any]:
    """The HPA's condition ScalingActive; empty while it has none."""
    found = http.get(f"/apis/autoscaling/v2/namespaces/{load.namespace}/horizontalpodautoscalers/{DEPLOYMENT}")
    conditions = ((found or {}).get("status") or {}).get("conditions") or ()
    return next((each for each in conditions if each["type"] == "ScalingActive"), {})


def is_unknown(http: KubeHttp, load: Load) -> dict[str, Any] | None:
    """That condition, if the HPA got no number."""
    found = scaling_active(http, load)
    return found if (found.get("status"), found.get("reason")) == ("False", "FailedGetExternalMetric") else None


@contextlib.contextmanager
def worker_pod(kube: KubeApi, load: Load) -> Iterator[None]:
    """A ready Pod of the Deployment, owned through a ReplicaSet, with an address at which `load` answers."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(load.metrics.render())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    http, namespace = KubeHttp(kube), load.namespace
    deployment = http.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/{DEPLOYMENT}")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    name = f"{DEPLOYMENT}-5d8f"
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "worker", "image": "none"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": DEPLOYMENT, "uid": deployment["metadata"]["uid"]}
    replica_set = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata | _owned_by(owner), "spec": spec}
    kube.kubectl("apply", "-f", "-", document=replica_set)
    uid = kube.get("replicaset", name, "-n", namespace)["metadata"]["uid"]
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": uid}
    ports = [{"name": "metrics", "containerPort": server.server_port}]
    container = {"name": "worker", "image": "none", "ports": ports}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata | _owned_by(owner),
        "spec": {"containers": [container]},
    }
    kube.kubectl("apply", "-f", "-", document=pod)
    ready = {"podIP": "127.0.0.1", "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    http.merge_patch(f"/api/v1/namespaces/{namespace}/pods/{name}/status", {"status": ready})
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(30)


def _owned_by(owner: dict[str, Any]) -> dict[str, Any]:
    return {"ownerReferences": [{**owner, "controller": True}]}
