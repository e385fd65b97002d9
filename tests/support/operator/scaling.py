"""An in-memory cluster for the autoscaler: routes, Deployments that follow their spec, queues with given counts."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from chaski_core.errors import BackendRejectedError, BackendUnavailableError
from chaski_core.ports import QueueCounts
from chaski_core.route.loading import load_route
from chaski_core.route.model import Ordering
from chaski_core.route.resolved import Generation, ResolvedRoute, RungQueue
from chaski_core.route.resolved_document import resolved_values
from chaski_operator.autoscaling.cluster_view import ClusterView, ReadyPods
from chaski_operator.autoscaling.dependencies import ScalerDependencies, ScalerIntervals
from chaski_operator.autoscaling.loop import ScalerLoop
from chaski_operator.kube.events import Event
from chaski_operator.kube.workqueue import Key
from chaski_operator.manifests.kinds import Document
from chaski_operator.manifests.worker_pod import worker_deployments
from chaski_operator.metrics import OperatorMetrics
from chaski_operator.pods.ingest_activity import Report
from chaski_operator.pods.worker_metrics import Pods
from chaski_operator.route.loader import RouteLoader
from chaski_runtime.kube.client import KubeRefusedError, KubeUnavailableError
from support.worker.memory_backend import LoopClock

DENIED = BackendRejectedError("AccessDenied", "not allowed")
UNAVAILABLE = BackendUnavailableError("unavailable")
RETRY = {
    "rungs": [{"name": "fast", "delaySeconds": 5}, {"name": "slow", "delaySeconds": 900}],
    "ladders": [{"class": "any", "rungs": ["fast", "slow"]}],
}


def route_document(name: str, *, ready: bool = True, ordering: str = "Relaxed", **spec: Any) -> dict[str, Any]:
    """A ChaskiRoute with one queue `messages` as the API server returns it; `ready`: its queues exist."""
    document: dict[str, Any] = {
        "apiVersion": "chaski.dev/v1alpha1",
        "kind": "ChaskiRoute",
        "metadata": {"name": name, "namespace": "ns", "generation": 1, "uid": name},
        "spec": {
            "ordering": ordering,
            "queues": [{"name": "messages"}],
            "targets": {"allow": [{"name": "t", "url": "https://t.example/"}]},
            "retry": RETRY,
            **spec,
        },
    }
    if ready:
        document["status"] = {"resolved": resolved_values(resolve(document))}
    return document


def resolve(document: Mapping[str, Any], *, older: Sequence[Generation] = ()) -> ResolvedRoute:
    """The resolved route, with made-up URLs."""
    route = load_route(dict(document))
    queues = {
        queue.name: tuple(f"https://q/{route.name}-{queue.name}-{n}" for n in range(queue.partitions))
        for queue in route.queues
    }
    rungs = route.retry.rungs if route.ordering is Ordering.RELAXED else ()
    return ResolvedRoute(
        route,
        (*older, Generation(len(older) + 1, queues)),
        tuple(RungQueue(rung, f"https://q/{route.name}-rung-{rung.name}") for rung in rungs),
        (),
        "table",
    )


@dataclass
class FakeCluster(ClusterView):
    """A cluster whose API server does what it is asked to."""

    documents: dict[Key, dict[str, Any]] = field(default_factory=dict)
    replicas: dict[str, int] = field(default_factory=dict)  # by Deployment
    pods: dict[str, Pods] = field(default_factory=dict)  # by Deployment; without one it has no ready Pod
    scaled: list[tuple[str, int]] = field(default_factory=list)
    written: list[tuple[Key, dict[str, Any]]] = field(default_factory=list)
    reconciled: list[Key] = field(default_factory=list)
    events: list[tuple[str, str]] = field(default_factory=list)  # type, reason
    unavailable: bool = False

    def add(self, document: dict[str, Any], replicas: int = 1) -> Key:
        """Adds a route whose Deployments have this number of replicas."""
        key = (document["metadata"]["namespace"], document["metadata"]["name"])
        self.documents[key] = document
        if "status" in document:
            for each in worker_deployments(resolve(document)):
                self.replicas[each.name] = replicas
        return key

    def keys(self) -> set[Key]:
        return set(self.documents)

    def route(self, key: Key) -> Document | None:
        return self.documents.get(key)

    def deployment(self, namespace: str, name: str) -> Document | None:
        del namespace
        return {"spec": {"replicas": self.replicas[name]}} if name in self.replicas else None

    async def ready_pods(self, namespace: str, deployment: str, labels: Mapping[str, str]) -> ReadyPods:
        """The Deployment's name, in place of the URLs of all its Pods."""
        del namespace, labels
        return ReadyPods([deployment] if deployment in self.pods else ())

    async def scale(self, namespace: str, name: str, *, was: int, replicas: int) -> None:
        del namespace
        if self.unavailable:
            raise KubeUnavailableError("unavailable")
        if self.replicas[name] != was:
            raise KubeRefusedError(409, "Conflict", "the number has changed")
        self.scaled.append((name, replicas))
        self.replicas[name] = replicas

    async def write_status(self, key: Key, status: Mapping[str, Any]) -> None:
        if self.unavailable:
            raise KubeUnavailableError("unavailable")
        self.written.append((key, dict(status)))
        known = self.documents[key].get("status", {})
        merged = known | status
        if "conditions" in status:  # a map by type: those of others stay
            types = {each["type"] for each in status["conditions"]}
            kept = [each for each in known.get("conditions", ()) if each["type"] not in types]
            merged["conditions"] = [*status["conditions"], *kept]
        self.documents[key]["status"] = merged

    async def post_events(self, metadata: Mapping[str, Any], events: Sequence[Event], now: str) -> None:
        del metadata, now
        self.events += [(each.type, each.reason) for each in events]

    def reconcile(self, key: Key) -> None:
        self.reconciled.append(key)

    async def scrape_pods(self, urls: Sequence[str]) -> Pods:
        return self.pods[urls[0]]

    def conditions(self, key: Key) -> dict[str, tuple[str, str]]:
        """Status and reason by type."""
        conditions = self.documents[key].get("status", {}).get("conditions", ())
        return {each["type"]: (each["status"], each["reason"]) for each in conditions}


@dataclass
class FakeQueues:
    """SQS as the autoscaler reads it; a queue without given counts is empty."""

    counts: dict[str, QueueCounts | Exception | Callable[[], Awaitable[QueueCounts]]] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)  # by URL
    calls: list[str] = field(default_factory=list)

    async def read(self, url: str) -> Mapping[str, str]:
        """The attributes that GetQueueAttributes returns."""
        self.calls.append(url)
        await asyncio.sleep(0.01)
        given = self.counts.get(url, QueueCounts(0, 0, 0))
        if isinstance(given, Exception):
            raise given
        counts = given if isinstance(given, QueueCounts) else await given()
        return {
            "ApproximateNumberOfMessages": str(counts.visible),
            "ApproximateNumberOfMessagesNotVisible": str(counts.in_flight),
            "ApproximateNumberOfMessagesDelayed": str(counts.delayed),
            "LastModifiedTimestamp": str(len(self.calls)),
            "VisibilityTimeout": self.settings.get(url, "60"),
        }


class ScalingHarness:
    """An in-memory cluster, its queues, and an autoscaler that runs on them in virtual time."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.queues = FakeQueues()
        self.metrics = OperatorMetrics()
        self.reported = False  # whether every Pod of ingest reports what it puts on queues
        self.idle: set[Key] = set()
        self.note: Callable[[Report], None] = lambda _: None  # a report of ingest, while the autoscaler runs

    @asynccontextmanager
    async def running(self, intervals: ScalerIntervals | None = None) -> AsyncIterator[None]:
        """Runs the autoscaler, with metrics of its own as in a new process."""
        self.metrics = OperatorMetrics()
        dependencies = ScalerDependencies(
            cluster=self.cluster,
            loader=RouteLoader(),
            read_queue=self.queues.read,
            scrape_pods=self.cluster.scrape_pods,
            metrics=self.metrics,
            clock=LoopClock(),
            intervals=intervals or ScalerIntervals(),
            idle=self.idle,
            reported=lambda: self.reported,
        )
        loop = ScalerLoop(dependencies, lambda: 0.5)
        self.note = loop.note
        task = asyncio.create_task(loop.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
