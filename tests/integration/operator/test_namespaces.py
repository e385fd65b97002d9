"""Namespaces are independent of each other: one that refuses, hangs or is deleted; one kind of objects that is refused."""

import asyncio
import contextlib
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from chaski_operator.kube.cache import ObjectCache
from chaski_operator.kube.informers import Informer, ListingSlots
from chaski_operator.manifests.kinds import SERVICE_ACCOUNT
from chaski_runtime.kube.client import KubeApi as Client
from chaski_runtime.kube.config import KubeAccess, kube_access
from chaski_runtime.process.clock import SystemClock
from support.faults.recording_proxy import ProxiedRequest, recording_proxy
from support.kube.api_server import KubeApi
from support.kube.charts import of_kind, render
from support.kube.http import KubeHttp
from support.metric_pages import samples_of
from support.operator.processes import QUICK, Operator, kubelets, operator, until
from support.operator.routes import OperatedRoute, owning_route
from support.until import until as eventually

pytestmark = pytest.mark.timeout(400)

HANGING_SECONDS = 3600.0
OPTIONAL = ("networkpolicies", "poddisruptionbudgets")


def probe(op: Operator, name: str) -> int:
    """The status of a probe."""
    try:
        with urllib.request.urlopen(op.metrics_url().replace("metrics", name), timeout=10) as response:  # noqa: S310 - of the operator that the test runs
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def unavailable(op: Operator) -> dict[str, float]:
    """`chaski_namespace_unavailable` by namespace."""
    with urllib.request.urlopen(op.metrics_url(), timeout=10) as response:  # noqa: S310 - as above
        page = response.read().decode()
    return {labels["namespace"]: value for labels, value in samples_of(page).get("chaski_namespace_unavailable", ())}


def warnings(op: Operator, *words: str) -> list[str]:
    """The lines of the log with all these words."""
    return [line for line in op.log.read_text().splitlines() if all(word in line for word in words)]


def forbidden(text: str) -> web.Response:
    """The API server's refusal."""
    return web.json_response({"kind": "Status", "reason": "Forbidden", "message": text, "code": 403}, status=403)


def break_namespace(op: Operator, namespace: str, fault: str) -> None:
    """Every request for objects of the namespace is refused, or never answered; a Lease in it excepted."""

    def is_affected(request: ProxiedRequest) -> bool:
        return f"/namespaces/{namespace}/" in request.path and "/leases" not in request.path

    if fault == "refused":
        op.api.refuse = lambda request: forbidden(f"no access to {namespace}") if is_affected(request) else None
    else:
        op.api.delay = lambda request: HANGING_SECONDS if is_affected(request) else 0.0


def repair(op: Operator) -> None:
    """Ends these faults."""
    op.api.refuse, op.api.delay = lambda _: None, lambda _: 0.0


@pytest.mark.promise(9)
@pytest.mark.parametrize("fault", ["refused", "hanging"])
def test_namespace_that_fails_stops_no_other(kube: KubeApi, tmp_path: Path, moto: str, fault: str) -> None:
    """From the start, later while its watch is open, and for a restarted operator; it is reported, and followed again."""
    failing, served = kube.make_namespace("failing"), kube.make_namespace("served")
    with operator(kube, tmp_path, moto, failing, served) as op, kubelets(kube, failing, served):
        good, other = OperatedRoute(op, served), OperatedRoute(op, failing)
        break_namespace(op, failing, fault)
        op.start()
        good.apply()
        other.apply()
        good.ready()
        until(lambda: unavailable(op) == {failing: 1, served: 0}, "not reported")
        assert probe(op, "readyz") == probe(op, "healthz") == 200
        assert other.condition("Ready") == {}
        repair(op)
        other.ready()
        reported = warnings(op, f"namespace {failing}: can't list", "chaskiroutes")
        assert len(reported) <= 1, "reported again without a change"
        assert warnings(op, f"namespace {failing}: can't list", "Role" if fault == "refused" else "trying again")
        break_namespace(op, failing, fault)
        good.apply(delivery={"timeoutSeconds": 41})
        good.ready()
        assert op.stop() == 0
        op.start()
        good.apply(delivery={"timeoutSeconds": 42})
        good.ready()
        until(lambda: unavailable(op) == {failing: 1, served: 0}, "not reported by the new process")
        assert probe(op, "readyz") == probe(op, "healthz") == 200
        repair(op)
        until(lambda: unavailable(op) == {failing: 0, served: 0}, "reported after the end")


@pytest.mark.promise(9)
@pytest.mark.parametrize("clusterwide", [False, True], ids=["one-namespace", "whole-cluster"])
def test_kind_that_is_refused_stops_no_route(own_kube: KubeApi, tmp_path: Path, moto: str, clusterwide: bool) -> None:
    """What a route owns is read one by one instead; the kinds are reported until they can be listed."""
    namespace = own_kube.make_namespace("partial")

    def refuse(request: ProxiedRequest) -> web.Response | None:
        collection = request.path.partition("?")[0].rpartition("/")[2]
        return forbidden(f"can't list {collection}") if request.method == "GET" and collection in OPTIONAL else None

    flags = (*QUICK, "--worker-network-policy")
    with operator(own_kube, tmp_path, moto, namespace, flags=flags) as op, kubelets(own_kube, namespace):
        op.clusterwide = clusterwide
        op.api.refuse = refuse
        op.start()
        route = OperatedRoute(op, namespace)
        route.apply()
        route.ready()
        route.apply(delivery={"timeoutSeconds": 41})
        route.ready()
        assert probe(op, "readyz") == 200
        place = "*" if clusterwide else namespace
        until(lambda: unavailable(op) == {place: 1}, "not reported")
        assert [len(warnings(op, "can't list", kind)) for kind in OPTIONAL] == [1, 1]
        op.api.refuse = lambda _: None
        until(lambda: unavailable(op) == {place: 0}, "reported after the end")


@pytest.mark.promise(9)
async def test_listings_that_hang_leave_the_listings_of_others_their_slots(kube: KubeApi) -> None:
    """Twenty namespaces fail, then hang for good; changes that no watch reports are found in another one all the same."""
    good, bad = await asyncio.to_thread(kube.make_namespace, "good"), [f"bad-{number}" for number in range(20)]
    owner = await asyncio.to_thread(owning_route, kube, good)
    is_bad = tuple(f"/namespaces/{each}/" for each in bad)
    access = kube_access({"KUBECONFIG": str(kube.kubeconfig)})
    hanging: list[str] = []

    def refuse(request: ProxiedRequest) -> web.Response | None:
        is_refused = "watch=true" in request.path or any(each in request.path for each in is_bad)
        return forbidden("no") if is_refused else None

    def delay(request: ProxiedRequest) -> float:
        if not any(each in request.path for each in is_bad):
            return 0.0
        hanging.append(request.path)
        return HANGING_SECONDS

    with recording_proxy(kube.server, access) as proxy:
        proxy.refuse = refuse
        async with (
            Client(KubeAccess(proxy.url, good), user_agent="test", timeout_seconds=HANGING_SECONDS) as api,
            following(api, good, *bad) as (cache, informers),
        ):
            await eventually(lambda: informers[0].listed_at is not None)
            await eventually(lambda: all(each.is_available() is False for each in informers[1:]))
            proxy.delay = delay
            await eventually(lambda: len(hanging) >= 4)
            for number in range(3):
                body: dict[str, Any] = {
                    "apiVersion": "v1",
                    "kind": "ServiceAccount",
                    "metadata": {
                        "name": f"a{number}",
                        "namespace": good,
                        "labels": {"app.kubernetes.io/managed-by": "chaski-operator"},
                        "ownerReferences": [owner],
                    },
                }
                await asyncio.to_thread(kube.kubectl, "create", "-f", "-", document=body)
                await eventually(lambda name=f"a{number}": (good, name) in names(cache))


def names(cache: ObjectCache) -> set[tuple[str, str]]:
    """Namespace and name of all ServiceAccounts."""
    return set(cache.by_key(SERVICE_ACCOUNT))


@contextlib.asynccontextmanager
async def following(api: Client, *namespaces: str) -> AsyncIterator[tuple[ObjectCache, list[Informer]]]:
    """Running informers of these namespaces, and their cache."""
    cache, slots = ObjectCache(), ListingSlots()
    informers = [
        Informer(
            api,
            cache,
            each,
            on_change=lambda _kind, _document: None,
            on_started=lambda: None,
            slots=slots,
            resync_seconds=0.5,
            clock=SystemClock(),
        )
        for each in namespaces
    ]
    running = [asyncio.create_task(each.run()) for each in informers]
    try:
        yield cache, informers
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


# ---- deletion


@pytest.fixture
def roles(kube: KubeApi, tmp_path: Path, moto: str) -> Iterator[Operator]:
    """An operator with the Roles of the chart only, in two namespaces."""
    release, first, second = (kube.make_namespace(each) for each in ("release", "deleted", "kept"))
    objects = render({"watchNamespaces": [first, second]}, namespace=release)
    for each in of_kind(objects, "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"):
        if each["metadata"]["labels"].get("app.kubernetes.io/component") == "operator":
            kube.kubectl("apply", "--server-side", "-f", "-", document=each)
    flags = (*QUICK, "--lease-namespace", release)
    user = f"system:serviceaccount:{release}:chaski-operator"
    with operator(kube, tmp_path, moto, first, second, flags=flags, user=user) as made, kubelets(kube, first, second):
        yield made


def throttled(request: ProxiedRequest) -> web.Response | None:
    """AWS refuses to delete."""
    if not request.summary.startswith("Delete"):
        return None
    body = {"__type": "com.amazonaws.sqs#RequestThrottled", "message": "slow down"}
    return web.json_response(body, status=400, headers={"x-amzn-query-error": "RequestThrottled;Sender"})


@pytest.mark.promise(10)
@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
def test_namespace_with_the_role_in_it_is_deleted(kube: KubeApi, roles: Operator, restarted: bool) -> None:
    """AWS throttles until the Role is gone; the queues and the table are deleted, then the namespace; others go on."""
    kube.need_controllers()
    deleted, kept = roles.namespaces
    roles.start()
    route, other = OperatedRoute(roles, deleted), OperatedRoute(roles, kept)
    for each in (route, other):
        each.apply(deletionPolicy="Delete")
        each.ready()
    assert (len(route.queues()), len(route.tables())) == (1, 1)
    roles.aws.refuse = throttled
    kube.kubectl("delete", "namespace", deleted, "--wait=false")
    http = KubeHttp(kube)
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{deleted}"
    until(lambda: not http.items(f"{rbac}/rolebindings") and not http.items(f"{rbac}/roles"), "the Role stayed")
    until(lambda: roles.calls(deleted, "DeleteQueue", "DeleteTable") > 0, "no deletion was tried")
    if restarted:
        roles.kill()
        roles.start()
        tried = roles.calls(deleted, "DeleteQueue", "DeleteTable")
        until(lambda: roles.calls(deleted, "DeleteQueue", "DeleteTable") > tried, "the new process has not tried it")
    assert (route.get() or {})["metadata"]["finalizers"] == ["chaski.dev/finalizer"]
    until(lambda: unavailable(roles)[deleted] == 1, "not reported")
    other.apply(deletionPolicy="Delete", delivery={"timeoutSeconds": 41})
    other.ready()
    roles.aws.refuse = lambda _: None
    until(lambda: kube.try_kubectl("get", "namespace", deleted).returncode != 0, "the namespace stays Terminating")
    assert (route.queues(), route.tables()) == ([], [])
    assert unavailable(roles)[kept] == 0
