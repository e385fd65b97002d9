"""The quickstarts of docs/: the objects of examples/quickstart, and the request that a reader makes."""

import contextlib
import http.client
import json
import os
import re
import ssl
import subprocess
from collections.abc import Iterator

import pytest

from support.cluster.cluster import ROOT, SYSTEM, Cluster
from support.cluster.pods import TeamNamespace

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1900)]

OBJECTS = ROOT / "examples" / "quickstart" / "orders.yaml"
SECONDS = 30.0


@contextlib.contextmanager
def forwarded(cluster: Cluster) -> Iterator[int]:
    """Forwards a free local port to ingest, as `kubectl port-forward` in the pages."""
    command = [cluster.info["KUBECTL"], "port-forward", "-n", SYSTEM, "service/chaski-ingest", ":http"]
    environment = os.environ | {"KUBECONFIG": cluster.info["KUBECONFIG"]}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.match(r"Forwarding from 127\.0\.0\.1:(\d+) ->", line)
        assert found is not None, f"{line!r}\n{cluster.state()}"
        yield int(found[1])
    finally:
        process.terminate()
        process.wait(SECONDS)
        assert process.stdout is not None
        process.stdout.close()


def post(port: int, path: str, token: str, message: object) -> tuple[int, dict[str, object]]:
    """Status and JSON of a request to ingest, whose certificate has the name of the Service, not that of the tunnel."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=SECONDS, context=context)
    try:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        connection.request("POST", path, json.dumps(message), headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_the_message_of_the_quickstart_reaches_its_target(team: TeamNamespace) -> None:
    """202, the line in the target's log, and the reason of a refusal."""
    cluster, namespace = team.cluster, team.namespace
    values = (cluster.values[-2]).read_text("utf-8")
    image = re.search(r'tools:\n  image: \{repository: (\S+), tag: "(\w+)"', values)
    assert image is not None
    text = OBJECTS.read_text("utf-8").replace("REGISTRY/chaski/tools:0.1.0", f"{image[1]}:{image[2]}")
    text = text.replace("namespace: shop", f"namespace: {namespace}").replace("crm.shop.svc", f"crm.{namespace}.svc")
    _, objects = text.split("---\n", 1)  # the namespace exists, with what the installation needs
    cluster.kubectl("apply", "-f", "-", document=objects)
    cluster.ready(namespace, "orders")
    token = cluster.kubectl("create", "token", "web", "-n", namespace, "--audience", "chaski").strip()
    path, url = f"/v1/routes/{namespace}/orders/messages", f"http://crm.{namespace}.svc.cluster.local:9000/hooks"
    with forwarded(cluster) as port:
        message = {"subject": "order-7", "body": {"url": url, "content": {"paid": True}}}
        status, accepted = post(port, path, token, message)
        assert (status, bool(accepted.get("messageId"))) == (202, True), accepted
        status, problem = post(port, path, token, {"subject": "order-7", "body": {}})
        assert status == 400
        assert "body.url" in json.dumps(problem)
    cluster.until(
        "the message in the target's log",
        lambda: "paid" in cluster.kubectl("logs", "-n", namespace, "deployment/crm"),
        60,
    )
    cluster.kubectl("delete", "deployment", "crm", "-n", namespace)
