"""A real API server, moto, and one operator for all tests of a module, each test in its own namespace."""

from collections.abc import Iterator

import pytest

from support.aws.moto_server import MotoServer
from support.kube.api_server import KubeApi
from support.operator.processes import Operator, kubelets, operator
from support.operator.routes import OperatedRoute

_NAMESPACES = 12  # more than a file has tests


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """An AWS account for this test process; routes of different tests differ in their namespace."""
    server = MotoServer()
    yield server.url
    server.stop()


@pytest.fixture(scope="module")
def pool(kube: KubeApi) -> list[str]:
    """Unused namespaces."""
    return [kube.make_namespace("op") for _ in range(_NAMESPACES)]


@pytest.fixture(scope="module")
def shared(kube: KubeApi, tmp_path_factory: pytest.TempPathFactory, moto: str, pool: list[str]) -> Iterator[Operator]:
    """An operator of these namespaces, with Deployments that roll out at once."""
    with operator(kube, tmp_path_factory.mktemp("operator"), moto, *pool) as made, kubelets(kube, *pool):
        made.start()
        yield made


@pytest.fixture
def namespace(kube: KubeApi, pool: list[str]) -> Iterator[str]:
    """A namespace for one test; its routes are deleted at the end."""
    name = pool.pop()
    yield name
    kube.try_kubectl("delete", "chaskiroutes", "--all", "-n", name, "--wait=false")


@pytest.fixture
def op(shared: Operator) -> Operator:
    """The operator, running."""
    if shared.process is None or shared.process.poll() is not None:
        shared.start()
    return shared


@pytest.fixture
def route(op: Operator, namespace: str) -> OperatedRoute:
    """A route of one queue with one partition, ready."""
    made = OperatedRoute(op, namespace)
    made.apply()
    made.ready()
    return made
