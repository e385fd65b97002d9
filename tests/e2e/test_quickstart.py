"""The quickstarts of docs/: the objects of examples/quickstart, and the request that a reader makes."""

import http.client
import json
import re
import ssl

import pytest

from support.cluster.cluster import ROOT
from support.cluster.pods import TeamNamespace

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1900)]

OBJECTS = ROOT / "examples" / "quickstart" / "orders.yaml"
SECONDS = 30.0


def post(address: str, path: str, token: str, message: object) -> tuple[int, dict[str, object]]:
    """Status and JSON of a request to ingest, whose certificate has the name of the Service, not that of the tunnel."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(address, timeout=SECONDS, context=context)
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
    with cluster.forwarded("chaski-ingest", "http") as address:
        message = {"subject": "order-7", "body": {"url": url, "content": {"paid": True}}}
        status, accepted = post(address, path, token, message)
        assert (status, bool(accepted.get("messageId"))) == (202, True), accepted
        status, problem = post(address, path, token, {"subject": "order-7", "body": {}})
        assert status == 400
        assert "body.url" in json.dumps(problem)
    cluster.until(
        "the message in the target's log",
        lambda: "paid" in cluster.kubectl("logs", "-n", namespace, "deployment/crm"),
        60,
    )
    cluster.kubectl("delete", "deployment", "crm", "-n", namespace)
