"""Two operators over the same namespace: each route is served by one of them, and the other one leaves it alone."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from chaski_aws.names import namespace_prefix
from chaski_aws.provision.state import OWNER_TAG
from chaski_core.route.loading import load_route
from support.kube.api_server import KubeApi
from support.operator.processes import QUICK, Operator, two_operators, until
from support.operator.provisioning import provision_as_earlier
from support.operator.routes import OperatedRoute, route

pytestmark = [pytest.mark.timeout(600), pytest.mark.promise(7)]

NAMES = ("orders", "bills", "mails")


@pytest.fixture
def namespace(kube: KubeApi) -> str:
    """The namespace of both."""
    return kube.make_namespace("two")


@pytest.fixture
def both(kube: KubeApi, tmp_path: Path, moto: str, namespace: str) -> Iterator[tuple[Operator, Operator]]:
    """Two operators, each with its own Lease and installation, not started yet."""

    def flags(name: str) -> tuple[str, ...]:
        return (*QUICK, "--installation", name, "--lease-name", name)

    with two_operators(kube, tmp_path, moto, namespace, flags) as operators:
        yield operators


def serving(operated: OperatedRoute) -> str:
    """The installation that the status names; empty: none."""
    return str((operated.get() or {}).get("status", {}).get("installation", ""))


def page(op: Operator) -> str:
    """The operator's metrics."""
    with urlopen(op.metrics_url()) as response:  # noqa: S310 - of the operator that the test runs
        return str(response.read().decode())


def test_new_routes_are_served_by_one_each(
    both: tuple[Operator, Operator], namespace: str, report: Callable[[str], None]
) -> None:
    """Seen by both at once. The other one writes nothing: neither now, nor after a change, nor at the deletion."""
    for each in both:
        each.start()
    until(lambda: all(each.log.exists() and "managing the queues" in each.log.read_text() for each in both), "no start")
    routes = [OperatedRoute(both[0], namespace, name) for name in NAMES]
    for each in routes:
        each.apply(deletionPolicy="Delete")
    for each in routes:
        each.ready()
    settled = [len(each.writes(namespace)) for each in both]
    time.sleep(10)
    writes = [len(each.writes(namespace)) - before for each, before in zip(both, settled, strict=True)]
    report(f"writes of two operators for {len(NAMES)} routes in 10 s: {sum(writes)}")
    assert sum(writes) <= 2 * len(NAMES)  # what was still settling; every second one in both before
    owners = {each.name: serving(each) for each in routes}
    assert set(owners.values()) <= {"first", "second"}
    for each in routes:
        each.apply(deletionPolicy="Delete", delivery={"timeoutSeconds": 41})
    for each in routes:
        each.ready()
        assert serving(each) == owners[each.name]
    for index, op in enumerate(both):
        others = [name for name, owner in owners.items() if owner != ("first", "second")[index]]
        lines = op.log.read_text()
        for name in others:
            assert lines.count(f"{namespace}/{name}: served by the installation") == 1
            label = f'chaski_routes_left{{installation="{owners[name]}",namespace="{namespace}",route="{name}"}} 1.0'
            assert label in page(op)
            claims = [each for each in op.api.writes() if f"/chaskiroutes/{name}" in each.path]
            assert len(claims) <= 1, [each.summary for each in claims]  # the claim that was refused
            own = f"{namespace_prefix(('first', 'second')[index], namespace)}{name}-"
            assert not [each for each in op.aws.writes() if own.encode() in each.body]
            assert not [each for each in op.aws.writes() if f"{namespace}/{name}".encode() in each.body]
    for each in routes:
        each.delete()
        until(lambda each=each: not each.queues(), "queues are left")  # type: ignore[misc]  # mypy infers no default


def test_unclaimed_route_goes_to_the_installation_of_its_queues(
    both: tuple[Operator, Operator], namespace: str
) -> None:
    """As after an upgrade from a release that wrote no name: the other one, though first, waits for it."""
    first, second = both
    provision_as_earlier(first.boto(), load_route(route(namespace)), "second")
    operated = OperatedRoute(first, namespace)
    operated.apply()
    first.start()
    until(lambda: first.calls(namespace, "ListQueueTags"), "the first one did not look")
    second.start()
    operated.ready()
    assert serving(operated) == "second"
    until(lambda: f"{namespace}/orders: served by the installation" in first.log.read_text(), "the first does not know")
    assert not [each for each in first.writes(namespace) if "events" not in each]


def test_handover_of_a_route(both: tuple[Operator, Operator], namespace: str, kube: KubeApi) -> None:
    """A removed installation is not replaced by itself; with the documented commands it is."""
    first, second = both
    first.start()
    operated = OperatedRoute(first, namespace)
    operated.apply()
    operated.ready()
    assert first.stop() == 0
    second.start()
    until(lambda: f"{namespace}/orders: served by the installation" in second.log.read_text(), "not left alone")
    operated.apply(delivery={"timeoutSeconds": 42})
    second.quiet(namespace, 4.0)
    document = operated.get() or {}
    assert document["status"]["observedGeneration"] < document["metadata"]["generation"]
    aws = second.boto()
    for name in operated.queues():
        url = aws.call("sqs", "GetQueueUrl", {"QueueName": name})["QueueUrl"]
        aws.call("sqs", "TagQueue", {"QueueUrl": url, "Tags": {OWNER_TAG: "second"}})
    for name in operated.tables():
        arn = aws.call("dynamodb", "DescribeTable", {"TableName": name})["Table"]["TableArn"]
        tags = [{"Key": OWNER_TAG, "Value": "second"}]
        aws.call("dynamodb", "TagResource", {"ResourceArn": arn, "Tags": tags})
    patch = '{"status":{"installation":"second"}}'
    kube.kubectl("patch", "chaskiroute", "orders", "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)
    operated.ready()
    assert serving(operated) == "second"
    assert "chaski_routes_left{" not in page(second)
