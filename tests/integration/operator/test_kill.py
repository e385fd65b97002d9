"""An operator that is killed after each of its writes, one write a life, still brings a route to its end."""

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.faults.gate import Asked
from support.kube.api_server import KubeApi
from support.operator.processes import Operator, kubelets, operator, until
from support.operator.routes import Operated

LIFE_SECONDS = 60.0  # one process, from its start to its write


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


def foreign(route: Operated) -> Callable[[], Any]:
    """Makes things of others with names like ours; gives back what tells how they are."""
    url = route.make_foreign(f"chaski-{route.namespace}-orders-messages-g9-p9-00000000.fifo")
    kube = route.op.kube
    kube.kubectl("create", "configmap", "chaski-other", "-n", route.namespace, "--from-literal=a=b")

    def state() -> Any:
        version = kube.get("configmap", "chaski-other", "-n", route.namespace)["metadata"]["resourceVersion"]
        return route.attributes(url), version

    return state


def whole(route: Operated) -> bool:
    """Whether the route of now is Ready, and nothing runs empty any more."""
    return route.condition("Ready").get("status") == "True" and "Draining" not in route.rows().values()


def created(op: Operator) -> Counter[str]:
    """How often each queue and table was asked to be made."""
    bodies = [json.loads(each.body) for each in op.aws.asked if each.told in ("CreateQueue", "CreateTable")]
    return Counter(str(body.get("QueueName") or body.get("TableName")) for body in bodies)


@pytest.mark.timeout(900)  # some forty processes, one after the other
def test_killed_after_every_write_of_a_create_a_change_and_a_delete(
    kube: KubeApi, tmp_path: Path, moto: str, namespace: str, report: Callable[[str], None]
) -> None:
    """The end state is right, nothing is made twice, nothing foreign is touched."""
    with operator(kube, tmp_path, moto, namespace) as op, kubelets(kube, namespace):
        orders = Operated(op, namespace)
        others = foreign(orders)
        before = others()
        loop = CrashLoop(op)

        orders.apply(deletionPolicy="Delete")
        loop.until(lambda: whole(orders), "the route was not made")
        creates = len(loop.steps)
        assert orders.generations() == {"chaski-orders-messages": 1}
        assert len(orders.queues()) == 1 + 1

        orders.apply(queues=[{"name": "letters", "partitions": 2}], deletionPolicy="Delete")
        loop.until(lambda: whole(orders), "the change was not made")
        changes = len(loop.steps) - creates
        assert orders.names() == ["chaski-orders-letters"]
        assert [name for name in orders.queues() if "-messages-g1-" in name] == []
        assert len(orders.queues()) == 2 + 1
        assert orders.resolved()["generation"] == 2

        kube.kubectl("delete", "chaskiroute", "orders", "-n", namespace, "--wait=false")
        loop.until(lambda: orders.get() is None, "the route did not go")
        deletes = len(loop.steps) - creates - changes
        assert len(orders.queues()) == 1
        assert set(created(op).values()) == {1}, created(op)
        assert others() == before
        until(lambda: orders.names() == [], "owned objects stayed")
        report(f"{creates} kills in the create, {changes} in the change, {deletes} in the delete")
