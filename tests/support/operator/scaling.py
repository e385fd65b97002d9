"""A cluster in memory for the autoscaler: routes, Deployments that do as told, queues that hold what the test says."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaski_core.errors import BackendRejectedError, BackendUnavailableError
from chaski_core.ports import QueueCounts
from chaski_core.route.loading import load_route
from chaski_core.route.model import Ordering
from chaski_core.route.resolved import Generation, ResolvedRoute, RungQueue
from chaski_core.route.resolved_document import resolved_values
from chaski_operator.autoscaling.policy import Pods
from chaski_operator.autoscaling.scaler import Key, Object
from chaski_operator.kube.event_posting import News
from chaski_runtime.kube.client import KubeRefusedError, KubeUnavailableError

DENIED = BackendRejectedError("AccessDenied", "not allowed")
AWAY = BackendUnavailableError("away")


@dataclass(frozen=True)
class FakeWorkers:
    """A Deployment's name and job."""

    name: str
    queue: str | None
    labels: Mapping[str, str]


def workers_of(resolved: ResolvedRoute) -> list[FakeWorkers]:
    """One Deployment for each queue and one for retries."""
    route = resolved.route.name
    names: list[str | None] = [queue.name for queue in resolved.route.queues]
    if resolved.rungs:
        names.append(None)
    return [FakeWorkers(f"{route}-{name or 'retry'}", name, {"r": route, "q": name or "retry"}) for name in names]


def sweeper_of(resolved: ResolvedRoute) -> FakeWorkers:
    """The Deployment that keeps what is about to expire."""
    route = resolved.route.name
    return FakeWorkers(f"{route}-sweep", None, {"r": route, "q": "sweep"})


def route_document(name: str, *, ready: bool = True, ordering: str = "Relaxed", **spec: Any) -> dict[str, Any]:
    """A ChaskiRoute with one queue `messages`, as the API server has it, its queues made."""
    document: dict[str, Any] = {
        "apiVersion": "chaski.dev/v1alpha1",
        "kind": "ChaskiRoute",
        "metadata": {"name": name, "namespace": "ns", "generation": 1, "uid": name},
        "spec": {
            "ordering": ordering,
            "queues": [{"name": "messages"}],
            "targets": {"allow": [{"name": "t", "url": "https://t.example/"}]},
            **spec,
        },
    }
    if ready:
        document["status"] = {"resolved": resolved_values(resolve(document))}
    return document


def resolve(document: Mapping[str, Any], *, older: Sequence[Generation] = ()) -> ResolvedRoute:
    """What the operator makes for a route."""
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
class FakeCluster:
    """Implements `scaling_route.Cluster`."""

    documents: dict[Key, dict[str, Any]] = field(default_factory=dict)
    replicas: dict[str, int] = field(default_factory=dict)  # by Deployment
    pods: dict[str, Pods] = field(default_factory=dict)  # by Deployment; without one it has no ready Pod
    scaled: list[tuple[str, int]] = field(default_factory=list)
    written: list[tuple[Key, dict[str, Any]]] = field(default_factory=list)
    reconciled: list[Key] = field(default_factory=list)
    told: list[tuple[str, str]] = field(default_factory=list)  # events: type, reason
    away: bool = False

    def add(self, document: dict[str, Any], replicas: int = 1) -> Key:
        """A route whose Deployments have so many replicas."""
        key = (document["metadata"]["namespace"], document["metadata"]["name"])
        self.documents[key] = document
        if "status" in document:
            for each in workers_of(resolve(document)):
                self.replicas[each.name] = replicas
        return key

    def routes(self) -> Mapping[Key, Object]:
        """All routes."""
        return self.documents

    def deployment(self, namespace: str, name: str) -> Object | None:
        """As the API server has it."""
        del namespace
        return {"spec": {"replicas": self.replicas[name]}} if name in self.replicas else None

    def ready_pods(self, namespace: str, labels: Mapping[str, str]) -> list[str]:
        """The Deployment's name stands for all its Pods."""
        del namespace
        name = f"{labels['r']}-{labels['q']}"
        return [name] if name in self.pods else []

    async def scale(self, namespace: str, name: str, *, was: int, replicas: int) -> None:
        """Takes it, unless it is away."""
        del namespace
        if self.away:
            raise KubeUnavailableError("away")
        if self.replicas[name] != was:
            raise KubeRefusedError(409, "Conflict", "another number by now")
        self.scaled.append((name, replicas))
        self.replicas[name] = replicas

    async def write_status(self, key: Key, status: Mapping[str, Any]) -> None:
        """As the API server merges it."""
        if self.away:
            raise KubeUnavailableError("away")
        self.written.append((key, dict(status)))
        self.documents[key]["status"] = self.documents[key].get("status", {}) | status

    async def tell(self, metadata: Mapping[str, Any], news: Sequence[News], now: str) -> None:
        """Notes them."""
        del metadata, now
        self.told += [(each.type, each.reason) for each in news]

    def reconcile(self, key: Key) -> None:
        """Notes it."""
        self.reconciled.append(key)

    async def ask_pods(self, urls: Sequence[str]) -> Pods:
        """What the test says."""
        return self.pods[urls[0]]

    def conditions(self, key: Key) -> dict[str, tuple[str, str]]:
        """Status and reason by type."""
        told = self.documents[key].get("status", {}).get("conditions", ())
        return {each["type"]: (each["status"], each["reason"]) for each in told}


@dataclass
class FakeQueues:
    """SQS as the autoscaler reads it; a queue that nothing was said of is empty."""

    told: dict[str, QueueCounts | Exception | Callable[[], Awaitable[QueueCounts]]] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)  # by URL
    calls: list[str] = field(default_factory=list)

    async def read(self, url: str) -> Mapping[str, str]:
        """GetQueueAttributes."""
        self.calls.append(url)
        await asyncio.sleep(0.01)
        told = self.told.get(url, QueueCounts(0, 0, 0))
        if isinstance(told, Exception):
            raise told
        counts = told if isinstance(told, QueueCounts) else await told()
        return {
            "ApproximateNumberOfMessages": str(counts.visible),
            "ApproximateNumberOfMessagesNotVisible": str(counts.in_flight),
            "ApproximateNumberOfMessagesDelayed": str(counts.delayed),
            "LastModifiedTimestamp": str(len(self.calls)),
            "VisibilityTimeout": self.settings.get(url, "60"),
        }
