"""A route is changed while it holds messages: nothing is dropped before it is empty, and the status tells."""

from typing import Any
from urllib.request import urlopen

import pytest

from chaski_aws.provision.send_block import is_fenced
from support.kube.api_server import KubeApi
from support.metric_pages import value
from support.operator.processes import Operator, until
from support.operator.routes import Operated

pytestmark = pytest.mark.timeout(400)  # many waits with deadlines of their own, on a machine that others use too

RUNGS = [{"name": "fast", "delaySeconds": 5}, {"name": "slow", "delaySeconds": 60}]


def with_rungs(*rungs: dict[str, Any]) -> dict[str, Any]:
    """`spec.retry` with these."""
    return {"rungs": list(rungs), "ladders": [{"class": "5xx", "rungs": [each["name"] for each in rungs]}]}


@pytest.fixture
def route(op: Operator, namespace: str) -> Operated:
    """A route of one queue with one partition, Ready."""
    made = Operated(op, namespace)
    made.apply()
    made.ready()
    return made


def hashes(route: Operated) -> dict[str, str]:
    """The template's hash of each Deployment."""
    items = route.op.kube.get("deployments", "-n", route.namespace)["items"]
    return {
        each["metadata"]["name"]: each["spec"]["template"]["metadata"]["annotations"]["chaski.dev/route-hash"]
        for each in items
    }


def test_more_partitions_make_a_new_generation_and_the_old_one_runs_empty_first(route: Operated, kube: KubeApi) -> None:
    """Fenced, shown, kept while it holds a message, deleted when it holds none."""
    old = route.queue("-messages-g1-p0-")
    route.send(old)
    before = hashes(route)
    route.apply(queues=[{"name": "messages", "partitions": 2}])
    route.await_condition("QueuesReady", "True", "Draining")
    assert is_fenced(route.attributes(old)["Policy"])
    assert route.rows() == {"messages": "Active", "messages.g1": "Draining"}

    def fenced() -> list[tuple[int, bool]]:
        return [(each["number"], "fencedAt" in each) for each in route.resolved()["generations"]]

    until(lambda: fenced() == [(1, True), (2, False)], "the fence is not told")
    config = kube.get("configmap", "chaski-orders", "-n", route.namespace)["data"]["resolved.yaml"]
    assert "-messages-g1-p0-" in config
    assert hashes(route) != before
    looks = route.op.asked(route.namespace, "ListQueues")
    until(lambda: route.op.asked(route.namespace, "ListQueues") > looks + 5, "nobody looked")
    assert route.queue("-messages-g1-p0-") == old

    route.purge(old)
    route.whole()
    until(lambda: len(route.queues()) == 2, "the old queue stayed")
    assert route.resolved()["generation"] == 2
    until(lambda: {"Fenced", "Dropped"} <= route.events(), "nobody was told")


def test_a_renamed_queue_keeps_its_workers_until_it_is_empty(route: Operated) -> None:
    """Its Deployment works it off under the old name, then goes."""
    old = route.queue("-messages-g1-p0-")
    route.send(old)
    route.apply(queues=[{"name": "letters"}])
    route.await_condition("QueuesReady", "True", "Draining")
    route.ready()
    assert route.names() == ["chaski-orders-letters", "chaski-orders-messages"]
    route.purge(old)
    route.whole()
    until(lambda: route.names() == ["chaski-orders-letters"], "the old Deployment stayed")
    assert route.names("poddisruptionbudgets") == ["chaski-orders-letters"]


def test_a_rung_that_is_removed_runs_empty_first_and_one_that_is_changed_waits_otherwise(route: Operated) -> None:
    """The removed one keeps its messages; the delay of the other is set on its queue, and an event says so."""
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
    route.whole()
    assert route.resolved()["retiredRungs"] == []
    until(lambda: "RungDelayChanged" in route.events(), "nobody was told")
    assert route.condition("Drifted")["status"] == "False"


def test_what_others_change_is_put_right(route: Operated, kube: KubeApi) -> None:
    """A Deployment's image, a deleted ConfigMap, a queue's attribute; what others add stays."""
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
    until(lambda: route.names("configmaps") == ["chaski-orders"], "the ConfigMap was not made again")

    url = route.queue("-messages-g1-p0-")
    route.set_attributes(url, VisibilityTimeout="7")
    until(lambda: route.attributes(url)["VisibilityTimeout"] == "120", "the attribute stayed")
    until(lambda: "DriftCorrected" in route.events(), "nobody was told")
    with urlopen(route.op.metrics_url()) as answer:  # noqa: S310 - of the operator that the test runs
        page = answer.read().decode()
    assert value(page, "chaski_drifts_total", namespace=namespace, kind="Deployment") >= 1
    assert value(page, "chaski_drifts_total", namespace=namespace, kind="AWS") >= 1


def test_suspend_is_shown_and_a_paused_route_is_left_alone(route: Operated, kube: KubeApi) -> None:
    """Until the annotation goes."""
    route.apply(suspend={"delivery": True})
    route.await_condition("Suspended", "True")
    kube.kubectl("annotate", "chaskiroute", "orders", "-n", route.namespace, "chaski.dev/reconcile=disabled")
    kube.kubectl("delete", "deployment", "chaski-orders-messages", "-n", route.namespace)
    looks = route.op.asked(route.namespace, "ListQueues")
    route.op.quiet(route.namespace, 3)
    assert route.names() == []
    assert route.op.asked(route.namespace, "ListQueues") <= looks + 1
    kube.kubectl("annotate", "chaskiroute", "orders", "-n", route.namespace, "chaski.dev/reconcile-")
    until(lambda: route.names() == ["chaski-orders-messages"], "the route stayed alone")


def test_an_operator_that_was_away_catches_up(route: Operated, namespace: str) -> None:
    """Changes, new routes and deletions meanwhile."""
    gone = Operated(route.op, namespace, "gone")
    gone.apply()
    gone.ready()
    assert route.op.stop() == 0
    route.apply(delivery={"timeoutSeconds": 77})
    new = Operated(route.op, namespace, "new")
    new.apply()
    gone.delete()
    route.op.start()
    route.ready()
    new.ready()
    deployment = route.op.kube.get("deployment", "chaski-orders-messages", "-n", namespace)
    assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 92
    assert len(gone.queues()) == 1  # Retain
