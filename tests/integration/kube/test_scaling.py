"""The autoscaler on a real API server: Deployments are scaled through `/scale`, Pods are asked where they are.

SQS says what the test says. Pods are objects with the address 127.0.0.1; as many are ready as their Deployment asks for.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aiohttp import web

from chaski_core.ports import QueueCounts
from chaski_core.route.resolved_document import resolved_values
from chaski_core.route.validation.crd import GROUP_VERSION
from chaski_operator.autoscaling.cluster_view import KubeCluster, WorkerPodWatcher
from chaski_operator.autoscaling.loop import Scaler
from chaski_operator.autoscaling.policy import ScalingLimits
from chaski_operator.autoscaling.scaler import Parts, ScalerIntervals
from chaski_operator.kube.route_cache import Routes
from chaski_operator.manifests.manifests import desired_objects, jobs_of, sweeper_of
from chaski_operator.pods.metrics_client import Scraper
from chaski_operator.settings import WorkerPodTemplate as PodSettings
from chaski_runtime.kube.client import KubeApi, object_path
from chaski_runtime.kube.config import kube_access
from chaski_runtime.kube.informer import Informer, Key, OnChange
from chaski_runtime.observability.metrics.instruments import LaneReading, Metrics
from chaski_runtime.observability.metrics.operator_metrics import OperatorMetrics
from chaski_runtime.process.clock import SystemClock
from support.kube.api_server import KubeApi as Server
from support.operator.scaling import DENIED, FakeQueues, resolve
from support.until import until

# A hundred times as fast as by default.
QUICK = ScalerIntervals(
    look_seconds=0.2,
    retries_every=1,
    figures_seconds=1.0,
    scaling=ScalingLimits(down_window_seconds=3.0, down_step_seconds=0.6, up_step_seconds=0.3),
)
PATIENT = replace(QUICK, scaling=ScalingLimits())
DEPLOYMENT = "chaski-a-messages"
URL = "https://q/a-messages-0"
CONCURRENCY = 64


@dataclass
class World:
    """A route `a` with its Deployments in a namespace of its own, and what its queues and Pods say."""

    server: Server
    api: KubeApi
    namespace: str
    port: int = 0
    queues: FakeQueues = field(default_factory=FakeQueues)
    subjects: int = 0  # that there are
    pods: dict[str, list[str]] = field(default_factory=dict)  # by Deployment
    told: Metrics = field(default_factory=Metrics)
    seen: list[int] = field(default_factory=list)  # replicas of the Deployment of `messages`, as they changed

    async def make(self, **autoscaling: Any) -> None:
        """The route as the operator leaves it."""
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
        made = await self.api.apply(path, document, manager="test")
        resolved = resolve(document)
        told = {**document, "status": {"resolved": resolved_values(resolved)}}
        await self.api.apply(f"{path}/status", told, manager="chaski-operator")
        for each in desired_objects(resolved, made["metadata"]["uid"], PodSettings("registry.example/worker:1")):
            if each["kind"] == "Deployment":
                where = object_path("apps/v1", "deployments", self.namespace, each["metadata"]["name"])
                await self.api.apply(where, each, manager="chaski-operator")

    async def scale(self, replicas: int) -> None:
        """As a person does."""
        path = object_path("apps/v1", "deployments", self.namespace, DEPLOYMENT, "scale")
        await self.api.merge_patch(path, {"spec": {"replicas": replicas}})

    async def replicas(self) -> int:
        """What the API server has."""
        path = object_path("apps/v1", "deployments", self.namespace, DEPLOYMENT)
        return int((await self.api.get(path))["spec"]["replicas"])

    async def status(self) -> dict[str, Any]:
        """Of the route."""
        path = object_path(GROUP_VERSION, "chaskiroutes", self.namespace, "a")
        status: dict[str, Any] = (await self.api.get(path))["status"]
        return status

    async def condition(self, type_: str) -> tuple[str, str]:
        """Its status and reason."""
        told = {each["type"]: (each["status"], each["reason"]) for each in (await self.status()).get("conditions", ())}
        return told.get(type_, ("", ""))

    # ---- in place of the Deployment controller and the kubelet

    async def run_pods(self, deployments: Informer[dict[str, Any]]) -> None:
        """Makes and ends Pods, as each Deployment asks for."""
        while True:
            for (_, name), deployment in list(deployments.items.items()):
                pods = self.pods.setdefault(name, [])
                while len(pods) < deployment["spec"]["replicas"]:
                    pods.append(await self._start(name, deployment, len(pods)))
                while len(pods) > deployment["spec"]["replicas"]:
                    await self.api.delete(object_path("v1", "pods", self.namespace, pods.pop()))
            await asyncio.sleep(0.05)

    async def _start(self, deployment: str, document: dict[str, Any], number: int) -> str:
        name = f"{deployment}-{number}"
        labels = document["spec"]["template"]["metadata"]["labels"]
        ports = [{"name": "metrics", "containerPort": self.port}]
        spec = {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "none", "ports": ports}]}
        pod = {"metadata": {"name": name, "namespace": self.namespace, "labels": labels}, "spec": spec}
        collection = object_path("v1", "pods", self.namespace)
        await self.api.create(collection, {"apiVersion": "v1", "kind": "Pod", **pod})
        ready = {"podIP": "127.0.0.1", "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        await self.api.merge_patch(f"{collection}/{name}/status", {"status": ready})
        return name

    async def page(self, _: web.Request) -> web.Response:
        """What a Pod tells."""
        return web.Response(body=self.told.render())

    def share(self) -> list[LaneReading]:
        """The subjects are shared, each Pod takes at most twice its slots."""
        lanes = min(-(-self.subjects // max(1, len(self.pods.get(DEPLOYMENT, ())))), 2 * CONCURRENCY)
        return [
            LaneReading(
                self.namespace, "a", "messages", lanes, 0, lanes, 100, 2 * CONCURRENCY, 10**6, CONCURRENCY,
                subjects=lanes, mean_attempt_seconds=1.0,
            )
        ]  # fmt: skip

    # ---- the autoscaler

    @contextlib.asynccontextmanager
    async def autoscaler(self, user: str, pace: ScalerIntervals = QUICK) -> AsyncIterator[OperatorMetrics]:
        """One, which has the rights that the chart gives the operator."""
        access = kube_access({"KUBECONFIG": str(self.server.user_kubeconfig(user))})
        clock, metrics, scraper = SystemClock(), OperatorMetrics(), Scraper(seconds=60.0)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(scraper.close)
            api = await stack.enter_async_context(KubeApi(access, user_agent="autoscaler"))
            known = Routes()

            def note(_: Key, each: dict[str, Any] | None) -> None:
                if each is not None:
                    known.put(each)

            routes = self.mirror(api, GROUP_VERSION, "chaskiroutes", note)
            deployments = self.mirror(api, "apps/v1", "deployments")
            pods = WorkerPodWatcher(api, self.namespace, clock, lambda: 0.5)
            cluster = KubeCluster(
                api,
                routes=known.by_key,
                deployment=lambda namespace, name: deployments.items.get((namespace, name)),
                pods=[pods],
                reconcile=lambda _: None,
                noted=known.put,
                identity="test",
            )
            parts = Parts(
                cluster=cluster,
                read_queue=self.queues.read,
                ask_pods=scraper.ask,
                workers_of=jobs_of,
                sweeper_of=sweeper_of,
                metrics=metrics,
                clock=clock,
                pace=pace,
            )
            jobs = [routes.run(), deployments.run(), pods.mirror.run(), Scaler(parts, lambda: 0.5).run()]
            running = [asyncio.create_task(job) for job in jobs]
            try:
                yield metrics
            finally:
                for task in running:
                    task.cancel()
                await asyncio.gather(*running, return_exceptions=True)

    def mirror(
        self, api: KubeApi, version: str, plural: str, on_change: OnChange[dict[str, Any]] | None = None
    ) -> Informer[dict[str, Any]]:
        """All of one kind in the namespace."""
        path = object_path(version, plural, self.namespace)
        return Informer(api, path, dict, SystemClock(), lambda: 0.5, on_change=on_change)

    def note(self, name: str, deployment: dict[str, Any] | None) -> None:
        """Every number that the watch told of."""
        if name == DEPLOYMENT and deployment is not None:
            replicas = int(deployment["spec"]["replicas"])
            if not self.seen or self.seen[-1] != replicas:
                self.seen.append(replicas)


@pytest.fixture
async def world(kube: Server) -> AsyncIterator[World]:
    """Nothing made yet; Pods are run."""
    access = kube_access({"KUBECONFIG": str(kube.kubeconfig)})
    async with KubeApi(access, user_agent="test") as api:
        made = World(kube, api, await asyncio.to_thread(kube.make_namespace, "scaling"))
        made.told.observe_lanes(made.share)
        app = web.Application()
        app.router.add_get("/metrics", made.page)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        made.port = runner.addresses[0][1]
        deployments = made.mirror(api, "apps/v1", "deployments", lambda key, each: made.note(key[1], each))
        jobs = [asyncio.create_task(deployments.run()), asyncio.create_task(made.run_pods(deployments))]
        yield made
        for job in jobs:
            job.cancel()
        for result in await asyncio.gather(*jobs, return_exceptions=True):
            assert isinstance(result, asyncio.CancelledError), result
        await runner.cleanup()


@pytest.fixture
def user(kube: Server, world: World) -> str:
    """A user with the operator's rights in the namespace, as far as scaling needs them."""
    name = f"scaler-{world.namespace}"
    rules = [
        {"apiGroups": ["chaski.dev"], "resources": ["chaskiroutes"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["chaski.dev"], "resources": ["chaskiroutes/status"], "verbs": ["get", "patch"]},
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["get", "patch"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
    ]
    metadata = {"name": name, "namespace": world.namespace}
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": rules}
    kube.kubectl("apply", "-f", "-", document=role)
    kube.kubectl("create", "rolebinding", name, "-n", world.namespace, f"--role={name}", f"--user={name}")
    return name


async def test_one_subject_stays_at_one_pod_and_the_route_says_why(world: World, user: str) -> None:
    """10,000 messages of it."""
    world.subjects = 1
    world.queues.told[URL] = QueueCounts(9_990, 10, 0)
    await world.make()
    async with world.autoscaler(user):
        await until(lambda: _is(world.condition("ScalingLimited"), ("True", "MessageGroupsExhausted")))
        looks = len(world.queues.calls)
        await until(lambda: len(world.queues.calls) > looks + 60)
        status = await world.status()
    assert world.seen == [1]
    row = next(each for each in status["queues"] if each["name"] == "messages")
    assert (row["visible"], row["inFlight"], row["desiredReplicas"], status["backlog"]) == (9_990, 10, 1, 10_000)
    assert await world.condition("Autoscaling") == ("True", "Scaling")


async def test_two_hundred_subjects_grow_to_four_pods_and_go_again_by_steps(world: World, user: str) -> None:
    """Up at once, down one by one, to zero last; the status keeps what the reconciler wrote beside it."""
    world.subjects = 200
    world.queues.told[URL] = QueueCounts(99_800, 200, 0)
    await world.make(scaleToZeroAfterSeconds=60)
    async with world.autoscaler(user):
        await until(lambda: _is(world.replicas(), 4))
        looks = len(world.queues.calls)
        await until(lambda: len(world.queues.calls) > looks + 60)
        assert await world.replicas() == 4
        world.subjects = 0
        world.queues.told[URL] = QueueCounts(0, 0, 0)
        await until(lambda: _is(world.replicas(), 1))
    assert world.seen[-4:] == [4, 3, 2, 1]
    assert world.seen[: world.seen.index(4)] in ([1], [1, 2])
    assert (await world.status())["resolved"]["generation"] == 1


@pytest.mark.promise(8)
async def test_a_queue_that_is_denied_holds_the_number_and_starts_one_from_zero(world: World, user: str) -> None:
    """AccessDenied in the middle of the work, then with no Pod."""
    world.subjects = 200
    world.queues.told[URL] = QueueCounts(99_800, 200, 0)
    await world.make()
    async with world.autoscaler(user):
        await until(lambda: _is(world.replicas(), 4))
        world.queues.told[URL] = DENIED
        await until(lambda: _is(world.condition("Autoscaling"), ("False", "MetricsAccessDenied")))
        looks = len(world.queues.calls)
        await until(lambda: len(world.queues.calls) > looks + 60)
        assert await world.replicas() == 4
        await world.scale(0)
        await until(lambda: _is(world.replicas(), 1))
    assert world.seen[-3:] == [4, 0, 1]


async def test_a_new_operator_changes_nothing_and_never_writes_the_rest_of_the_deployment(
    world: World, user: str
) -> None:
    """It is killed and started again and again at the height of the work, and when nothing is left."""
    world.subjects = 200
    world.queues.told[URL] = QueueCounts(99_800, 200, 0)
    await world.make(scaleToZeroAfterSeconds=60)
    await world.scale(6)
    for _ in range(2):
        async with world.autoscaler(user, PATIENT):
            looks = len(world.queues.calls)
            await until(lambda looks=looks: len(world.queues.calls) > looks + 12)  # type: ignore[misc]
    world.queues.told[URL] = QueueCounts(0, 0, 0)
    for _ in range(2):
        async with world.autoscaler(user, PATIENT):
            looks = len(world.queues.calls)
            await until(lambda looks=looks: len(world.queues.calls) > looks + 12)  # type: ignore[misc]
    assert await world.replicas() == 6
    writes = [each for each in world.server.requests(user) if each["verb"] not in ("get", "list", "watch")]
    touched = {(each["objectRef"]["resource"], each["objectRef"].get("subresource")) for each in writes}
    assert touched == {("chaskiroutes", "status"), ("events", None)}
    events = world.server.get("events", "-n", world.namespace)["items"]
    assert {(each["type"], each["reason"]) for each in events} == {("Normal", "MessageGroupsExhausted")}


async def test_a_number_that_somebody_set_meanwhile_is_not_overwritten(world: World, user: str) -> None:
    """What the watch has seen may be older than what is: the write says what it is about to replace."""
    await world.make()
    await world.scale(5)
    access = kube_access({"KUBECONFIG": str(world.server.user_kubeconfig(user))})
    async with KubeApi(access, user_agent="autoscaler") as api:
        cluster = KubeCluster(
            api,
            routes=dict,
            deployment=lambda *_: None,
            pods=[],
            reconcile=lambda _: None,
            noted=lambda _: None,
            identity="test",
        )
        with pytest.raises(Exception, match="asks for 5 Pods by now, not 1"):
            await cluster.scale(world.namespace, DEPLOYMENT, was=1, replicas=2)
        await cluster.scale(world.namespace, DEPLOYMENT, was=5, replicas=7)
    assert await world.replicas() == 7


async def test_nothing_is_written_while_nothing_changes(world: World, user: str) -> None:
    """One status for the route; then only reads of SQS."""
    await world.make(minReplicas=1)
    async with world.autoscaler(user):
        await until(lambda: _is(world.condition("Autoscaling"), ("True", "Scaling")))
        looks = len(world.queues.calls)
        await until(lambda: len(world.queues.calls) > looks + 80)
    writes = [each for each in world.server.requests(user) if each["verb"] not in ("get", "list", "watch")]
    assert [(each["verb"], each["objectRef"]["subresource"]) for each in writes] == [("patch", "status")]


async def _is(asked: Any, wanted: object) -> bool:
    return bool(await asked == wanted)
