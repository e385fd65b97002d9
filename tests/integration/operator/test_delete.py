"""A route goes: what stays, what is deleted, what is never touched, and the way out without an operator."""

import json

import pytest

from support.kube.api_server import KubeApi
from support.operator.processes import Operator, until
from support.operator.routes import Operated

pytestmark = pytest.mark.timeout(400)  # many waits with deadlines of their own, on a machine that others use too


@pytest.fixture
def route(op: Operator, namespace: str) -> Operated:
    """A route that was not applied yet."""
    return Operated(op, namespace)


@pytest.mark.promise(7)
def test_retain_keeps_queues_and_table_and_the_same_route_takes_them_up_again(route: Operated) -> None:
    """No finalizer; nothing is made a second time, and no generation is skipped."""
    route.apply()
    route.ready()
    document = route.get()
    assert document is not None
    assert "finalizers" not in document["metadata"]
    url = route.queue("-messages-g1-p0-")
    route.send(url)
    route.delete()
    assert route.queue("-messages-g1-p0-") == url
    made = route.op.asked(route.namespace, "CreateQueue", "CreateTable")
    route.apply()
    route.ready()
    assert route.resolved()["generation"] == 1
    assert route.op.asked(route.namespace, "CreateQueue", "CreateTable") == made
    assert route.attributes(url)["ApproximateNumberOfMessages"] == "1"


@pytest.mark.promise(7)
def test_delete_takes_what_is_ours_and_nothing_else(route: Operated) -> None:
    """Queues, messages in them, the protected table; a foreign queue of a like name stays."""
    foreign = route.make_foreign(f"chaski-{route.namespace}-orders-messages-g1-p7-00000000.fifo")
    before = route.attributes(foreign)
    route.apply(deletionPolicy="Delete")
    route.ready()
    route.send(route.queue("-messages-g1-p0-"))
    assert len(route.tables()) == 1
    route.delete()
    assert [each for each in route.queues() if "-p7-" not in each] == []
    assert route.tables() == []
    assert route.attributes(foreign) == before


def test_a_policy_that_changes_takes_its_finalizer_along(route: Operated) -> None:
    """Delete has it, Retain has not."""
    route.apply(deletionPolicy="Delete")
    route.ready()
    until(lambda: (route.get() or {})["metadata"].get("finalizers") == ["chaski.dev/finalizer"], "no finalizer")
    route.apply(deletionPolicy="Retain")
    until(lambda: "finalizers" not in (route.get() or {})["metadata"], "the finalizer stayed")


def test_a_namespace_goes_with_its_routes(route: Operated, kube: KubeApi) -> None:
    """Nothing hangs, and Delete is kept to."""
    kube.need_controllers()
    route.apply(deletionPolicy="Delete")
    route.ready()
    kube.kubectl("delete", "namespace", route.namespace, "--wait=false")
    until(lambda: kube.try_kubectl("get", "namespace", route.namespace).returncode != 0, "the namespace hangs")
    assert route.queues() == []


@pytest.mark.promise(7)
def test_a_foreign_queue_is_refused_until_it_is_gone(route: Operated, kube: KubeApi) -> None:
    """Told with its name; untouched; an annotation has the route looked at again."""
    probe = Operated(route.op, route.namespace)
    probe.apply()
    probe.ready()
    name = probe.queues()[0]
    probe.apply(deletionPolicy="Delete")
    probe.ready()
    probe.delete()
    foreign = route.make_foreign(name)
    before = route.attributes(foreign)
    route.apply()
    said = route.await_condition("QueuesReady", "False", "QueueNotOwned")
    assert name in said["message"]
    assert route.condition("Ready")["reason"] == "QueueNotOwned"
    assert route.attributes(foreign) == before
    assert route.names() == []
    until(lambda: "QueueNotOwned" in route.events(), "nobody was told")
    route.drop_queue(foreign)
    kube.kubectl("annotate", "chaskiroute", "orders", "-n", route.namespace, "chaski.dev/reconcile-requested-at=now")
    route.ready()


def test_a_foreign_object_is_refused_until_it_is_gone(route: Operated, kube: KubeApi) -> None:
    """A Deployment that somebody else made stays as it is."""
    kube.kubectl(
        "create", "deployment", "chaski-orders-messages", "-n", route.namespace, "--image=theirs", "--replicas=0"
    )
    version = kube.get("deployment", "chaski-orders-messages", "-n", route.namespace)["metadata"]["generation"]
    route.apply()
    route.await_condition("WorkersAvailable", "False", "ObjectNotOwned")
    there = kube.get("deployment", "chaski-orders-messages", "-n", route.namespace)
    assert there["metadata"]["generation"] == version
    assert "ownerReferences" not in there["metadata"]
    kube.kubectl("delete", "deployment", "chaski-orders-messages", "-n", route.namespace)
    kube.kubectl("annotate", "chaskiroute", "orders", "-n", route.namespace, "chaski.dev/reconcile-requested-at=now")
    route.ready()


def test_the_documented_way_out_lets_a_route_go_without_an_operator(route: Operated, kube: KubeApi) -> None:
    """Its queues stay on AWS."""
    route.apply(deletionPolicy="Delete")
    route.ready()
    route.op.stop()
    kube.kubectl("delete", "chaskiroute", "orders", "-n", route.namespace, "--wait=false")
    assert (route.get() or {})["metadata"]["deletionTimestamp"]
    patch = json.dumps({"metadata": {"finalizers": None}})
    kube.kubectl("patch", "chaskiroute", "orders", "-n", route.namespace, "--type=merge", "-p", patch)
    until(lambda: route.get() is None, "the route stayed")
    assert len(route.queues()) == 1
