"""The metrics of the operator. Names and labels are stable and documented in docs/metrics.md."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial

from chaski_runtime.observability.metrics.queue_gauges import QueueGauges, QueueReading
from chaski_runtime.observability.metrics.registry import QUEUE, ROUTE, MetricsRegistry, Values

_RECONCILE_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class OperatorMetrics(MetricsRegistry):
    """Counters and gauges of the operator. The functions given to it are called at each scrape and must not wait.

    A function replaces the one that was given before: the autoscaler starts anew with each acquisition of the Lease.
    """

    def __init__(self) -> None:
        super().__init__()
        self._reads: dict[str, Callable[[], Values]] = {}
        self._read_queues: Callable[[], Iterable[QueueReading]] = tuple
        QueueGauges(self).observe(self._queues)
        self._reconciles = self.counter("chaski_reconciles", "Routes reconciled.", (*ROUTE, "result"))
        self._reconcile_seconds = self.histogram(
            "chaski_reconcile_duration_seconds", "How long a reconciliation took.", ("result",), _RECONCILE_SECONDS
        )
        self._drifts = self.counter(
            "chaski_drifts", "Objects that differed from the route and were corrected.", (*ROUTE, "kind")
        )
        self._decisions = self.counter("chaski_scaling_decisions", "Changes of replicas.", (*QUEUE, "direction"))
        self._scaling_failures = self.counter(
            "chaski_scaling_failures", "Scaling rounds without a figure that was needed.", (*QUEUE, "reason")
        )
        self._requests = self.counter("chaski_operator_aws_requests", "Calls to AWS.", ("service", "action", "result"))

    def reconciled(self, *, namespace: str, route: str, result: str, duration_seconds: float) -> None:
        """Counts a reconciliation. `result`: ok, invalid (the route is wrong), or error (tried again)."""
        self._reconciles.add((namespace, route, result))
        self._reconcile_seconds.observe((result,), duration_seconds)

    def drift(self, *, namespace: str, route: str, kind: str) -> None:
        """Counts a correction. `kind`: Deployment and the like, AWS for queues and tables; never an object's name."""
        self._drifts.add((namespace, route, kind))

    def scaled(self, *, namespace: str, route: str, queue: str, direction: str) -> None:
        """Counts a change of replicas. `direction`: up, down, from_zero or to_zero."""
        self._decisions.add((namespace, route, queue, direction))

    def scaling_failed(self, *, namespace: str, route: str, queue: str, reason: str) -> None:
        """Counts a scaling round without a decision. `reason`: counts, pods or apply."""
        self._scaling_failures.add((namespace, route, queue, reason))

    def aws_request(self, service: str, action: str, result: str) -> None:
        """Counts a call to AWS. `service`: sqs or dynamodb; `result`: ok, or a short word for what failed."""
        self._requests.add((service, action, result))

    def observe_queue(self, read: Callable[[], Iterable[QueueReading]]) -> None:
        """Shows the messages of queues by state, also for routes without a running worker."""
        self._read_queues = read

    def observe_conditions(self, read: Callable[[], Mapping[tuple[str, ...], bool]]) -> None:
        """Shows the conditions of routes, by namespace, route and condition; an unknown one is left out."""
        self._observe(
            "chaski_route_condition",
            "Conditions of routes: 1 true, 0 false.",
            (*ROUTE, "condition"),
            lambda: {key: int(value) for key, value in read().items()},
        )

    def observe_left(self, read: Callable[[], Mapping[tuple[str, ...], int]]) -> None:
        """Shows the routes that another installation serves, by namespace, route and installation."""
        description = "Routes that this operator leaves alone, since another installation serves them."
        self.gauge("chaski_routes_left", description, (*ROUTE, "installation"), read)

    def observe_policies(
        self, violations: Callable[[], Mapping[tuple[str, ...], int]], known: Callable[[], int]
    ) -> None:
        """Shows how many fields of routes policies deny, by namespace, route and policy; and whether policies are known."""
        description = "Fields of routes that do not comply with a policy."
        self.gauge("chaski_route_policy_violations", description, (*ROUTE, "policy"), violations)
        description = "1 if the policies of the cluster were read, else 0: then no new or changed route is accepted."
        self.gauge("chaski_policies_known", description, (), lambda: {(): known()})

    def observe_replicas(self, read: Callable[[], Mapping[tuple[str, ...], int]]) -> None:
        """Shows replicas by namespace, route, queue and state: wanted, set or ready."""
        self._observe("chaski_replicas", "Worker Pods by state.", (*QUEUE, "state"), read)

    def observe_unserved(self, read: Callable[[], Mapping[tuple[str, ...], float]]) -> None:
        """Shows how old the messages of queues without workers can be, by namespace, route and queue."""
        description = "How old the oldest message of a queue that no worker serves can be."
        self._observe("chaski_queue_unserved_age_seconds", description, QUEUE, read)

    def observe_watch(self, age_seconds: Callable[[], float | None]) -> None:
        """Shows how long ago the operator last received an event that it caused itself; None is unknown."""

        def read() -> dict[tuple[str, ...], float]:
            age = age_seconds()
            return {} if age is None else {(): age}

        self._observe("chaski_operator_watch_age_seconds", "Since the watch was last seen to work.", (), read)

    def observe_namespaces(self, read: Callable[[], Mapping[tuple[str, ...], int]]) -> None:
        """Shows by namespace whether something in it can't be listed or watched; `*` is all namespaces."""
        description = "1 while kinds of objects in a served namespace can't be listed or watched, else 0."
        self._observe("chaski_namespace_unavailable", description, ("namespace",), read)

    def observe_routes(self, read: Callable[[], Collection[tuple[str, str]]]) -> None:
        """Ends the series of routes that are not among these at a scrape, also if they were counted after their deletion."""

        def retain() -> None:
            routes = read()
            self.retain(ROUTE, lambda route: route in routes)

        self.before_scrape(retain)

    def _observe(self, name: str, description: str, labels: Sequence[str], read: Callable[[], Values]) -> None:
        if name not in self._reads:
            self.gauge(name, description, labels, partial(self._values, name))
        self._reads[name] = read

    def _values(self, name: str) -> Values:
        return self._reads[name]()

    def _queues(self) -> Iterable[QueueReading]:
        return self._read_queues()
