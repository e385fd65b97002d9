"""An operator that is killed after each of its writes still reaches the desired state."""

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.faults.recording_proxy import ProxiedRequest
from support.kube.api_server import KubeApi
from support.operator.processes import Operator, kubelets, operator, until
from support.operator.routes import OperatedRoute

WRITE_SECONDS = 60.0  # from the start of a process to its first write


class CrashLoop:
    """Kills the operator after each of its writes, before it receives the response, and starts it again."""

    def __init__(self, op: Operator) -> None:
        self.op = op
        self.steps: list[str] = []
        op.api.after = op.aws.after = self._kill

    def until(self, done: Callable[[], bool], failure: str) -> None:
        """Restarts the operator until `done`."""
        while True:
            kills = len(self.steps)
            if self.op.process is None or self.op.process.poll() is not None:
                self.op.start()
            started = time.monotonic()
            while len(self.steps) == kills:
                if done():
                    return
                assert time.monotonic() < started + WRITE_SECONDS, f"{failure}; so far {self.steps}"
                time.sleep(0.1)
            assert self.op.process is not None
            self.op.process.wait()

    def _kill(self, asked: ProxiedRequest) -> None:
        if asked.writes and "/leases" not in asked.path and self.op.process is not None:
            self.op.process.kill()
            self.steps.append(asked.summary.rpartition("/")[2] if asked.path.startswith("/api") else asked.summary)


def foreign(route: OperatedRoute) -> Callable[[], Any]:
    """Creates a foreign queue and ConfigMap with similar names; returns a function that reads their state."""
    url = route.make_foreign(f"chaski-{route.namespace}-orders-messages-g9-p9-00000000.fifo")
    kube = route.op.kube
    kube.kubectl("create", "configmap", "chaski-other", "-n", route.namespace, "--from-literal=a=b")

    def state() -> Any:
        version = kube.get("configmap", "chaski-other", "-n", route.namespace)["metadata"]["resourceVersion"]
        return route.attributes(url), version

    return state


def is_complete(route: OperatedRoute) -> bool:
    """Whether the current route is Ready, and no queue is draining."""
    return route.condition("Ready").get("status") == "True" and "Draining" not in route.rows().values()


def created(op: Operator) -> Counter[str]:
    """The number of requests that create each queue and table."""
    bodies = [json.loads(each.body) for each in op.aws.asked if each.summary in ("CreateQueue", "CreateTable")]
    return Counter(str(body.get("QueueName") or body.get("TableName")) for body in bodies)


@pytest.mark.timeout(900)  # about forty processes, one after the other
def test_kill_after_every_write_of_a_create_a_change_and_a_delete(
    kube: KubeApi, tmp_path: Path, moto: str, namespace: str, report: Callable[[str], None]
) -> None:
    """The final state is right, nothing is created twice, foreign resources are not touched."""
    with operator(kube, tmp_path, moto, namespace) as op, kubelets(kube, namespace):
        orders = OperatedRoute(op, namespace)
        others = foreign(orders)
        before = others()
        loop = CrashLoop(op)

        orders.apply(deletionPolicy="Delete")
        loop.until(lambda: is_complete(orders), "the route is not Ready")
        creates = len(loop.steps)
        assert orders.generations() == {"chaski-orders-messages": 1}
        assert len(orders.queues()) == 1 + 1

        orders.apply(queues=[{"name": "renamed", "partitions": 2}], deletionPolicy="Delete")
        loop.until(lambda: is_complete(orders), "the change is not complete")
        changes = len(loop.steps) - creates
        assert orders.names() == ["chaski-orders-renamed"]
        assert [name for name in orders.queues() if "-messages-g1-" in name] == []
        assert len(orders.queues()) == 2 + 1
        assert orders.resolved()["generation"] == 2

        kube.kubectl("delete", "chaskiroute", "orders", "-n", namespace, "--wait=false")
        loop.until(lambda: orders.get() is None, "the route was not deleted")
        deletes = len(loop.steps) - creates - changes
        assert len(orders.queues()) == 1
        assert set(created(op).values()) == {1}, created(op)
        assert others() == before
        until(lambda: orders.names() == [], "owned objects stayed")
        report(f"{creates} kills in the create, {changes} in the change, {deletes} in the delete")
