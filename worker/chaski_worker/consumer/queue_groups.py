"""What a worker polls: lines of queues, each with consumers, slots and room of its own."""

from dataclasses import dataclass

from chaski_core.route.resolved import ResolvedRoute
from chaski_worker.delivery.triage import Stage


@dataclass(frozen=True, slots=True)
class QueueGroup:
    """Queues that share a consumer: the partitions of one named queue, or all rungs of a route."""

    name: str
    stage: Stage
    urls: tuple[str, ...]


RETRY_LINE = "rungs"


def first_lines(resolved: ResolvedRoute, only: str | None = None) -> list[list[QueueGroup]]:
    """The lines of first attempts, generation by generation, oldest first. `only`: one queue's name."""
    return [
        [
            QueueGroup(name, Stage.FIRST, tuple(urls))
            for name, urls in generation.queues.items()
            if only is None or name == only
        ]
        for generation in resolved.generations
    ]


def retry_line(resolved: ResolvedRoute) -> QueueGroup | None:
    """The line of retries: every rung, those that the route has no more as well, because they may hold messages."""
    urls = tuple(rung.url for rung in resolved.every_rung)
    return QueueGroup(RETRY_LINE, Stage.RETRY, urls) if urls else None


def gauge_urls(resolved: ResolvedRoute) -> dict[str, list[str]]:
    """Queue URLs by the name that the queue gauges show: the queue's own, or `rung-<name>`."""
    named = resolved.queue_urls
    for rung in resolved.every_rung:
        named.setdefault(f"rung-{rung.rung.name}", []).append(rung.url)
    return named
