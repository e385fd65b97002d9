"""The cluster as the autoscaler sees it: what the operator's watches have seen, and a watch of the worker Pods."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chaski_core.ports import Clock
from chaski_core.route.validation.crd import GROUP_VERSION
from chaski_operator.autoscaling.scaler import Key, Object
from chaski_operator.autoscaling.status import status_document
from chaski_operator.kube.event_posting import News, post
from chaski_operator.manifests.names import ROUTE_LABEL
from chaski_operator.pods.metrics_client import PodPlace, pod_place
from chaski_runtime.kube.client import KubeApi, KubeRefusedError, object_path
from chaski_runtime.kube.informer import Informer

MANAGER = "chaski-autoscaler"  # field manager of its part of the status
_WORKERS = "app.kubernetes.io/name=chaski-worker"


class WorkerPodWatcher:
    """The worker Pods of one namespace, or of all, by route. `run` follows them."""

    def __init__(self, api: KubeApi, namespace: str | None, clock: Clock, random: Callable[[], float]) -> None:
        self._by_route: dict[tuple[str, str], dict[str, PodPlace]] = {}
        self._routes: dict[Key, tuple[str, str]] = {}
        path = object_path("v1", "pods", namespace)
        self.mirror = Informer(api, path, pod_place, clock, random, selector=_WORKERS, on_change=self._changed)

    def ready(self, namespace: str, labels: Mapping[str, str]) -> list[str]:
        """URLs of the metrics of ready Pods with all these labels."""
        pods = self._by_route.get((namespace, labels.get(ROUTE_LABEL, "")), {})
        return [pod.url for pod in pods.values() if pod.ready and labels.items() <= pod.labels.items()]

    def _changed(self, key: Key, pod: PodPlace | None) -> None:
        known = self._routes.pop(key, None)
        if known is not None:
            self._by_route[known].pop(key[1], None)
            if not self._by_route[known]:
                del self._by_route[known]
        if pod is not None:
            route = self._routes[key] = (key[0], pod.labels.get(ROUTE_LABEL, ""))
            self._by_route.setdefault(route, {})[key[1]] = pod


class KubeCluster:
    """Implements `scaling_route.Cluster`."""

    def __init__(  # noqa: PLR0913 - what it stands for, each told by who knows it
        self,
        api: KubeApi,
        *,
        routes: Callable[[], Mapping[Key, Object]],
        deployment: Callable[[str, str], Object | None],
        pods: Sequence[WorkerPodWatcher],
        reconcile: Callable[[Key], None],
        noted: Callable[[dict[str, Any]], object],
        identity: str,
    ) -> None:
        self._api = api
        self.routes = routes
        self.deployment = deployment
        self._pods = pods
        self.reconcile = reconcile
        self._noted = noted
        self._identity = identity

    def ready_pods(self, namespace: str, labels: Mapping[str, str]) -> list[str]:
        """URLs of the metrics of the ready Pods with these labels."""
        return [url for pods in self._pods for url in pods.ready(namespace, labels)]

    async def scale(self, namespace: str, name: str, *, was: int, replicas: int) -> None:
        """By the Deployment's `/scale`, if it still asks for `was`: what is seen may be older than what is."""
        path = object_path("apps/v1", "deployments", namespace, name, "scale")
        scale = await self._api.get(path)
        now = int(scale["spec"].get("replicas", 0))
        if now != was:
            raise KubeRefusedError(409, "Conflict", f"it asks for {now} Pods by now, not {was}")
        version = scale["metadata"]["resourceVersion"]
        await self._api.merge_patch(path, {"metadata": {"resourceVersion": version}, "spec": {"replicas": replicas}})

    async def tell(self, metadata: Mapping[str, Any], news: Sequence[News], now: str) -> None:
        """Events on the route."""
        await post(self._api, metadata, news, now=now, identity=self._identity)

    async def write_status(self, key: Key, status: Mapping[str, Any]) -> None:
        """Server-side apply beside the reconciler's part; nothing where the route is gone."""
        path = object_path(GROUP_VERSION, "chaskiroutes", *key, "status")
        try:
            self._noted(await self._api.apply(path, status_document(*key, dict(status)), manager=MANAGER))
        except KubeRefusedError as error:
            if error.status != 404:
                raise
