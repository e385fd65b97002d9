"""The API server is unavailable, the CRD is deleted, the operator dies and another takes over."""

import time
from pathlib import Path

import pytest
from aiohttp import web

from support.kube.api_server import KubeApi
from support.operator.processes import QUICK, kubelets, operator, two_operators, until
from support.operator.routes import OperatedRoute

pytestmark = pytest.mark.timeout(400)  # many waits, each with its own deadline, on a shared machine

SHORT_LEASE = ("--lease-seconds", "3")
UNREACHABLE = "chaski_api_server_unreachable_seconds"
LONG_LEASE = ("--lease-seconds", "15")  # on a busy machine a live process must not lose it


def test_operator_survives_an_outage_of_the_api_server_and_its_crd_can_be_deleted(
    own_kube: KubeApi, tmp_path: Path, moto: str
) -> None:
    """An outage longer than the Lease does not end the process. Without an operator the CRD's deletion does not hang."""
    namespace = own_kube.make_namespace()
    with (
        operator(own_kube, tmp_path, moto, namespace, flags=(*QUICK, *SHORT_LEASE)) as op,
        kubelets(own_kube, namespace),
    ):
        op.start()
        route = OperatedRoute(op, namespace)
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


def test_second_operator_takes_over_when_the_first_dies(kube: KubeApi, tmp_path: Path, moto: str) -> None:
    """While the first lives, the second writes nothing."""
    namespace = kube.make_namespace()
    with two_operators(kube, tmp_path, moto, namespace, lambda _: (*QUICK, *LONG_LEASE)) as (first, second):
        first.start()
        route = OperatedRoute(first, namespace)
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


@pytest.mark.promise(10)
def test_operator_without_the_api_server_is_not_alive_after_a_time(kube: KubeApi, tmp_path: Path, moto: str) -> None:
    """With the Lease and when it was lost; metric and log say so. It works again without a restart."""
    namespace = kube.make_namespace()
    # A call takes at most a quarter of the Lease. On a busy machine a shorter one would end calls before the refusal arrives.
    flags = (*QUICK, "--lease-seconds", "8", "--unreachable-seconds", "10", "--resync-seconds", "300")
    with operator(kube, tmp_path, moto, namespace, flags=flags) as op, kubelets(kube, namespace):
        op.start()
        route = OperatedRoute(op, namespace)
        route.apply()
        route.ready()
        assert (op.probe("healthz"), op.metric(UNREACHABLE)) == (200, 0)
        op.api.refuse = lambda _: web.Response(status=503)
        until(lambda: op.metric(UNREACHABLE) > 0, "the metric stays")
        assert op.probe("healthz") == 200
        until(lambda: op.probe("healthz") == 503, "it stays alive")
        assert op.metric(UNREACHABLE) > 10
        for line in ("lost the Lease", "Service Unavailable: ; check the network", "not alive: "):
            until(lambda line=line: line in op.log.read_text(), f"the log has no {line}")
        op.api.refuse = lambda _: None
        until(lambda: op.probe("healthz") == 200, "it stays dead")
        until(lambda: "the Kubernetes API server is reached again" in op.log.read_text(), "the end is not logged")
        route.apply(delivery={"timeoutSeconds": 41})
        route.ready()
        assert op.process is not None
        assert op.process.poll() is None
