"""An etcd that is restored from a backup: versions and generations go back, and are used again for other states."""

import asyncio
import contextlib
import re
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from chaski_core.route.resolved import ResolvedRoute
from chaski_runtime.kube.client import KubeApi as Client
from chaski_runtime.kube.config import kube_access
from chaski_runtime.kube.route_cache import KubeRoutes
from chaski_runtime.process.clock import SystemClock
from support.dead_letters.replays import Replayed
from support.kube.api_server import KubeApi, kube_api
from support.kube.http import KubeHttp
from support.operator.processes import Operator, kubelets, operator, until
from support.operator.routes import NAME, OperatedRoute
from support.until import until as eventually

pytestmark = [pytest.mark.timeout(400), pytest.mark.cluster]


@pytest.fixture
def restorable(tmp_path: Path) -> Iterator[KubeApi]:
    """An API server for this test; no controllers of Kubernetes, which would be surprised too."""
    with kube_api(tmp_path / "kube", controllers="") as api:
        api.install_crds()
        yield api


@contextlib.asynccontextmanager
async def following(kube: KubeApi, namespace: str) -> AsyncIterator[KubeRoutes]:
    """The routes as ingest and the console know them."""
    client = Client(kube_access({"KUBECONFIG": str(kube.kubeconfig)}), user_agent="test")
    routes = KubeRoutes(client, [namespace], SystemClock(), lambda: 0.5)
    task = asyncio.create_task(routes.follow())
    try:
        yield routes
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.contextmanager
def stopped(op: Operator) -> Iterator[None]:
    """The operator's process, suspended."""
    assert op.process is not None
    op.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        op.process.send_signal(signal.SIGCONT)


def write_often(kube: KubeApi) -> None:
    """More writes than the restarts of the API server make."""
    http = KubeHttp(kube)
    for number in range(200):
        http.merge_patch("/api/v1/namespaces/default", {"metadata": {"annotations": {"number": str(number)}}})


def timeout_of(routes: KubeRoutes, namespace: str) -> float | None:
    """The timeout of the route that ingest serves."""
    found = routes.find(namespace, NAME)
    return found.route.delivery.timeout_seconds if isinstance(found, ResolvedRoute) else None


def applied(op: Operator, namespace: str, seconds: int) -> bool:
    """Whether the workers' ConfigMap has this timeout."""
    found = op.kube.get("configmap", f"chaski-{NAME}", "-n", namespace)
    return re.search(rf"timeoutSeconds\W+{seconds}\b", "".join(found["data"].values())) is not None


async def test_changes_after_a_restore_are_followed(restorable: KubeApi, tmp_path: Path, moto: str) -> None:
    """By the operator for routes, what they own and replays, and by ingest; the same generation has another spec now."""
    namespace = await asyncio.to_thread(restorable.make_namespace, "restored")
    with operator(restorable, tmp_path, moto, namespace) as op, kubelets(restorable, namespace):
        route = OperatedRoute(op, namespace)

        def change(seconds: int) -> None:
            route.apply(delivery={"timeoutSeconds": seconds})
            route.ready()
            until(lambda: applied(op, namespace, seconds), f"the workers do not have the timeout of {seconds} s")

        async with following(restorable, namespace) as routes:
            op.start()
            await asyncio.to_thread(change, 21)
            await asyncio.to_thread(restorable.back_up)
            await asyncio.to_thread(write_often, restorable)
            await asyncio.to_thread(change, 31)
            await eventually(lambda: timeout_of(routes, namespace) == 31)
            lost = int((route.get() or {})["metadata"]["resourceVersion"])
            with stopped(op):  # it never sees the generation before
                await asyncio.to_thread(restorable.restore)
                await asyncio.to_thread(route.apply, delivery={"timeoutSeconds": 22})
            await asyncio.to_thread(change, 22)
            assert (route.get() or {})["metadata"]["generation"] == 2
            assert int((route.get() or {})["metadata"]["resourceVersion"]) < lost
            await eventually(lambda: timeout_of(routes, namespace) == 22, 150)
            replay = Replayed(restorable, namespace, NAME)
            await asyncio.to_thread(replay.apply)
            await asyncio.to_thread(until, lambda: replay.status, "the replay is not followed")
            await asyncio.to_thread(change, 23)
            await eventually(lambda: timeout_of(routes, namespace) == 23, 150)
        assert await asyncio.to_thread(op.stop) == 0
