"""Deletion of a route: what stays, what is deleted, what is never touched, and how to proceed without an operator."""

import json
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from support.kube.api_server import KubeApi
from support.metric_pages import value
from support.operator.processes import Operator, until
from support.operator.routes import OperatedRoute
from support.operator.routes import route as route_document

pytestmark = pytest.mark.timeout(400)  # many waits, each with its own deadline, on a shared machine


@pytest.fixture
def route(op: Operator, namespace: str) -> OperatedRoute:
    """A route, not applied yet."""
    return OperatedRoute(op, namespace)


@pytest.mark.promise(7)
def test_retain_keeps_queues_and_table_for_the_same_route(route: OperatedRoute) -> None:
    """No finalizer; applied again, nothing is created a second time and no generation is skipped."""
    route.apply()
    route.ready()
    document = route.get()
    assert document is not None
    assert "finalizers" not in document["metadata"]
    url = route.queue("-messages-g1-p0-")
    route.send(url)
    route.delete()
    assert route.queue("-messages-g1-p0-") == url
    calls = route.op.calls(route.namespace, "CreateQueue", "CreateTable")
    route.apply()
    route.ready()
    assert route.resolved()["generation"] == 1
    assert route.op.calls(route.namespace, "CreateQueue", "CreateTable") == calls
    assert route.attributes(url)["ApproximateNumberOfMessages"] == "1"


@pytest.mark.promise(7)
def test_delete_removes_only_our_own_resources(route: OperatedRoute) -> None:
    """Queues with messages, the protected table; a foreign queue with a similar name stays."""
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


def test_change_of_the_policy_adds_or_removes_the_finalizer(route: OperatedRoute) -> None:
    """Delete needs it, Retain does not."""
    route.apply(deletionPolicy="Delete")
    route.ready()
    until(lambda: (route.get() or {})["metadata"].get("finalizers") == ["chaski.dev/finalizer"], "no finalizer")
    route.apply(deletionPolicy="Retain")
    until(lambda: "finalizers" not in (route.get() or {})["metadata"], "the finalizer stayed")


def test_namespace_is_deleted_with_its_routes(route: OperatedRoute, kube: KubeApi) -> None:
    """Without hanging, and with the queues of a route with Delete."""
    kube.need_controllers()
    route.apply(deletionPolicy="Delete")
    route.ready()
    kube.kubectl("delete", "namespace", route.namespace, "--wait=false")
    until(lambda: kube.try_kubectl("get", "namespace", route.namespace).returncode != 0, "the namespace hangs")
    assert route.queues() == []


@pytest.mark.promise(7)
def test_foreign_queue_is_refused_until_it_is_deleted(route: OperatedRoute, kube: KubeApi) -> None:
    """Named in the condition, and not changed; an annotation triggers a reconciliation."""
    probe = OperatedRoute(route.op, route.namespace)
    probe.apply()
    probe.ready()
    name = probe.queues()[0]
    probe.apply(deletionPolicy="Delete")
    probe.ready()
    probe.delete()
    foreign = route.make_foreign(name)
    before = route.attributes(foreign)
    route.apply()
    condition = route.await_condition("QueuesReady", "False", "QueueNotOwned")
    assert name in condition["message"]
    assert route.condition("Ready")["reason"] == "QueueNotOwned"
    assert route.attributes(foreign) == before
    assert route.names() == []
    until(lambda: "QueueNotOwned" in route.events(), "no event")
    route.drop_queue(foreign)
    kube.kubectl("annotate", "chaskiroute", "orders", "-n", route.namespace, "chaski.dev/reconcile-requested-at=now")
    route.ready()


def test_foreign_object_is_refused_until_it_is_deleted(route: OperatedRoute, kube: KubeApi) -> None:
    """A Deployment of another owner is not changed."""
    kube.kubectl(
        "create", "deployment", "chaski-orders-messages", "-n", route.namespace, "--image=theirs", "--replicas=0"
    )
    version = kube.get("deployment", "chaski-orders-messages", "-n", route.namespace)["metadata"]["generation"]
    route.apply()
    route.await_condition("WorkersAvailable", "False", "ObjectNotOwned")
    live = kube.get("deployment", "chaski-orders-messages", "-n", route.namespace)
    assert live["metadata"]["generation"] == version
    assert "ownerReferences" not in live["metadata"]
    kube.kubectl("delete", "deployment", "chaski-orders-messages", "-n", route.namespace)
    kube.kubectl("annotate", "chaskiroute", "orders", "-n", route.namespace, "chaski.dev/reconcile-requested-at=now")
    route.ready()


def test_finalizer_can_be_removed_by_hand_without_an_operator(route: OperatedRoute, kube: KubeApi) -> None:
    """As documented; the queues stay on AWS."""
    route.apply(deletionPolicy="Delete")
    route.ready()
    route.op.stop()
    kube.kubectl("delete", "chaskiroute", "orders", "-n", route.namespace, "--wait=false")
    assert (route.get() or {})["metadata"]["deletionTimestamp"]
    patch = json.dumps({"metadata": {"finalizers": None}})
    kube.kubectl("patch", "chaskiroute", "orders", "-n", route.namespace, "--type=merge", "-p", patch)
    until(lambda: route.get() is None, "the route stayed")
    assert len(route.queues()) == 1


@pytest.mark.promise(12)
def test_routes_that_were_deleted_have_no_series(route: OperatedRoute) -> None:
    """Of any metric with a route's label; a route that is made again is counted from zero."""
    names = [f"short-lived-{number}" for number in range(60)]
    documents = [route_document(route.namespace, name) for name in names]
    route.op.kube.kubectl("apply", "-f", "-", document={"apiVersion": "v1", "kind": "List", "items": documents})
    until(lambda: set(names) <= routes_with_series(route), "not all routes are counted")
    route.op.kube.kubectl("delete", "chaskiroutes", "--all", "-n", route.namespace, "--wait=false")
    until(lambda: not routes_with_series(route), f"series stayed of {routes_with_series(route)}")
    OperatedRoute(route.op, route.namespace, names[0]).apply()
    until(lambda: routes_with_series(route) == {names[0]}, "the route that was made again is not counted")
    # One reconciliation each 0.3 to 1 s: the first page after the first one shows few of them.
    page = metrics_page(route)
    assert value(page, "chaski_reconciles_total", namespace=route.namespace) < 60, page


def metrics_page(route: OperatedRoute) -> str:
    """The operator's page."""
    with urllib.request.urlopen(route.op.metrics_url(), timeout=30) as response:  # noqa: S310 - of this machine
        return str(response.read().decode())


def routes_with_series(route: OperatedRoute) -> set[str]:
    """The routes of the namespace that have a series of any metric."""
    return {
        sample.labels["route"]
        for family in text_string_to_metric_families(metrics_page(route))
        for sample in family.samples
        if "route" in sample.labels and sample.labels.get("namespace") == route.namespace
    }
