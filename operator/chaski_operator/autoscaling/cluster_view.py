"""The cluster as the autoscaler sees it: the operator's caches, and a watch of the worker Pods."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chaski_core.ports import Clock
from chaski_core.route.validation.crd import GROUP_VERSION
from chaski_operator.kube.events import Event, post_events
from chaski_operator.kube.status import status_document
from chaski_operator.kube.workqueue import Key
from chaski_operator.manifests.kinds import Document
from chaski_operator.manifests.names import ROUTE_LABEL
from chaski_operator.pods.metrics_client import PodEndpoint, pod_endpoint
from chaski_runtime.kube.client import KubeApi, KubeRefusedError, object_path
from chaski_runtime.kube.informer import Informer

MANAGER = "chaski-autoscaler"  # field manager of its part of the status
_WORKERS = "app.kubernetes.io/name=chaski-worker"


class WorkerPodWatcher:
    """The worker Pods of one namespace, or of all, by route. `informer` must be run."""

    def __init__(self, api: KubeApi, namespace: str | None, clock: Clock, random: Callable[[], float]) -> None:
        self._by_route: dict[tuple[str, str], dict[str, PodEndpoint]] = {}
        self._routes: dict[Key, tuple[str, str]] = {}
        path = object_path("v1", "pods", namespace)
        self.informer = Informer(api, path, pod_endpoint, clock, random, selector=_WORKERS, on_change=self._on_change)

    def ready(self, namespace: str, labels: Mapping[str, str]) -> list[str]:
        """Metrics URLs of the ready Pods with all these labels."""
        pods = self._by_route.get((namespace, labels.get(ROUTE_LABEL, "")), {})
        return [pod.url for pod in pods.values() if pod.ready and labels.items() <= pod.labels.items()]

    def _on_change(self, key: Key, pod: PodEndpoint | None) -> None:
        known = self._routes.pop(key, None)
        if known is not None:
            self._by_route[known].pop(key[1], None)
            if not self._by_route[known]:
                del self._by_route[known]
        if pod is not None:
            route = self._routes[key] = (key[0], pod.labels.get(ROUTE_LABEL, ""))
            self._by_route.setdefault(route, {})[key[1]] = pod


class KubeCluster:
    """A `Cluster` on the API server."""

    def __init__(  # noqa: PLR0913 - the caches and callbacks that it combines
        self,
        api: KubeApi,
        *,
        routes: Callable[[], Mapping[Key, Document]],
        deployment: Callable[[str, str], Document | None],
        pods: Sequence[WorkerPodWatcher],
        reconcile: Callable[[Key], None],
        on_written: Callable[[dict[str, Any]], object],
        identity: str,
    ) -> None:
        self._api = api
        self.routes = routes
        self.deployment = deployment
        self._pods = pods
        self.reconcile = reconcile
        self._on_written = on_written
        self._identity = identity

    def ready_pods(self, namespace: str, labels: Mapping[str, str]) -> list[str]:
        """Metrics URLs of the ready Pods with these labels."""
        return [url for pods in self._pods for url in pods.ready(namespace, labels)]

    async def scale(self, namespace: str, name: str, *, was: int, replicas: int) -> None:
        """Sets `/scale` of a Deployment if it still requests `was`: the cache may be stale."""
        path = object_path("apps/v1", "deployments", namespace, name, "scale")
        scale = await self._api.get(path)
        current = int(scale["spec"].get("replicas", 0))
        if current != was:
            raise KubeRefusedError(409, "Conflict", f"it requests {current} Pods now, not {was}")
        version = scale["metadata"]["resourceVersion"]
        await self._api.merge_patch(path, {"metadata": {"resourceVersion": version}, "spec": {"replicas": replicas}})

    async def post_events(self, metadata: Mapping[str, Any], events: Sequence[Event], now: str) -> None:
        """Posts events on the route."""
        await post_events(self._api, metadata, events, now=now, identity=self._identity)

    async def write_status(self, key: Key, status: Mapping[str, Any]) -> None:
        """Server-side apply beside the reconciler's part; nothing if the route was deleted."""
        path = object_path(GROUP_VERSION, "chaskiroutes", *key, "status")
        try:
            self._on_written(await self._api.apply(path, status_document(*key, dict(status)), manager=MANAGER))
        except KubeRefusedError as error:
            if error.status != 404:
                raise
