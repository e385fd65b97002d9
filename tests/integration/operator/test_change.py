"""A route changes while it holds messages: no queue is deleted before it is empty, and the status shows it."""

from typing import Any
from urllib.request import urlopen

import pytest

from chaski_aws.provision.state import is_blocked
from support.kube.api_server import KubeApi
from support.metric_pages import value
from support.operator.processes import until
from support.operator.routes import OperatedRoute

pytestmark = pytest.mark.timeout(400)  # many waits, each with its own deadline, on a shared machine

RUNGS = [{"name": "fast", "delaySeconds": 5}, {"name": "slow", "delaySeconds": 60}]


def with_rungs(*rungs: dict[str, Any]) -> dict[str, Any]:
    """`spec.retry` with these rungs."""
    return {"rungs": list(rungs), "ladders": [{"class": "5xx", "rungs": [each["name"] for each in rungs]}]}


def hashes(route: OperatedRoute) -> dict[str, str]:
    """The template's hash of each Deployment."""
    items = route.op.kube.get("deployments", "-n", route.namespace)["items"]
    return {
        each["metadata"]["name"]: each["spec"]["template"]["metadata"]["annotations"]["chaski.dev/route-hash"]
        for each in items
    }


def test_more_partitions_create_a_generation_and_the_old_one_drains_first(route: OperatedRoute, kube: KubeApi) -> None:
    """Fenced, shown in the status, kept while it holds a message, deleted when empty."""
    old = route.queue("-messages-g1-p0-")
    route.send(old)
    before = hashes(route)
    route.apply(queues=[{"name": "messages", "partitions": 2}])
    route.await_condition("QueuesReady", "True", "Draining")
    assert is_blocked(route.attributes(old)["Policy"])
    assert route.rows() == {"messages": "Active", "messages.g1": "Draining"}

    def fenced() -> list[tuple[int, bool]]:
        return [(each["number"], "fencedAt" in each) for each in route.resolved()["generations"]]

    until(lambda: fenced() == [(1, True), (2, False)], "the status does not show the fence")
    config = kube.get("configmap", "chaski-orders", "-n", route.namespace)["data"]["resolved.yaml"]
    assert "-messages-g1-p0-" in config
    assert hashes(route) != before
    before_wait = route.op.calls(route.namespace, "ListQueues")
    until(lambda: route.op.calls(route.namespace, "ListQueues") > before_wait + 5, "no reconciliation")
    assert route.queue("-messages-g1-p0-") == old

    route.purge(old)
    route.complete()
    until(lambda: len(route.queues()) == 2, "the old queue stayed")
    assert route.resolved()["generation"] == 2
    until(lambda: {"Fenced", "Dropped"} <= route.events(), "no event")


def test_renamed_queue_keeps_its_workers_until_it_is_empty(route: OperatedRoute) -> None:
    """Its Deployment drains it under the old name, then is deleted."""
    old = route.queue("-messages-g1-p0-")
    route.send(old)
    route.apply(queues=[{"name": "letters"}])
    route.await_condition("QueuesReady", "True", "Draining")
    route.ready()
    assert route.names() == ["chaski-orders-letters", "chaski-orders-messages"]
    route.purge(old)
    route.complete()
    until(lambda: route.names() == ["chaski-orders-letters"], "the old Deployment stayed")
    assert route.names("poddisruptionbudgets") == ["chaski-orders-letters"]


def test_removed_rung_drains_first_and_a_changed_rung_gets_its_new_delay(route: OperatedRoute) -> None:
    """The removed one keeps its messages; the delay of the other is set on its queue, with an event."""
    route.apply(retry=with_rungs(*RUNGS))
    route.ready()
    slow = route.queue("-rung-slow-")
    route.send(slow)
    route.apply(retry=with_rungs({"name": "fast", "delaySeconds": 9}))
    route.await_condition("QueuesReady", "True", "Draining")
    assert route.attributes(route.queue("-rung-fast-"))["DelaySeconds"] == "9"
    assert [each["name"] for each in route.resolved()["retiredRungs"]] == ["slow"]
    assert route.rows()["rung-slow"] == "Draining"
    assert "chaski-orders-retry" in route.names()
    route.purge(slow)
    route.complete()
    assert route.resolved()["retiredRungs"] == []
    until(lambda: "RungDelayChanged" in route.events(), "no event")
    assert route.condition("Drifted")["status"] == "False"


def test_drift_is_corrected(route: OperatedRoute, kube: KubeApi) -> None:
    """A Deployment's image, a deleted ConfigMap, a queue's attribute; additions by others stay."""
    namespace = route.namespace
    patch = '{"metadata":{"labels":{"team":"x"}},"spec":{"replicas":3,"template":{"spec":{"containers":[{"name":"worker","image":"evil"}]}}}}'
    kube.kubectl("patch", "deployment", "chaski-orders-messages", "-n", namespace, "--type=strategic", "-p", patch)

    def image() -> str:
        deployment = kube.get("deployment", "chaski-orders-messages", "-n", namespace)
        return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])

    until(lambda: image() == "registry.example/worker:1", "the image stayed")
    deployment = kube.get("deployment", "chaski-orders-messages", "-n", namespace)
    assert deployment["metadata"]["labels"]["team"] == "x"
    assert deployment["spec"]["replicas"] == 3

    kube.kubectl("delete", "configmap", "chaski-orders", "-n", namespace)
    until(lambda: route.names("configmaps") == ["chaski-orders"], "the ConfigMap was not created again")

    url = route.queue("-messages-g1-p0-")
    route.set_attributes(url, VisibilityTimeout="7")
    until(lambda: route.attributes(url)["VisibilityTimeout"] == "120", "the attribute stayed")
    until(lambda: "DriftCorrected" in route.events(), "no event")
    with urlopen(route.op.metrics_url()) as response:  # noqa: S310 - of the operator that the test runs
        page = response.read().decode()
    assert value(page, "chaski_drifts_total", namespace=namespace, kind="Deployment") >= 1
    assert value(page, "chaski_drifts_total", namespace=namespace, kind="AWS") >= 1


def test_suspend_is_shown_and_a_paused_route_is_not_reconciled(route: OperatedRoute, kube: KubeApi) -> None:
    """Until the annotation is removed."""
    route.apply(suspend={"delivery": True})
    route.await_condition("Suspended", "True")
    route.await_condition("Ready", "False", "Suspended")
    route.await_condition("Stalled", "True", "Suspended")
    kube.kubectl("annotate", "chaskiroute", "orders", "-n", route.namespace, "chaski.dev/reconcile=disabled")
    kube.kubectl("delete", "deployment", "chaski-orders-messages", "-n", route.namespace)
    calls = route.op.calls(route.namespace, "ListQueues")
    route.op.quiet(route.namespace, 3)
    assert route.names() == []
    assert route.op.calls(route.namespace, "ListQueues") <= calls + 1
    kube.kubectl("annotate", "chaskiroute", "orders", "-n", route.namespace, "chaski.dev/reconcile-")
    until(lambda: route.names() == ["chaski-orders-messages"], "the route was not reconciled")


def test_a_suspended_target_is_in_the_workers_file_without_a_roll(route: OperatedRoute, kube: KubeApi) -> None:
    """The mounted ConfigMap changes, back and forth; the Deployment does not, so its Pods stay."""

    def generations() -> dict[str, int]:
        items = kube.get("deployments", "-n", route.namespace)["items"]
        return {each["metadata"]["name"]: each["metadata"]["generation"] for each in items}

    def is_suspended() -> bool:
        data: dict[str, str] = kube.get("configmap", "chaski-orders", "-n", route.namespace)["data"]
        return "suspend: true" in data["resolved.yaml"]

    before = generations(), hashes(route)
    for suspended in (True, False):
        route.apply(targets={"allow": [{"name": "t", "url": "https://t.example/", "suspend": suspended}]})
        until(lambda wanted=suspended: is_suspended() is wanted, "the ConfigMap does not follow the route")
        route.ready()
        assert (generations(), hashes(route)) == before


def test_restarted_operator_catches_up(route: OperatedRoute, namespace: str) -> None:
    """With changed, new and deleted routes."""
    deleted = OperatedRoute(route.op, namespace, "deleted")
    deleted.apply()
    deleted.ready()
    assert route.op.stop() == 0
    route.apply(delivery={"timeoutSeconds": 77})
    new = OperatedRoute(route.op, namespace, "new")
    new.apply()
    deleted.delete()
    route.op.start()
    route.ready()
    new.ready()
    deployment = route.op.kube.get("deployment", "chaski-orders-messages", "-n", namespace)
    assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 92
    assert len(deleted.queues()) == 1  # Retain


def test_a_route_without_producers_is_not_ready_until_it_has_some(route: OperatedRoute) -> None:
    """With a message and an event that name the field; its Pods and queues are not touched."""
    before = hashes(route)
    route.apply(producers=[])
    assert "spec.producers is empty" in route.await_condition("Ready", "False", "NoProducers")["message"]
    assert route.condition("QueuesReady")["status"] == route.condition("WorkersAvailable")["status"] == "True"
    until(lambda: "NoProducers" in route.events(), "no event")
    assert hashes(route) == before
    route.apply()
    route.ready()
