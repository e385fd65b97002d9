"""What the autoscaler needs: the cluster, the queues, the Pods' figures, its intervals."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from chaski_core.ports import Clock
from chaski_core.route.resolved import ResolvedRoute
from chaski_operator.autoscaling.policy import DEFAULT_LIMITS, ScalingLimits
from chaski_operator.autoscaling.targets import Workers
from chaski_operator.kube.events import Event
from chaski_operator.kube.workqueue import Key
from chaski_operator.manifests.kinds import Document
from chaski_operator.metrics import OperatorMetrics
from chaski_operator.pods.worker_metrics import Pods


class Cluster(Protocol):
    """The cluster as the autoscaler uses it; tests have one in memory."""

    def routes(self) -> Mapping[Key, Document]:
        """All ChaskiRoutes, from the cache."""

    def deployment(self, namespace: str, name: str) -> Document | None:
        """A worker Deployment, from the cache."""

    def ready_pods(self, namespace: str, labels: Mapping[str, str]) -> Sequence[str]:
        """Metrics URLs of the ready Pods with these labels."""

    async def scale(self, namespace: str, name: str, *, was: int, replicas: int) -> None:
        """Sets `spec.replicas` if it still is `was`. Raises KubeApiError, also if it has changed."""

    async def write_status(self, key: Key, status: Mapping[str, Any]) -> None:
        """Applies the autoscaler's part of the status. Raises KubeApiError."""

    async def post_events(self, metadata: Mapping[str, Any], events: Sequence[Event], now: str) -> None:
        """Posts events on a route; an event that is refused is lost."""

    def reconcile(self, key: Key) -> None:
        """Schedules a full reconciliation of the route."""


@dataclass(frozen=True, slots=True)
class ScalerIntervals:
    """Intervals, timeouts and concurrency of the autoscaler."""

    #: Seconds between two checks of a route.
    check_seconds: float = 10.0

    #: Seconds between two checks for new and deleted routes.
    roster_seconds: float = 1.0

    #: The error-consumer's queues are read in every n-th check only: their delays are longer.
    retries_every: int = 3

    #: Seconds until a check is cancelled, and routes checked concurrently.
    timeout_seconds: float = 30.0
    routes_at_once: int = 64

    #: Queues of one route read concurrently.
    queues_at_once: int = 8

    #: Seconds between two writes of counts to a route's status; changed conditions are written at once.
    figures_seconds: float = 60.0

    #: Seconds after which unchanged counts are written again: an empty queue is known to have been empty until then.
    same_figures_seconds: float = 21_600.0

    #: How fast the number of Pods may change.
    scaling: ScalingLimits = DEFAULT_LIMITS


@dataclass(frozen=True)
class ScalerDependencies:
    """What the scalers of all routes share."""

    cluster: Cluster
    read_queue: Callable[[str], Awaitable[Mapping[str, str]]]  # URL -> attributes; raises BackendError
    scrape_pods: Callable[[Sequence[str]], Awaitable[Pods]]  # URLs -> combined figures
    workers_of: Callable[[ResolvedRoute], Sequence[Workers]]
    sweeper_of: Callable[[ResolvedRoute], Workers]  # dead-letters what is about to expire, if it runs
    metrics: OperatorMetrics
    clock: Clock
    intervals: ScalerIntervals = field(default_factory=ScalerIntervals)
