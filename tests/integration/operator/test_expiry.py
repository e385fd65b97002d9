"""A queue that no worker serves nears its end on SQS: the operator starts a worker that attempts nothing, and ends it.

How the age is found is tested in virtual time (unit/operator/test_expiry_loop.py); here is what follows from it, on a real API
server, over the restart of an operator.
"""

import time

import pytest

from chaski_core.timestamps import timestamp
from support.kube.http import DEPLOYMENTS, ROUTES, KubeHttp
from support.operator.processes import Operator, until
from support.operator.routes import NAME, Operated

pytestmark = [pytest.mark.timeout(400), pytest.mark.promise(2)]

DAY_MS = 86_400_000


def test_worker_that_keeps_what_expires_comes_and_goes(op: Operator, namespace: str) -> None:
    """Although delivery is suspended and the replicas are another autoscaler's; it needs no Secret and no target."""
    placed, http = Operated(op, namespace), KubeHttp(op.kube)
    placed.apply(
        suspend={"delivery": True}, autoscaling={"mode": "External"}, signing={"secretName": "not-there"}
    )  # fmt: skip
    placed.await_condition("NearExpiry", "False", "NotNear")
    url = placed.queue("messages")
    assert op.stop() == 0
    placed.send(url)
    said = {
        "type": "NearExpiry", "status": "True", "reason": "Sweeping", "message": "as an operator said before",
        "lastTransitionTime": timestamp(round(time.time()) * 1000), "observedGeneration": 1,
    }  # fmt: skip
    since = timestamp(round(time.time() * 1000) - round(12.5 * DAY_MS))
    status = {
        "conditions": [said],
        "queues": [{"name": "messages", "notEmptySince": since}],
        "countsObservedAt": since,
    }
    document = {
        "apiVersion": "chaski.dev/v1alpha1",
        "kind": "ChaskiRoute",
        "metadata": {"name": NAME},
        "status": status,
    }
    op.kube.kubectl(
        "apply", "--server-side", "--force-conflicts", "--field-manager=chaski-autoscaler", "--subresource=status",
        "-n", namespace, "-f", "-", document=document,
    )  # fmt: skip
    op.start()
    name = until(lambda: next((each for each in placed.names() if "-sweep-" in each), None), "no worker was started")
    spec = http.get(f"{DEPLOYMENTS}/namespaces/{namespace}/deployments/{name}")["spec"]["template"]["spec"]
    assert spec["containers"][0]["command"][:2] == ["chaski-worker", "sweep"]
    assert [each["name"] for each in spec["volumes"]] == ["route"]
    row = next(
        each
        for each in http.get(f"{ROUTES}/namespaces/{namespace}/chaskiroutes/{NAME}")["status"]["queues"]
        if each["name"] == "messages"
    )
    assert row["notEmptySince"] == since
    placed.purge(url)
    until(lambda: name not in placed.names(), "the worker stayed")
    placed.await_condition("NearExpiry", "False", "NotNear")
