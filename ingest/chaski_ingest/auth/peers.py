"""The number of ingest Pods that share the producers' rates: the ready ones behind a Service, followed by a watch."""

import logging
from collections.abc import Callable, Iterable

from chaski_core.ports import Clock
from chaski_runtime.kube.client import KubeApi, Object, object_path
from chaski_runtime.kube.informer import Informer, Key

_log = logging.getLogger(__name__)

Pods = frozenset[str]
PodCount = Callable[[], int]


def alone() -> int:
    """The number of Pods where no Service is followed."""
    return 1


def ready_pods(endpoint_slice: Object) -> Pods:
    """The ready Pods of an EndpointSlice, by name; endpoints of no Pod by their address.

    A Pod has an endpoint in one slice for each family of addresses. A missing `ready` counts as true:
    https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/
    """
    return frozenset(
        str((each.get("targetRef") or {}).get("name") or each["addresses"][0])
        for each in endpoint_slice.get("endpoints") or ()
        if (each.get("conditions") or {}).get("ready") is not False
    )


def pod_count(slices: Iterable[Pods], known: int) -> int:
    """The number of Pods in all slices. Without any it is the one known before: requests arrive, so Pods exist."""
    return len(frozenset().union(*slices)) or known


class PeerPods:
    """The ready Pods of the Service of ingest, this one included.

    While the API server is unavailable, or without the right to list, the last known number counts: 1 at first.
    """

    def __init__(self, api: KubeApi, service: Key, clock: Clock, random: Callable[[], float]) -> None:
        """Makes no call yet.

        Args:
            api: the API server; closed by `follow`.
            service: namespace and name.
            clock: time.
            random: a number from 0 to below 1.
        """
        self._api = api
        self._service = service
        self._count = 1
        self._informer = Informer(
            api,
            object_path("discovery.k8s.io/v1", "endpointslices", service[0]),
            ready_pods,
            clock,
            random,
            selector=f"kubernetes.io/service-name={service[1]}",
            on_change=self._changed,
        )

    def count(self) -> int:
        """The number of Pods that share each rate; at least 1."""
        return self._count

    def unready_reason(self) -> str | None:
        """Why requests should not be sent to this process yet; None once the Pods were listed, or can't be."""
        settled = self._informer.synced or self._informer.error is not None
        return None if settled else "the other Pods of ingest were not listed yet"

    async def follow(self) -> None:
        """Follows until cancelled."""
        async with self._api:
            await self._informer.run()

    def _changed(self, key: Key, pods: Pods | None) -> None:
        del key, pods
        count = pod_count(self._informer.items.values(), self._count)
        if count != self._count:
            _log.info("each rate of a producer is shared by %d Pods of Service %s/%s", count, *self._service)
        self._count = count
