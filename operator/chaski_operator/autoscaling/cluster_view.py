"""The cluster as the autoscaler sees it: reads of the operator's cache, and its own writes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chaski_operator.installation import Installation
from chaski_operator.kube.cache import ObjectCache
from chaski_operator.kube.events import Event, post_events
from chaski_operator.kube.status import status_document
from chaski_operator.kube.workqueue import Key
from chaski_operator.manifests.kinds import DEPLOYMENT, POD, ROUTE, Document
from chaski_operator.manifests.names import ROUTE_LABEL
from chaski_operator.pods.metrics_client import PodEndpoint, pod_endpoint
from chaski_operator.pods.owners import PodOwners
from chaski_runtime.kube.client import KubeApi, KubeRefusedError, object_path

MANAGER = "chaski-autoscaler"  # field manager of its part of the status


@dataclass(frozen=True, slots=True)
class ReadyPods:
    """The ready Pods of a Deployment."""

    urls: Sequence[str]  # of their metrics
    unknown: int = 0  # ready Pods of which it could not be read whether they belong to the Deployment


class ClusterView:
    """The routes, Deployments and Pods of the served namespaces."""

    def __init__(
        self,
        api: KubeApi,
        cache: ObjectCache,
        installation: Installation,
        reconcile: Callable[[Key], None],
        *,
        identity: str,
    ) -> None:
        self._api = api
        self._cache = cache
        self._installation = installation
        self._reconcile = reconcile
        self._identity = identity
        self._owners = PodOwners(api)

    def keys(self) -> set[Key]:
        """Keys of the ChaskiRoutes that no other installation serves."""
        return {key for key, each in self._cache.by_key(ROUTE).items() if not self._installation.leaves(each)}

    def route(self, key: Key) -> Document | None:
        """A ChaskiRoute; None if it does not exist, or another installation serves it."""
        route = self._cache.get(ROUTE, *key)
        return None if route is None or self._installation.leaves(route) else route

    def deployment(self, namespace: str, name: str) -> Document | None:
        """A worker Deployment."""
        return self._cache.get(DEPLOYMENT, namespace, name)

    async def ready_pods(self, namespace: str, deployment: str, labels: Mapping[str, str]) -> ReadyPods:
        """The ready Pods with all these labels that belong to the Deployment."""
        found = self._cache.of_route(POD, namespace, labels.get(ROUTE_LABEL, ""))
        labelled = [each for each in found if _is_ready(pod_endpoint(each), labels)]
        document = self.deployment(namespace, deployment)
        if document is None or not labelled:
            return ReadyPods(())
        own = await self._owners.of(document, labelled)
        return ReadyPods([pod_endpoint(each).url for each in own.pods], own.unknown)

    def reconcile(self, key: Key) -> None:
        """Schedules a full reconciliation of the route."""
        self._reconcile(key)

    async def scale(self, namespace: str, name: str, *, was: int, replicas: int) -> None:
        """Sets `/scale` of a Deployment if it still requests `was`: the cache may be stale.

        Raises:
            KubeApiError: it was not set, for example because the number has changed.
        """
        path = object_path("apps/v1", "deployments", namespace, name, "scale")
        scale = await self._api.get(path)
        current = int(scale["spec"].get("replicas", 0))
        if current != was:
            raise KubeRefusedError(409, "Conflict", f"it requests {current} Pods now, not {was}")
        version = scale["metadata"]["resourceVersion"]
        await self._api.merge_patch(path, {"metadata": {"resourceVersion": version}, "spec": {"replicas": replicas}})

    async def post_events(self, metadata: Mapping[str, Any], events: Sequence[Event], now: str) -> None:
        """Posts events on the route; an event that is refused is lost."""
        await post_events(self._api, metadata, events, now=now, identity=self._identity)

    async def write_status(self, key: Key, status: Mapping[str, Any]) -> None:
        """Server-side apply beside the reconciler's part; nothing if the route was deleted. Raises KubeApiError."""
        path = object_path(ROUTE.api_version, ROUTE.plural, *key, "status")
        try:
            self._cache.put(ROUTE, await self._api.apply(path, status_document(*key, dict(status)), manager=MANAGER))
        except KubeRefusedError as error:
            if error.status != 404:
                raise


def _is_ready(pod: PodEndpoint, labels: Mapping[str, str]) -> bool:
    return pod.ready and labels.items() <= pod.labels.items()
