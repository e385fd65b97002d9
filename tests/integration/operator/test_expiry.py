"""Messages of a queue without workers are about to expire on SQS: the operator starts the sweeper, and removes it.

How the age is determined is tested in virtual time (unit/operator/expiry/test_ages.py); this is the consequence, on a real
API server, over a restart of the operator.
"""

import time

import pytest

from chaski_core.timestamps import timestamp
from support.kube.http import DEPLOYMENTS, ROUTES, KubeHttp
from support.operator.processes import Operator, until
from support.operator.routes import NAME, OperatedRoute

pytestmark = [pytest.mark.timeout(400), pytest.mark.promise(2)]

DAY_MS = 86_400_000


def test_sweeper_is_started_and_removed(op: Operator, namespace: str) -> None:
    """Even if delivery is suspended, replicas are set by another autoscaler and a Secret is missing."""
    operated, http = OperatedRoute(op, namespace), KubeHttp(op.kube)
    operated.apply(
        suspend={"delivery": True}, autoscaling={"mode": "External"}, signing={"secretName": "not-there"}
    )  # fmt: skip
    operated.await_condition("NearExpiry", "False", "NotNear")
    url = operated.queue("messages")
    assert op.stop() == 0
    operated.send(url)
    condition = {
        "type": "NearExpiry", "status": "True", "reason": "Sweeping", "message": "by an earlier operator",
        "lastTransitionTime": timestamp(round(time.time()) * 1000), "observedGeneration": 1,
    }  # fmt: skip
    since = timestamp(round(time.time() * 1000) - round(12.5 * DAY_MS))
    status = {
        "conditions": [condition],
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
    name = until(lambda: next((each for each in operated.names() if "-sweep-" in each), None), "no worker was started")
    spec = http.get(f"{DEPLOYMENTS}/namespaces/{namespace}/deployments/{name}")["spec"]["template"]["spec"]
    assert spec["containers"][0]["command"][:2] == ["chaski-worker", "sweep"]
    assert [each["name"] for each in spec["volumes"]] == ["route"]
    row = next(
        each
        for each in http.get(f"{ROUTES}/namespaces/{namespace}/chaskiroutes/{NAME}")["status"]["queues"]
        if each["name"] == "messages"
    )
    assert row["notEmptySince"] == since
    operated.purge(url)
    until(lambda: name not in operated.names(), "the worker stayed")
    operated.await_condition("NearExpiry", "False", "NotNear")
