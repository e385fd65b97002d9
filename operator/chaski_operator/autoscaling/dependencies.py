"""What the autoscaler needs: the cluster, the routes, the queues, the Pods' figures, its intervals."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from chaski_core.ports import Clock
from chaski_operator.autoscaling.cluster_view import ClusterView
from chaski_operator.autoscaling.policy import DEFAULT_LIMITS, ScalingLimits
from chaski_operator.kube.workqueue import Key
from chaski_operator.metrics import OperatorMetrics
from chaski_operator.pods.worker_metrics import Pods
from chaski_operator.route.loader import RouteLoader


@dataclass(frozen=True, slots=True)
class ScalerIntervals:
    """Intervals, timeouts and concurrency of the autoscaler."""

    #: Seconds between two checks of a route.
    check_seconds: float = 10.0

    #: Seconds between two checks for new and deleted routes.
    roster_seconds: float = 1.0

    #: The error-consumer's queues are read in every n-th check only: their delays are longer.
    retries_every: int = 3

    #: Seconds between two readings of the counts of an idle route.
    idle_seconds: float = 900.0

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

    cluster: ClusterView
    loader: RouteLoader  # the reconciler's
    read_queue: Callable[[str], Awaitable[Mapping[str, str]]]  # URL -> attributes; raises BackendError
    scrape_pods: Callable[[Sequence[str]], Awaitable[Pods]]  # URLs -> combined figures
    metrics: OperatorMetrics
    clock: Clock
    idle: set[Key] = field(default_factory=set)  # routes that need no calls to SQS; kept by the scalers
    reported: Callable[[], bool] = lambda: False  # every Pod of ingest reports what it puts on queues
    intervals: ScalerIntervals = field(default_factory=ScalerIntervals)
