"""What the operator counts. Names and labels are stable and documented in docs/metrics.md."""

from collections.abc import Callable, Iterable, Mapping

from chaski_runtime.observability.metrics.queue_gauges import QueueGauges, QueueReading
from chaski_runtime.observability.metrics.registry import QUEUE, ROUTE, MetricsRegistry

_RECONCILE_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class OperatorMetrics(MetricsRegistry):
    """The metrics of the operator. Its gauges are functions that are asked at each scrape and must not wait."""

    def __init__(self) -> None:
        super().__init__()
        self._queue_gauges = QueueGauges(self)
        self._reconciles = self.counter("chaski_reconciles", "Routes reconciled.", (*ROUTE, "result"))
        self._reconcile_seconds = self.histogram(
            "chaski_reconcile_duration_seconds", "How long a reconciliation took.", ("result",), _RECONCILE_SECONDS
        )
        self._drifts = self.counter(
            "chaski_drifts", "Objects found other than they should be, and put right.", (*ROUTE, "kind")
        )
        self._decisions = self.counter("chaski_scaling_decisions", "Changes of replicas.", (*QUEUE, "direction"))
        self._scaling_failures = self.counter(
            "chaski_scaling_failures", "Scaling rounds without a figure that was needed.", (*QUEUE, "reason")
        )
        self._requests = self.counter("chaski_operator_aws_requests", "Calls to AWS.", ("service", "action", "result"))

    def reconciled(self, *, namespace: str, route: str, result: str, duration_seconds: float) -> None:
        """A route was reconciled. `result`: ok, invalid (the route is wrong), or error (tried again)."""
        self._reconciles.add((namespace, route, result))
        self._reconcile_seconds.observe((result,), duration_seconds)

    def drift(self, *, namespace: str, route: str, kind: str) -> None:
        """Something was not as the route says. `kind`: Deployment and the like, AWS for queues and tables; never an object's name."""
        self._drifts.add((namespace, route, kind))

    def scaled(self, *, namespace: str, route: str, queue: str, direction: str) -> None:
        """Replicas were changed. `direction`: up, down, from_zero or to_zero."""
        self._decisions.add((namespace, route, queue, direction))

    def scaling_failed(self, *, namespace: str, route: str, queue: str, reason: str) -> None:
        """A round could not be decided. `reason`: counts, pods or apply."""
        self._scaling_failures.add((namespace, route, queue, reason))

    def aws_request(self, service: str, action: str, result: str) -> None:
        """A call to AWS. `service`: sqs or dynamodb; `result`: ok, or a short word for what failed."""
        self._requests.add((service, action, result))

    def observe_queue(self, read: Callable[[], Iterable[QueueReading]]) -> None:
        """Shows how many messages lie where, also for routes that have no worker just now."""
        self._queue_gauges.sources.append(read)

    def take_readings(self) -> None:
        """Asks every source of gauges."""
        self._queue_gauges.take()

    def observe_conditions(self, read: Callable[[], Mapping[tuple[str, ...], bool]]) -> None:
        """Shows the conditions of routes, by namespace, route and condition; one that is unknown is left out."""
        self.gauge(
            "chaski_route_condition",
            "Conditions of routes: 1 true, 0 false.",
            (*ROUTE, "condition"),
            lambda: {key: int(value) for key, value in read().items()},
        )

    def observe_replicas(self, read: Callable[[], Mapping[tuple[str, ...], int]]) -> None:
        """Shows replicas by namespace, route, queue and state: wanted, set or ready."""
        self.gauge("chaski_replicas", "Worker Pods by state.", (*QUEUE, "state"), read)

    def observe_unserved(self, read: Callable[[], Mapping[tuple[str, ...], float]]) -> None:
        """Shows how old the messages of queues without workers can be, by namespace, route and queue."""
        told = "How old the oldest message of a queue that no worker serves can be."
        self.gauge("chaski_queue_unserved_age_seconds", told, QUEUE, read)

    def observe_watch(self, age_seconds: Callable[[], float | None]) -> None:
        """Shows how long ago the operator last saw an event of its own making; None is unknown."""

        def read() -> dict[tuple[str, ...], float]:
            age = age_seconds()
            return {} if age is None else {(): age}

        self.gauge("chaski_operator_watch_age_seconds", "Since the watch was last seen to work.", (), read)
