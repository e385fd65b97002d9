"""A real API server, moto, and an operator between them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.kubeapi import KubeApi
from support.motoserver import MotoServer
from support.operators import Operator, kubelets, operator


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """An AWS account for this test process; tests name their routes in namespaces of their own."""
    server = MotoServer()
    yield server.url
    server.stop()


@pytest.fixture
def namespace(kube: KubeApi) -> str:
    """A namespace of the test's own."""
    return kube.make_namespace("op")


@pytest.fixture
def op(kube: KubeApi, tmp_path: Path, moto: str, namespace: str) -> Iterator[Operator]:
    """An operator of that namespace, started; Deployments do at once as they are told."""
    with operator(kube, tmp_path, moto, namespace) as made, kubelets(kube, namespace):
        made.start()
        yield made
