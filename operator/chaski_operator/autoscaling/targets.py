"""What is scaled: each worker Deployment of a route with the SQS queues that it works on. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from chaski_core.ports import QueueCounts
from chaski_core.route.model import Route
from chaski_core.route.resolved import ResolvedRoute
from chaski_operator.autoscaling.policy import Limits, Mode

RETRIES = "rungs"  # the error-consumer, as the workers' own metrics call it


class Workers(Protocol):
    """One Deployment of a route."""

    @property
    def name(self) -> str:
        """Of the Deployment."""
        ...

    @property
    def queue(self) -> str | None:
        """The queue that it takes first attempts from; None: it makes the retries."""
        ...

    @property
    def labels(self) -> Mapping[str, str]:
        """Of its Pods."""
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """One SQS queue."""

    url: str
    row: str  # the line of `status.queues` that it is counted in
    delay_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """One Deployment and what it works on."""

    deployment: str
    queue: str  # metric label: the queue's name, or `rungs`
    labels: Mapping[str, str]
    sources: tuple[Source, ...]


def lines_of(resolved: ResolvedRoute, workers: Sequence[Workers]) -> list[Line]:
    """The lines of a route: a queue with its partitions in all generations, or all rungs."""
    rungs = [*resolved.rungs, *resolved.retired_rungs]
    retries = [Source(each.url, f"rung-{each.rung.name}", each.rung.delay_seconds) for each in rungs]
    lines = []
    for each in workers:
        sources = retries if each.queue is None else _partitions(resolved, each.queue)
        lines.append(Line(each.name, each.queue or RETRIES, dict(each.labels), tuple(sources)))
    return lines


def limits_of(route: Route) -> Limits:
    """What the route says of scaling; the schema has filled in the defaults."""
    said: Mapping[str, Any] = route.document["spec"].get("autoscaling") or {}
    usual = Limits()
    return Limits(
        mode=Mode(said.get("mode", usual.mode)),
        min_replicas=said.get("minReplicas", usual.min_replicas),
        max_replicas=said.get("maxReplicas", usual.max_replicas),
        target_drain_seconds=said.get("targetDrainSeconds", usual.target_drain_seconds),
        scale_to_zero_after_seconds=said.get("scaleToZeroAfterSeconds", usual.scale_to_zero_after_seconds),
        concurrency_per_pod=route.delivery.concurrency_per_pod,
        suspended=route.suspend.delivery,
    )


def counts_of(attributes: Mapping[str, str]) -> QueueCounts:
    """The counts among a queue's attributes. Raises ValueError where one is missing: unknown is not zero."""
    names = [f"ApproximateNumberOfMessages{state}" for state in ("", "NotVisible", "Delayed")]
    try:
        visible, in_flight, delayed = (int(attributes[name]) for name in names)
    except KeyError as error:
        raise ValueError(f"the answer lacks {error}") from error
    return QueueCounts(visible, in_flight, delayed)


def settings_of(attributes: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """What of a queue's attributes changes only when somebody changes it."""
    return tuple(sorted((n, v) for n, v in attributes.items() if not n.startswith("Approximate") and n != _MODIFIED))


def due_soon(line: Line, counts: Mapping[str, QueueCounts], limits: Limits) -> QueueCounts:
    """The counts of a line together; delayed messages only where their delay ends before the last Pod would leave."""
    parts = [(source, counts[source.url]) for source in line.sources]
    return QueueCounts(
        visible=sum(each.visible for _, each in parts),
        in_flight=sum(each.in_flight for _, each in parts),
        delayed=sum(
            each.delayed for source, each in parts if source.delay_seconds <= limits.scale_to_zero_after_seconds
        ),
    )


_MODIFIED = "LastModifiedTimestamp"


def _partitions(resolved: ResolvedRoute, queue: str) -> list[Source]:
    *older, current = resolved.generations
    sources = [Source(url, queue) for url in current.queues.get(queue, ())]
    return sources + [
        Source(url, f"{queue}.g{generation.number}") for generation in older for url in generation.queues.get(queue, ())
    ]
