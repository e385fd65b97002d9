"""An operator that is killed after each of its writes, one write a life, still brings a route to its end."""

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.gates import Asked
from support.kubeapi import KubeApi
from support.operators import Operator, kubelets, operator, until

LIFE_SECONDS = 60.0  # one process, from its start to its write


def route(namespace: str, **spec: Any) -> dict[str, Any]:
    """A small route whose deletion deletes all."""
    whole = {
        "queues": [{"name": "messages", "partitions": 1}],
        "targets": {"allow": [{"name": "t", "url": "https://t.example/"}]},
        "retry": {"rungs": [], "ladders": []},  # every queue more is a life more
        "deletionPolicy": "Delete",
    }
    return {
        "apiVersion": "chaski.dev/v1alpha1",
        "kind": "ChaskiRoute",
        "metadata": {"name": "orders", "namespace": namespace},
        "spec": whole | spec,
    }


class CrashLoop:
    """Kills the operator as soon as a write of it was done, before it hears of that; starts it again."""

    def __init__(self, op: Operator) -> None:
        self.op = op
        self.steps: list[str] = []
        op.api.after = op.aws.after = self._kill

    def until(self, done: Callable[[], bool], told: str) -> None:
        """Lives and dies until the end is reached."""
        while True:
            lives = len(self.steps)
            if self.op.process is None or self.op.process.poll() is not None:
                self.op.start()
            begun = time.monotonic()
            while len(self.steps) == lives:
                if done():
                    return
                assert time.monotonic() < begun + LIFE_SECONDS, f"{told}; so far {self.steps}"
                time.sleep(0.1)
            assert self.op.process is not None
            self.op.process.wait()

    def _kill(self, asked: Asked) -> None:
        if asked.writes and "/leases" not in asked.path and self.op.process is not None:
            self.op.process.kill()
            self.steps.append(asked.told.rpartition("/")[2] if asked.path.startswith("/api") else asked.told)


def foreign(op: Operator, namespace: str) -> Callable[[], Any]:
    """Makes things of others with names like ours; gives back what tells how they are."""
    aws = op.boto()
    name = f"chaski-{namespace}-orders-messages-g9-p9-00000000.fifo"
    url = aws.call(
        "sqs", "CreateQueue", {"QueueName": name, "Attributes": {"FifoQueue": "true"}, "tags": {"team": "x"}}
    )["QueueUrl"]
    op.kube.kubectl("create", "configmap", "chaski-other", "-n", namespace, "--from-literal=a=b")

    def state() -> Any:
        attributes = aws.call("sqs", "GetQueueAttributes", {"QueueUrl": url, "AttributeNames": ["All"]})["Attributes"]
        tags = aws.call("sqs", "ListQueueTags", {"QueueUrl": url})["Tags"]
        version = op.kube.get("configmap", "chaski-other", "-n", namespace)["metadata"]["resourceVersion"]
        return attributes, tags, version

    return state


def ready(op: Operator, namespace: str) -> bool:
    """Whether the route of now is Ready, and nothing runs empty any more."""
    document = op.kube.get("chaskiroute", "orders", "-n", namespace)
    status = document.get("status", {})
    told = {each["type"]: each for each in status.get("conditions", ())}
    whole = told.get("Ready", {}).get("status") == "True" and len(status["resolved"]["generations"]) == 1
    return bool(whole and told["Ready"]["observedGeneration"] == document["metadata"]["generation"])


def created(op: Operator) -> Counter[str]:
    """How often each queue and table was asked to be made."""
    bodies = [json.loads(each.body) for each in op.aws.asked if each.told in ("CreateQueue", "CreateTable")]
    return Counter(str(body.get("QueueName") or body.get("TableName")) for body in bodies)


def queues(op: Operator, namespace: str) -> list[str]:
    """Names of the queues that there are."""
    found = op.boto().call("sqs", "ListQueues", {"QueueNamePrefix": f"chaski-{namespace}-"}).get("QueueUrls", ())
    return sorted(url.rpartition("/")[2] for url in found)


@pytest.mark.timeout(400)  # some forty processes, one after the other
def test_killed_after_every_write_of_a_create_a_change_and_a_delete(
    kube: KubeApi, tmp_path: Path, moto: str, namespace: str, report: Callable[[str], None]
) -> None:
    """The end state is right, nothing is made twice, nothing foreign is touched."""
    with operator(kube, tmp_path, moto, namespace) as op, kubelets(kube, namespace):
        others = foreign(op, namespace)
        before = others()
        loop = CrashLoop(op)

        kube.kubectl("apply", "-f", "-", document=route(namespace))
        loop.until(lambda: ready(op, namespace), "the route was not made")
        creates = len(loop.steps)
        deployments = kube.get("deployments", "-n", namespace)["items"]
        assert {each["metadata"]["name"]: each["metadata"]["generation"] for each in deployments} == {
            "chaski-orders-messages": 1
        }
        assert len(queues(op, namespace)) == 1 + 1

        changed = route(namespace, queues=[{"name": "letters", "partitions": 2}])
        kube.kubectl("apply", "-f", "-", document=changed)
        loop.until(lambda: ready(op, namespace), "the change was not made")
        changes = len(loop.steps) - creates
        names = {each["metadata"]["name"] for each in kube.get("deployments", "-n", namespace)["items"]}
        assert names == {"chaski-orders-letters"}
        assert [name for name in queues(op, namespace) if "-messages-g1-" in name] == []
        assert len(queues(op, namespace)) == 2 + 1
        resolved = kube.get("chaskiroute", "orders", "-n", namespace)["status"]["resolved"]
        assert resolved["generation"] == 2

        kube.kubectl("delete", "chaskiroute", "orders", "-n", namespace, "--wait=false")
        gone = lambda: kube.try_kubectl("get", "chaskiroute", "orders", "-n", namespace).returncode != 0  # noqa: E731
        loop.until(gone, "the route did not go")
        deletes = len(loop.steps) - creates - changes
        assert len(queues(op, namespace)) == 1
        assert set(created(op).values()) == {1}, created(op)
        assert others() == before
        until(lambda: not kube.get("deployments", "-n", namespace)["items"], "owned objects stayed")
        print(loop.steps)
        report(f"{creates} kills in the create, {changes} in the change, {deletes} in the delete")
