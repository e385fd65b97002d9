"""The API server goes away, the definition goes, the operator dies and another takes over."""

import time
from pathlib import Path

import pytest

from support.kube.api_server import KubeApi
from support.operator.processes import QUICK, kubelets, operator, until
from support.operator.routes import Operated

pytestmark = pytest.mark.timeout(400)  # many waits with deadlines of their own, on a machine that others use too

SHORT_LEASE = ("--lease-seconds", "3")
KEPT_LEASE = ("--lease-seconds", "15")  # a busy machine must not take it from a process that lives


def test_the_operator_outlives_the_api_server_and_the_definition_goes_without_it(
    own_kube: KubeApi, tmp_path: Path, moto: str
) -> None:
    """Away for longer than a Lease lasts: the same process goes on. Uninstalled first, it leaves nothing that hangs."""
    namespace = own_kube.make_namespace()
    with (
        operator(own_kube, tmp_path, moto, namespace, flags=(*QUICK, *SHORT_LEASE)) as op,
        kubelets(own_kube, namespace),
    ):
        op.start()
        route = Operated(op, namespace)
        route.apply()
        route.ready()
        assert op.process is not None

        own_kube.down()
        deadline = time.monotonic() + 6
        while time.monotonic() < deadline:
            assert op.process.poll() is None, "the operator ended"
            time.sleep(0.2)
        own_kube.up()
        route.apply(delivery={"timeoutSeconds": 41})
        route.ready()
        assert op.process.poll() is None

        assert op.stop() == 0
        own_kube.kubectl("delete", "crd", "chaskiroutes.chaski.dev", "--timeout=60s")
        assert len(route.queues()) == 1  # Retain


def test_another_operator_takes_over_when_the_first_dies(kube: KubeApi, tmp_path: Path, moto: str) -> None:
    """And not before: while the first lives, the second writes nothing."""
    namespace = kube.make_namespace()
    flags = (*QUICK, *KEPT_LEASE)
    (tmp_path / "second").mkdir()
    with (
        operator(kube, tmp_path, moto, namespace, flags=flags) as first,
        operator(kube, tmp_path / "second", moto, namespace, flags=flags) as second,
        kubelets(kube, namespace),
    ):
        second.identity = "second"
        first.start()
        route = Operated(first, namespace)
        route.apply()
        route.ready()
        second.start()
        until(lambda: any("/leases" in each.path for each in second.api.asked), "the second does not wait")
        route.apply(delivery={"timeoutSeconds": 41})
        route.ready()
        assert second.api.writes() == []
        first.kill()
        route.apply(delivery={"timeoutSeconds": 42})
        route.ready()
        assert second.api.writes()
