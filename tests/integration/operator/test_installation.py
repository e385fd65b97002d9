"""Ownership of queues: a cluster's own by default, and never another one's by accident."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from chaski_aws.provision.state import OWNER_TAG
from chaski_core.route.loading import load_route
from support.kube.api_server import KubeApi
from support.kube.http import KubeHttp
from support.operator.processes import QUICK, Operator, kubelets, operator, until
from support.operator.provisioning import provision_as_earlier
from support.operator.routes import OperatedRoute, route

pytestmark = [pytest.mark.timeout(400), pytest.mark.promise(7)]


@pytest.fixture
def own(kube: KubeApi, tmp_path: Path, moto: str) -> Iterator[Operator]:
    """An operator of one namespace, without `--installation`, not started yet."""
    namespace = kube.make_namespace("owner")
    with operator(kube, tmp_path, moto, namespace) as made, kubelets(kube, namespace):
        yield made


def owner(operated: OperatedRoute) -> str:
    """The owner tag of the route's first queue."""
    url = operated.queue("messages-g1-p0") if any("g1-p0" in each for each in operated.queues()) else ""
    url = url or operated.queue(operated.queues()[0])
    return str(operated.op.boto().call("sqs", "ListQueueTags", {"QueueUrl": url})["Tags"][OWNER_TAG])


def test_installation_is_the_cluster(own: Operator) -> None:
    """The UID of kube-system, which is unique to a cluster."""
    own.start()
    operated = OperatedRoute(own, own.namespaces[0])
    operated.apply()
    operated.ready()
    uid = KubeHttp(own.kube).get("/api/v1/namespaces/kube-system")["metadata"]["uid"]
    assert owner(operated) == uid


def test_upgrade_does_not_adopt_queues_of_the_old_default(own: Operator) -> None:
    """The condition names the value to set; with it the route continues with its queues."""
    namespace = own.namespaces[0]
    provision_as_earlier(own.boto(), load_route(route(namespace)), "chaski")
    operated = OperatedRoute(own, namespace)
    before = operated.queues()
    own.start()
    operated.apply()
    condition = operated.await_condition("QueuesReady", "False", "QueueNotOwned")
    assert 'installation: set it to "chaski" to keep using these' in condition["message"]
    assert (operated.queues(), owner(operated)) == (before, "chaski")
    assert 'set it to \\"chaski\\"' in own.log.read_text()
    assert own.stop() == 0
    own.flags = (*QUICK, "--installation", "chaski")
    own.start()
    operated.ready()
    assert (operated.queues(), owner(operated)) == (before, "chaski")


def tags_of(own: Operator, url: str) -> dict[str, str]:
    """The tags of a queue."""
    found: dict[str, str] = own.boto().call("sqs", "ListQueueTags", {"QueueUrl": url})["Tags"]
    return found


def test_key_and_tags_of_the_installation_are_those_of_its_queues(own: Operator) -> None:
    """And the key of a route takes precedence."""
    keys = [f"arn:aws:kms:us-east-1:123456789012:key/{number}234abcd" for number in (1, 2)]
    own.flags = (*QUICK, "--kms-key-arn", keys[0], "--aws-tag", "cost-center=4711", "--aws-tag-label", "team")
    own.start()
    operated = OperatedRoute(own, own.namespaces[0])
    operated.apply()
    operated.ready()
    own.kube.kubectl("label", "chaskiroute", operated.name, "-n", operated.namespace, "team=checkout")
    urls = [operated.queue(name) for name in operated.queues()]
    for url in urls:
        assert operated.attributes(url)["KmsMasterKeyId"] == keys[0]
        assert tags_of(own, url)["cost-center"] == "4711"
    until(lambda: all(tags_of(own, url).get("team") == "checkout" for url in urls), "the label is not a tag", 60)
    operated.apply(encryption={"kmsKeyArn": keys[1]})
    until(lambda: {operated.attributes(url)["KmsMasterKeyId"] for url in urls} == {keys[1]}, "the key stayed")
