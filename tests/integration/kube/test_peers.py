"""The number of ingest Pods, followed on a real API server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from chaski_ingest.auth.peers import PeerPods
from chaski_runtime.kube.client import KubeApi
from chaski_runtime.kube.config import kube_access
from chaski_runtime.process.clock import SystemClock
from support.kube.api_server import KubeApi as Server
from support.kube.endpoints import SERVICE, endpoint_slice
from support.until import until


@asynccontextmanager
async def following(kube: Server, namespace: str, *, allowed: bool = True) -> AsyncIterator[PeerPods]:
    """The peers as a Pod with the chart's Role sees them."""
    user = f"ingest-{namespace}"
    if allowed:
        name = ("-n", namespace)
        kube.kubectl("create", "role", user, *name, "--verb=list,watch", "--resource=endpointslices.discovery.k8s.io")
        kube.kubectl("create", "rolebinding", user, *name, f"--role={user}", f"--user={user}")
    access = kube_access({"KUBECONFIG": str(kube.user_kubeconfig(user))})
    peers = PeerPods(KubeApi(access, user_agent="test"), (namespace, SERVICE), SystemClock(), lambda: 0.0)
    task = asyncio.create_task(peers.follow())
    try:
        yield peers
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.promise(8)
async def test_the_number_of_ready_pods_is_followed(kube: Server) -> None:
    """Over both families of addresses; slices of other Services and Pods that are not ready do not count."""
    namespace = kube.make_namespace("peers")

    def apply(document: dict[str, Any]) -> None:
        kube.kubectl("apply", "-n", namespace, "-f", "-", document=document)

    apply(endpoint_slice("four", "IPv4", ("a", True), ("b", True), ("c", False)))
    apply(endpoint_slice("other", "IPv4", ("x", True), ("y", True), ("z", True), service="chaski-console"))
    async with following(kube, namespace) as peers:
        assert peers.unready_reason() is not None
        await until(lambda: peers.count() == 2)
        assert peers.unready_reason() is None
        apply(endpoint_slice("six", "IPv6", ("a", True), ("b", True), ("c", False)))
        apply(endpoint_slice("four", "IPv4", ("a", True), ("b", True), ("c", True)))
        await until(lambda: peers.count() == 3)
        for name in ("four", "six"):
            kube.kubectl("delete", "endpointslice", name, "-n", namespace)
        apply(endpoint_slice("new", "IPv4", ("d", True)))
        await until(lambda: peers.count() == 1)


@pytest.mark.promise(8)
async def test_without_the_right_to_list_a_pod_has_the_whole_rate(kube: Server) -> None:
    """And is ready: an unknown number denies no producer."""
    namespace = kube.make_namespace("peers")
    async with following(kube, namespace, allowed=False) as peers:
        await until(lambda: peers.unready_reason() is None)
        assert peers.count() == 1
