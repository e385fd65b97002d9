"""The autoscaler on a real API server: it scales Deployments through `/scale`, and scrapes Pods at their addresses.

The counts of SQS are given by the test. Pods are objects with the address 127.0.0.1; the requested number is always ready.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aiohttp import web

from chaski_core.ports import QueueCounts
from chaski_core.route.resolved_document import resolved_values
from chaski_core.route.validation.crd import GROUP_VERSION
from chaski_operator.autoscaling.cluster_view import ClusterView
from chaski_operator.autoscaling.dependencies import ScalerDependencies, ScalerIntervals
from chaski_operator.autoscaling.loop import ScalerLoop
from chaski_operator.autoscaling.policy import ScalingLimits
from chaski_operator.installation import Installation
from chaski_operator.kube.cache import ObjectCache
from chaski_operator.manifests.kinds import DEPLOYMENT as DEPLOYMENTS
from chaski_operator.manifests.kinds import POD, ROUTE, Kind
from chaski_operator.manifests.manifests import desired_objects
from chaski_operator.metrics import OperatorMetrics
from chaski_operator.pods.metrics_client import Scraper
from chaski_operator.route.loader import RouteLoader
from chaski_operator.settings import WorkerPodTemplate
from chaski_runtime.kube.client import KubeApi, object_path
from chaski_runtime.kube.config import kube_access
from chaski_runtime.kube.informer import Informer, Key, OnChange
from chaski_runtime.observability.metrics.registry import MetricsRegistry
from chaski_runtime.process.clock import SystemClock
from chaski_worker.metrics import LaneReading, WorkerMetrics
from support.kube.api_server import KubeApi as Server
from support.metric_pages import value
from support.operator.scaling import DENIED, FakeQueues, resolve
from support.until import until

# A hundred times faster than the defaults.
QUICK = ScalerIntervals(
    check_seconds=0.2,
    retries_every=1,
    figures_seconds=1.0,
    scaling=ScalingLimits(down_window_seconds=3.0, down_step_seconds=0.6, up_step_seconds=0.3),
)
WITH_DEFAULT_LIMITS = replace(QUICK, scaling=ScalingLimits())
DEPLOYMENT = "chaski-a-messages"
URL = "https://q/a-messages-0"
CONCURRENCY = 64


def owner_reference(owner: dict[str, Any]) -> dict[str, Any]:
    """The reference of an object to its controller."""
    metadata = owner["metadata"]
    return {
        "apiVersion": "apps/v1",
        "kind": owner["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
    }


@dataclass
class ScalingCluster:
    """A route `a` with its Deployments in its own namespace, the counts of its queues and the metrics of its Pods."""

    server: Server
    api: KubeApi
    namespace: str
    port: int = 0
    queues: FakeQueues = field(default_factory=FakeQueues)
    subjects: int = 0  # with messages
    pods: dict[str, list[str]] = field(default_factory=dict)  # by Deployment
    metrics: MetricsRegistry = field(default_factory=MetricsRegistry)
    seen: list[int] = field(default_factory=list)  # replicas of the Deployment of `messages`, one for each change

    async def create(self, **autoscaling: Any) -> None:
        """Creates the route and its objects, as the reconciler does."""
        document = {
            "apiVersion": GROUP_VERSION,
            "kind": "ChaskiRoute",
            "metadata": {"name": "a", "namespace": self.namespace},
            "spec": {
                "queues": [{"name": "messages"}],
                "targets": {"allow": [{"name": "t", "url": "https://t.example/"}]},
                "autoscaling": autoscaling,
            },
        }
        path = object_path(GROUP_VERSION, "chaskiroutes", self.namespace, "a")
        created = await self.api.apply(path, document, manager="test")
        resolved = resolve(document)
        with_status = {**document, "status": {"resolved": resolved_values(resolved)}}
        await self.api.apply(f"{path}/status", with_status, manager="chaski-operator")
        for each in desired_objects(
            resolved, created["metadata"]["uid"], WorkerPodTemplate("registry.example/worker:1")
        ):
            if each["kind"] == "Deployment":
                deployment_path = object_path("apps/v1", "deployments", self.namespace, each["metadata"]["name"])
                await self.api.apply(deployment_path, each, manager="chaski-operator")

    async def scale(self, replicas: int) -> None:
        """`kubectl scale`."""
        path = object_path("apps/v1", "deployments", self.namespace, DEPLOYMENT, "scale")
        await self.api.merge_patch(path, {"spec": {"replicas": replicas}})

    async def replicas(self) -> int:
        """The requested replicas."""
        path = object_path("apps/v1", "deployments", self.namespace, DEPLOYMENT)
        return int((await self.api.get(path))["spec"]["replicas"])

    async def status(self) -> dict[str, Any]:
        """The route's status."""
        path = object_path(GROUP_VERSION, "chaskiroutes", self.namespace, "a")
        status: dict[str, Any] = (await self.api.get(path))["status"]
        return status

    async def condition(self, type_: str) -> tuple[str, str]:
        """Status and reason of a condition; empty if it is missing."""
        found = {each["type"]: (each["status"], each["reason"]) for each in (await self.status()).get("conditions", ())}
        return found.get(type_, ("", ""))

    # ---- in place of the Deployment controller and the kubelet

    async def run_pods(self, deployments: Informer[dict[str, Any]]) -> None:
        """Creates and deletes Pods as each Deployment requests."""
        while True:
            for (_, name), deployment in list(deployments.items.items()):
                pods = self.pods.setdefault(name, [])
                while len(pods) < deployment["spec"]["replicas"]:
                    pods.append(await self._start(name, deployment, len(pods)))
                while len(pods) > deployment["spec"]["replicas"]:
                    await self.api.delete(object_path("v1", "pods", self.namespace, pods.pop()))
            await asyncio.sleep(0.05)

    async def _start(self, deployment: str, document: dict[str, Any], number: int) -> str:
        owner = owner_reference(await self._replica_set(document))
        labels = document["spec"]["template"]["metadata"]["labels"]
        return await self.run_pod(f"{deployment}-{number}", labels, self.port, [owner])

    async def run_pod(self, name: str, labels: dict[str, str], port: int, owners: list[dict[str, Any]]) -> str:
        """Creates a ready Pod at 127.0.0.1; returns its name."""
        ports = [{"name": "metrics", "containerPort": port}]
        spec = {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "none", "ports": ports}]}
        metadata = {"name": name, "namespace": self.namespace, "labels": labels, "ownerReferences": owners}
        pod = {"metadata": metadata, "spec": spec}
        collection = object_path("v1", "pods", self.namespace)
        await self.api.create(collection, {"apiVersion": "v1", "kind": "Pod", **pod})
        ready = {"podIP": "127.0.0.1", "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        await self.api.merge_patch(f"{collection}/{name}/status", {"status": ready})
        return name

    async def _replica_set(self, deployment: dict[str, Any]) -> dict[str, Any]:
        name = f"{deployment['metadata']['name']}-5d4f8c7b9"
        path = object_path("apps/v1", "replicasets", self.namespace, name)
        document = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": name,
                "namespace": self.namespace,
                "ownerReferences": [owner_reference({**deployment, "kind": "Deployment"})],
            },
            "spec": {
                "replicas": 0,
                "selector": deployment["spec"]["selector"],
                "template": deployment["spec"]["template"],
            },
        }
        return await self.api.apply(path, document, manager="test")

    async def page(self, _: web.Request) -> web.Response:
        """The metrics of a Pod."""
        return web.Response(body=self.metrics.render())

    def share(self) -> list[LaneReading]:
        """The lanes of a Pod: an equal share of the subjects, at most twice its slots."""
        lanes = min(-(-self.subjects // max(1, len(self.pods.get(DEPLOYMENT, ())))), 2 * CONCURRENCY)
        return [
            LaneReading(
                self.namespace, "a", "messages", lanes, 0, lanes, 100, 2 * CONCURRENCY, 10**6, CONCURRENCY,
                subjects=lanes, mean_attempt_seconds=1.0,
            )
        ]  # fmt: skip

    # ---- the autoscaler

    @contextlib.asynccontextmanager
    async def autoscaler(self, user: str, intervals: ScalerIntervals = QUICK) -> AsyncIterator[OperatorMetrics]:
        """Runs an autoscaler with the permissions that the chart grants the operator."""
        access = kube_access({"KUBECONFIG": str(self.server.user_kubeconfig(user))})
        clock, metrics, scraper = SystemClock(), OperatorMetrics(), Scraper(seconds=60.0)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(scraper.close)
            api = await stack.enter_async_context(KubeApi(access, user_agent="autoscaler"))
            cache = ObjectCache()
            dependencies = ScalerDependencies(
                cluster=ClusterView(
                    api, cache, Installation(api, cache, clock, "test"), lambda _: None, identity="test"
                ),
                loader=RouteLoader(),
                read_queue=self.queues.read,
                scrape_pods=scraper.scrape,
                metrics=metrics,
                clock=clock,
                intervals=intervals,
            )
            runs = [self.follow(api, kind, cache) for kind in (ROUTE, DEPLOYMENTS, POD)]
            runs.append(ScalerLoop(dependencies, lambda: 0.5).run())
            running = [asyncio.create_task(run) for run in runs]
            try:
                yield metrics
            finally:
                for task in running:
                    task.cancel()
                await asyncio.gather(*running, return_exceptions=True)

    def follow(self, api: KubeApi, kind: Kind, cache: ObjectCache) -> Coroutine[Any, Any, None]:
        """Keeps a cache in sync, as the operator's informers do."""
        known: dict[Key, dict[str, Any]] = {}

        def on_change(key: Key, each: dict[str, Any] | None) -> None:
            if each is not None:
                known[key] = each
                cache.put(kind, each)
            else:
                cache.remove(kind, known.pop(key))

        return self.informer(api, kind.api_version, kind.plural, on_change).run()

    def informer(
        self, api: KubeApi, version: str, plural: str, on_change: OnChange[dict[str, Any]] | None = None
    ) -> Informer[dict[str, Any]]:
        """An informer of one kind in the namespace."""
        path = object_path(version, plural, self.namespace)
        return Informer(api, path, dict, SystemClock(), lambda: 0.5, on_change=on_change)

    def record(self, name: str, deployment: dict[str, Any] | None) -> None:
        """Records every number of replicas that the watch reports."""
        if name == DEPLOYMENT and deployment is not None:
            replicas = int(deployment["spec"]["replicas"])
            if not self.seen or self.seen[-1] != replicas:
                self.seen.append(replicas)


@pytest.fixture
async def cluster(kube: Server) -> AsyncIterator[ScalingCluster]:
    """A cluster without a route, in which Pods run."""
    access = kube_access({"KUBECONFIG": str(kube.kubeconfig)})
    async with KubeApi(access, user_agent="test") as api:
        cluster = ScalingCluster(kube, api, await asyncio.to_thread(kube.make_namespace, "scaling"))
        WorkerMetrics(cluster.metrics).observe_lanes(cluster.share)
        app = web.Application()
        app.router.add_get("/metrics", cluster.page)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        cluster.port = runner.addresses[0][1]
        deployments = cluster.informer(api, "apps/v1", "deployments", lambda key, each: cluster.record(key[1], each))
        tasks = [asyncio.create_task(deployments.run()), asyncio.create_task(cluster.run_pods(deployments))]
        yield cluster
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(result, asyncio.CancelledError), result
        await runner.cleanup()


@pytest.fixture
def user(kube: Server, cluster: ScalingCluster) -> str:
    """A user with the operator's permissions for scaling in the namespace."""
    name = f"scaler-{cluster.namespace}"
    rules = [
        {"apiGroups": ["chaski.dev"], "resources": ["chaskiroutes"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["chaski.dev"], "resources": ["chaskiroutes/status"], "verbs": ["get", "patch"]},
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["apps"], "resources": ["replicasets"], "verbs": ["get"]},
        {"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["get", "patch"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
    ]
    metadata = {"name": name, "namespace": cluster.namespace}
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": rules}
    kube.kubectl("apply", "-f", "-", document=role)
    kube.kubectl("create", "rolebinding", name, "-n", cluster.namespace, f"--role={name}", f"--user={name}")
    return name


async def test_one_subject_stays_at_one_pod_with_the_reason_in_the_status(cluster: ScalingCluster, user: str) -> None:
    """With 10,000 messages."""
    cluster.subjects = 1
    cluster.queues.counts[URL] = QueueCounts(9_990, 10, 0)
    await cluster.create()
    async with cluster.autoscaler(user):
        await until(lambda: _is(cluster.condition("ScalingLimited"), ("True", "MessageGroupsExhausted")))
        calls = len(cluster.queues.calls)
        await until(lambda: len(cluster.queues.calls) > calls + 60)
        status = await cluster.status()
    assert cluster.seen == [1]
    row = next(each for each in status["queues"] if each["name"] == "messages")
    assert (row["visible"], row["inFlight"], row["desiredReplicas"], status["backlog"]) == (9_990, 10, 1, 10_000)
    assert await cluster.condition("Autoscaling") == ("True", "Scaling")


@pytest.mark.promise(14)
async def test_a_pod_of_another_owner_is_never_asked(cluster: ScalingCluster, user: str) -> None:
    """It has the workers' labels, or names the Deployment as its owner."""
    requests: list[str] = []

    async def listen(request: web.Request) -> web.Response:
        requests.append(request.path)
        return web.Response(body=b"chaski_lanes{} 0")

    stranger = web.Application()
    stranger.router.add_get("/metrics", listen)
    runner = web.AppRunner(stranger, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    cluster.subjects = 1
    cluster.queues.counts[URL] = QueueCounts(9_990, 10, 0)
    await cluster.create()
    path = object_path("apps/v1", "deployments", cluster.namespace, DEPLOYMENT)
    deployment = {**await cluster.api.get(path), "kind": "Deployment"}
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for number, owners in enumerate(([], [owner_reference(deployment)])):
        await cluster.run_pod(f"stranger-{number}", labels, port, owners)
    async with cluster.autoscaler(user) as metrics:
        await until(lambda: _is(cluster.condition("ScalingLimited"), ("True", "MessageGroupsExhausted")))
        calls = len(cluster.queues.calls)
        await until(lambda: len(cluster.queues.calls) > calls + 30)
        assert value(metrics, "chaski_replicas", queue="messages", state="ready") == 1
    await runner.cleanup()
    assert requests == []
    assert await cluster.condition("Autoscaling") == ("True", "Scaling")


async def test_two_hundred_subjects_scale_to_four_pods_and_down_by_steps(cluster: ScalingCluster, user: str) -> None:
    """Up at once, down one by one; the reconciler's part of the status is kept."""
    cluster.subjects = 200
    cluster.queues.counts[URL] = QueueCounts(99_800, 200, 0)
    await cluster.create(scaleToZeroAfterSeconds=60)
    async with cluster.autoscaler(user):
        await until(lambda: _is(cluster.replicas(), 4))
        calls = len(cluster.queues.calls)
        await until(lambda: len(cluster.queues.calls) > calls + 60)
        assert await cluster.replicas() == 4
        cluster.subjects = 0
        cluster.queues.counts[URL] = QueueCounts(0, 0, 0)
        await until(lambda: _is(cluster.replicas(), 1))
    assert cluster.seen[-4:] == [4, 3, 2, 1]
    assert cluster.seen[: cluster.seen.index(4)] in ([1], [1, 2])
    assert (await cluster.status())["resolved"]["generation"] == 1


@pytest.mark.promise(8)
async def test_denied_queue_holds_the_number_and_starts_one_from_zero(cluster: ScalingCluster, user: str) -> None:
    """AccessDenied under load, then without a Pod."""
    cluster.subjects = 200
    cluster.queues.counts[URL] = QueueCounts(99_800, 200, 0)
    await cluster.create()
    async with cluster.autoscaler(user):
        await until(lambda: _is(cluster.replicas(), 4))
        cluster.queues.counts[URL] = DENIED
        await until(lambda: _is(cluster.condition("Autoscaling"), ("False", "MetricsAccessDenied")))
        calls = len(cluster.queues.calls)
        await until(lambda: len(cluster.queues.calls) > calls + 60)
        assert await cluster.replicas() == 4
        await cluster.scale(0)
        await until(lambda: _is(cluster.replicas(), 1))
    assert cluster.seen[-3:] == [4, 0, 1]


async def test_restarted_operator_changes_nothing_and_writes_only_status_and_events(
    cluster: ScalingCluster, user: str
) -> None:
    """It is restarted under load, and with empty queues."""
    cluster.subjects = 200
    cluster.queues.counts[URL] = QueueCounts(99_800, 200, 0)
    await cluster.create(scaleToZeroAfterSeconds=60)
    await cluster.scale(6)
    for _ in range(2):
        async with cluster.autoscaler(user, WITH_DEFAULT_LIMITS):
            calls = len(cluster.queues.calls)
            await until(lambda calls=calls: len(cluster.queues.calls) > calls + 12)  # type: ignore[misc]
    cluster.queues.counts[URL] = QueueCounts(0, 0, 0)
    for _ in range(2):
        async with cluster.autoscaler(user, WITH_DEFAULT_LIMITS):
            calls = len(cluster.queues.calls)
            await until(lambda calls=calls: len(cluster.queues.calls) > calls + 12)  # type: ignore[misc]
    assert await cluster.replicas() == 6
    writes = [each for each in cluster.server.requests(user) if each["verb"] not in ("get", "list", "watch")]
    touched = {(each["objectRef"]["resource"], each["objectRef"].get("subresource")) for each in writes}
    assert touched == {("chaskiroutes", "status"), ("events", None)}
    events = cluster.server.get("events", "-n", cluster.namespace)["items"]
    assert {(each["type"], each["reason"]) for each in events} == {("Normal", "MessageGroupsExhausted")}


async def test_number_that_was_set_meanwhile_is_not_overwritten(cluster: ScalingCluster, user: str) -> None:
    """The cache may be stale, so a write names the number that it replaces."""
    await cluster.create()
    await cluster.scale(5)
    access = kube_access({"KUBECONFIG": str(cluster.server.user_kubeconfig(user))})
    async with KubeApi(access, user_agent="autoscaler") as api:
        cache = ObjectCache()
        installation = Installation(api, cache, SystemClock(), "test")
        view = ClusterView(api, cache, installation, lambda _: None, identity="test")
        with pytest.raises(Exception, match="5 Pods now, not 1"):
            await view.scale(cluster.namespace, DEPLOYMENT, was=1, replicas=2)
        await view.scale(cluster.namespace, DEPLOYMENT, was=5, replicas=7)
    assert await cluster.replicas() == 7


async def test_no_change_means_no_write(cluster: ScalingCluster, user: str) -> None:
    """One status for the route, then only reads of SQS."""
    await cluster.create(minReplicas=1)
    async with cluster.autoscaler(user):
        await until(lambda: _is(cluster.condition("Autoscaling"), ("True", "Scaling")))
        calls = len(cluster.queues.calls)
        await until(lambda: len(cluster.queues.calls) > calls + 80)
    writes = [each for each in cluster.server.requests(user) if each["verb"] not in ("get", "list", "watch")]
    assert [(each["verb"], each["objectRef"]["subresource"]) for each in writes] == [("patch", "status")]


async def _is(actual: Any, wanted: object) -> bool:
    return bool(await actual == wanted)
