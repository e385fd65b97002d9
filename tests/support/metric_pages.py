"""Registries in which every metric was taken once, and figures read from a process's page."""

from prometheus_client.parser import text_string_to_metric_families

from chaski_core.ports import QueueCounts
from chaski_ingest.canary.metrics import CanaryMetrics
from chaski_ingest.metrics import BufferReading, IngestMetrics
from chaski_operator.metrics import OperatorMetrics
from chaski_runtime.observability.metrics.queue_gauges import QueueReading
from chaski_runtime.observability.metrics.registry import BackendMetrics, MetricsRegistry
from chaski_worker.metrics import LaneReading, WorkerMetrics

ROUTE = {"namespace": "n", "route": "r"}
QUEUE = ROUTE | {"queue": "q"}


def value(metrics: MetricsRegistry | str, name: str, **labels: str) -> float:
    """The sum of the samples with this name and these labels. `metrics`: a registry, or the text of a metrics page."""
    page = metrics if isinstance(metrics, str) else metrics.render().decode()
    return sum(
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def samples(metrics: MetricsRegistry) -> dict[str, list[tuple[dict[str, str], float]]]:
    """What Prometheus would read: labels and values by name."""
    return samples_of(metrics.render().decode())


def samples_of(page: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    """The same of a page of metrics."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def take_process_metrics(registry: MetricsRegistry) -> None:
    """Takes each metric that several services share once."""
    backend = BackendMetrics(registry)
    backend.sqs_request("SendMessageBatch", "ok", 3)
    backend.dynamodb_request("PutItem", "throttled")
    registry.observe_log_drops(lambda: 5)
    registry.observe_clock(lambda: -7_200.0)
    registry.observe_api_server(lambda: 42.0)


def take_ingest_metrics(registry: MetricsRegistry) -> IngestMetrics:
    """Takes each metric of ingest once."""
    metrics = IngestMetrics(registry)
    metrics.accepted(**QUEUE, subject_group="88")
    metrics.rejected(**ROUTE, reason="invalid")
    metrics.ingest_request(kind="single", status=202, duration_seconds=0.004)
    metrics.send_batch(entries=7)
    metrics.observe_buffer(lambda: BufferReading(1, 10, 200, 1000))
    return metrics


def take_worker_metrics(registry: MetricsRegistry) -> WorkerMetrics:
    """Takes each metric of a worker once."""
    metrics = WorkerMetrics(registry)
    metrics.attempts.observe(("n", "r", "q", "first", "t", "failed", "4xx"), 0.3)
    metrics.delivered.add(("n", "r", "q", "t", "88"))
    metrics.discarded.add(("n", "r", "q", "t"))
    metrics.dead_letters.add(("n", "r", "q", "t", "4xx", "exhausted", "88"))
    metrics.guard_refusals.add(("n", "r", "address"))
    metrics.repeats.add(("n", "r", "q", "first"))
    metrics.shortages.add(("n", "r", "t", "descriptors"))
    metrics.observe_shortages(lambda: {("n", "r", "all", "descriptors"): 1})
    metrics.observe_holds(lambda: {("n", "r", "t", "Suspended"): 1})
    metrics.observe_limits(lambda: ({("n", "r", "t"): 2}, {("n", "r", "t"): 0.25}))
    metrics.limit_parked.add(("n", "r", "t"))
    metrics.settled.add(("n", "r", "ingest", "delivered"))
    metrics.latency.observe(("n", "r", "q"), 1.5)
    metrics.handover_failures.add(("n", "r", "dead_letters"))
    metrics.observe_queue(lambda: [QueueReading("n", "r", "q", QueueCounts(1, 2, 3), 4.5)])
    metrics.observe_lanes(lambda: [LaneReading("n", "r", "q", 6, 7, 8, 9, 10, 11, 12, 13, 0.25, 60.0)])
    return metrics


def operator_metrics() -> OperatorMetrics:
    """The metrics of the operator, each taken once."""
    metrics = OperatorMetrics()
    metrics.reconciled(**ROUTE, result="ok", duration_seconds=0.2)
    metrics.drift(**ROUTE, kind="Deployment")
    metrics.scaled(**QUEUE, direction="up")
    metrics.scaling_failed(**QUEUE, reason="counts")
    metrics.aws_request("sqs", "GetQueueAttributes", "ok")
    metrics.observe_conditions(lambda: {("n", "r", "Ready"): True})
    metrics.observe_replicas(lambda: {("n", "r", "q", "wanted"): 3})
    metrics.observe_left(lambda: {("n", "r", "other"): 1})
    metrics.observe_watch(lambda: 7.5)
    metrics.observe_namespaces(lambda: {("n",): 1})
    metrics.observe_policies(lambda: {("n", "r", "p"): 2}, lambda: 1)
    metrics.observe_unserved(lambda: {("n", "r", "q"): 604_800.0})
    metrics.observe_queue(lambda: [QueueReading("n", "r", "q", QueueCounts(4, 0, 0), None)])
    return metrics


def canary_metrics() -> CanaryMetrics:
    """The metrics of the canary, each taken once."""
    metrics = CanaryMetrics(lambda: {("n", "r"): 3.0})
    metrics.sent(("n", "r"), "accepted")
    metrics.arrived(("n", "r"), 0.2)
    return metrics
