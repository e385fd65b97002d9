"""The targets of scaling: each worker Deployment of a route with its SQS queues. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from chaski_core.ports import QueueCounts
from chaski_core.route.model import Route
from chaski_core.route.resolved import ResolvedRoute
from chaski_operator.autoscaling.policy import Mode, ScalingSpec
from chaski_operator.manifests.worker_pod import WorkerDeployment

RETRIES = "rungs"  # the error-consumer, as in the workers' own metrics
_MODIFIED = "LastModifiedTimestamp"


@dataclass(frozen=True, slots=True)
class Source:
    """One SQS queue."""

    url: str
    row: str  # the row of `status.queues` that it is counted in
    delay_seconds: int = 0


@dataclass(frozen=True, slots=True)
class ScaleTarget:
    """A Deployment and the SQS queues that it works on."""

    deployment: str
    queue: str  # metric label: the queue's name, or `rungs`
    labels: Mapping[str, str]
    sources: tuple[Source, ...]

    @property
    def urls(self) -> tuple[str, ...]:
        """URLs of its SQS queues."""
        return tuple(source.url for source in self.sources)

    def urls_by_row(self) -> dict[str, list[str]]:
        """URLs of its SQS queues by row of `status.queues`."""
        urls: dict[str, list[str]] = {}
        for source in self.sources:
            urls.setdefault(source.row, []).append(source.url)
        return urls


def targets_of(resolved: ResolvedRoute, workers: Sequence[WorkerDeployment]) -> list[ScaleTarget]:
    """The targets of a route: a queue with its partitions in all generations, or all rungs together."""
    rungs = [*resolved.rungs, *resolved.retired_rungs]
    retries = [Source(each.url, f"rung-{each.rung.name}", each.rung.delay_seconds) for each in rungs]
    targets = []
    for each in workers:
        sources = retries if each.queue is None else _partitions(resolved, each.queue)
        targets.append(ScaleTarget(each.name, each.queue or RETRIES, dict(each.labels), tuple(sources)))
    return targets


def scaling_spec(route: Route) -> ScalingSpec:
    """The scaling part of a route's spec; the schema has filled in the defaults."""
    spec: Mapping[str, Any] = route.document["spec"].get("autoscaling") or {}
    default = ScalingSpec()
    return ScalingSpec(
        mode=Mode(spec.get("mode", default.mode)),
        min_replicas=spec.get("minReplicas", default.min_replicas),
        max_replicas=spec.get("maxReplicas", default.max_replicas),
        target_drain_seconds=spec.get("targetDrainSeconds", default.target_drain_seconds),
        scale_to_zero_after_seconds=spec.get("scaleToZeroAfterSeconds", default.scale_to_zero_after_seconds),
        concurrency_per_pod=route.delivery.concurrency_per_pod,
        suspended=route.suspend.delivery,
    )


def settings_of(attributes: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """A queue's attributes without those that change by themselves."""
    return tuple(sorted((n, v) for n, v in attributes.items() if not n.startswith("Approximate") and n != _MODIFIED))


def due_soon(target: ScaleTarget, counts: Mapping[str, QueueCounts], spec: ScalingSpec) -> QueueCounts:
    """The counts of a target, by URL, as one; delayed messages count only if due before the last Pod would be removed."""
    parts = [(source, counts[source.url]) for source in target.sources]
    soon = spec.scale_to_zero_after_seconds
    return QueueCounts.of(
        [each if source.delay_seconds <= soon else replace(each, delayed=0) for source, each in parts]
    )


def _partitions(resolved: ResolvedRoute, queue: str) -> list[Source]:
    *older, current = resolved.generations
    sources = [Source(url, queue) for url in current.queues.get(queue, ())]
    return sources + [
        Source(url, f"{queue}.g{generation.number}") for generation in older for url in generation.queues.get(queue, ())
    ]
