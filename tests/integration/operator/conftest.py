"""A real API server, moto, and one operator between them for all tests of a file, each in a namespace of its own."""

from collections.abc import Iterator

import pytest

from support.aws.moto_server import MotoServer
from support.kube.api_server import KubeApi
from support.operator.processes import Operator, kubelets, operator

_NAMESPACES = 12  # more than a file has tests


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """An AWS account for this test process; tests name their routes in namespaces of their own."""
    server = MotoServer()
    yield server.url
    server.stop()


@pytest.fixture(scope="module")
def pool(kube: KubeApi) -> list[str]:
    """Namespaces that no test has used yet."""
    return [kube.make_namespace("op") for _ in range(_NAMESPACES)]


@pytest.fixture(scope="module")
def shared(kube: KubeApi, tmp_path_factory: pytest.TempPathFactory, moto: str, pool: list[str]) -> Iterator[Operator]:
    """An operator of these namespaces. Deployments do at once as they are told."""
    with operator(kube, tmp_path_factory.mktemp("operator"), moto, *pool) as made, kubelets(kube, *pool):
        made.start()
        yield made


@pytest.fixture
def namespace(kube: KubeApi, pool: list[str]) -> Iterator[str]:
    """A namespace of the test's own; its routes are gone for the tests that follow."""
    name = pool.pop()
    yield name
    kube.try_kubectl("delete", "chaskiroutes", "--all", "-n", name, "--wait=false")


@pytest.fixture
def op(shared: Operator) -> Operator:
    """The operator, at work."""
    if shared.process is None or shared.process.poll() is not None:
        shared.start()
    return shared
