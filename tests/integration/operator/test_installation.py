"""Whose queues a cluster's are: by default its own, and never by accident another's."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from chaski_aws.provision.settings import OWNER_TAG, ProvisionSettings
from chaski_core.route.loading import load_route
from support.kube.api_server import KubeApi
from support.kube.http import KubeHttp
from support.operator.processes import QUICK, Operator, kubelets, operator
from support.operator.provisioning import provision
from support.operator.routes import Operated, route

pytestmark = [pytest.mark.timeout(400), pytest.mark.promise(7)]


@pytest.fixture
def own(kube: KubeApi, tmp_path: Path, moto: str) -> Iterator[Operator]:
    """An operator of one namespace that nobody has named, not started yet."""
    namespace = kube.make_namespace("whose")
    with operator(kube, tmp_path, moto, namespace) as made, kubelets(kube, namespace):
        yield made


def owner(placed: Operated) -> str:
    """The tag of the route's first queue."""
    url = placed.queue("messages-g1-p0") if any("g1-p0" in each for each in placed.queues()) else ""
    url = url or placed.queue(placed.queues()[0])
    return str(placed.op.boto().call("sqs", "ListQueueTags", {"QueueUrl": url})["Tags"][OWNER_TAG])


def test_installation_is_the_cluster(own: Operator) -> None:
    """By the UID of kube-system, which no two clusters share."""
    own.start()
    placed = Operated(own, own.namespaces[0])
    placed.apply()
    placed.ready()
    uid = KubeHttp(own.kube).get("/api/v1/namespaces/kube-system")["metadata"]["uid"]
    assert owner(placed) == uid


def test_upgrade_does_not_adopt_what_the_old_default_made(own: Operator) -> None:
    """It says which value keeps it; with that value the route goes on with the queues that it had."""
    namespace = own.namespaces[0]
    provision(own.boto(), load_route(route(namespace)), ProvisionSettings("chaski"))
    placed = Operated(own, namespace)
    before = placed.queues()
    own.start()
    placed.apply()
    condition = placed.await_condition("QueuesReady", "False", "QueueNotOwned")
    assert 'installation: set it to "chaski" to keep using these' in condition["message"]
    assert (placed.queues(), owner(placed)) == (before, "chaski")
    assert 'set it to \\"chaski\\"' in own.log.read_text()
    assert own.stop() == 0
    own.flags = (*QUICK, "--installation", "chaski")
    own.start()
    placed.ready()
    assert (placed.queues(), owner(placed)) == (before, "chaski")
