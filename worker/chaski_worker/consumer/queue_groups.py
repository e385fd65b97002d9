"""The queues that a worker polls, grouped by consumer, and their gauges."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from chaski_core.errors import BackendError
from chaski_core.ports import Backend, Clock, QueueCounts
from chaski_core.route.resolved import ResolvedRoute
from chaski_runtime.observability.metrics.queue_gauges import QueueReading
from chaski_worker.delivery.triage import Stage
from chaski_worker.lanes.lane import Lane
from chaski_worker.metrics import WorkerMetrics

RETRY_GROUP = "rungs"
BACKLOG_LIMIT = 96_000  # messages in one queue: 80 % of those among which SQS finds deliverable message groups
_BELOW_LIMIT = BACKLOG_LIMIT * 3 // 4  # from which on it counts as reached no longer


@dataclass(frozen=True, slots=True)
class QueueGroup:
    """Queues that share a consumer, with its slots and limits: the partitions of one named queue, or all rungs."""

    name: str
    stage: Stage
    urls: tuple[str, ...]
    generation: int = 0  # of the queues; 0 for rungs


def first_attempt_groups(resolved: ResolvedRoute, only: str | None = None) -> list[list[QueueGroup]]:
    """The groups of first attempts, generation by generation, oldest first. `only`: one queue's name."""
    return [
        [
            QueueGroup(name, Stage.FIRST, tuple(urls), generation.number)
            for name, urls in generation.queues.items()
            if only is None or name == only
        ]
        for generation in resolved.generations
    ]


def retry_group(resolved: ResolvedRoute) -> QueueGroup | None:
    """The group of retries: every rung, including those removed from the route, because they may hold messages."""
    urls = tuple(rung.url for rung in resolved.every_rung)
    return QueueGroup(RETRY_GROUP, Stage.RETRY, urls) if urls else None


def gauge_urls(resolved: ResolvedRoute) -> dict[str, list[str]]:
    """Queue URLs by the name in the queue gauges: the queue's own, or `rung-<name>`."""
    named = resolved.queue_urls
    for rung in resolved.every_rung:
        named.setdefault(f"rung-{rung.rung.name}", []).append(rung.url)
    return named


class QueueObserver:
    """Reads the queues' message counts periodically, for the queue gauges of one route.

    Args:
        resolved: the route.
        backend: gives the counts.
        clock: for ages.
        metrics: shows the gauges.
        held: the lanes that the worker holds.
        waiting: SentTimestamp of the oldest message of queues that was received and stays in its queue, epoch
            milliseconds; None: unknown.
    """

    def __init__(
        self,
        resolved: ResolvedRoute,
        backend: Backend,
        clock: Clock,
        metrics: WorkerMetrics,
        held: Callable[[], Iterable[Lane]],
        waiting: Callable[[Iterable[str]], int | None],
    ) -> None:
        self._route = resolved.route
        self._urls = gauge_urls(resolved)
        self._backend = backend
        self._clock = clock
        self._held = held
        self._waiting = waiting
        self._readings: tuple[QueueReading, ...] = ()
        self.overflowing: set[str] = set()  # URLs of the queues that have reached the backlog limit
        self.end_observation = metrics.observe_queue(lambda: self._readings)  # of the gauges

    async def run(self, interval_seconds: float) -> None:
        """Reads until cancelled."""
        while True:
            self._readings = tuple([await self._read(name, urls) for name, urls in self._urls.items()])
            await asyncio.sleep(interval_seconds)

    async def _read(self, name: str, urls: Iterable[str]) -> QueueReading:
        parts = []
        try:
            for url in urls:
                parts.append(counts := await self._backend.queue(url).counts())
                self._note_overflow(url, counts.total)
        except BackendError:
            return QueueReading(self._route.namespace, self._route.name, name, None, None)
        counts = QueueCounts.of(parts)
        return QueueReading(self._route.namespace, self._route.name, name, counts, self._age(counts, set(urls)))

    def _note_overflow(self, url: str, messages: int) -> None:
        if messages >= BACKLOG_LIMIT:
            self.overflowing.add(url)
        elif messages < _BELOW_LIMIT:
            self.overflowing.discard(url)

    def _age(self, counts: QueueCounts, urls: set[str]) -> float | None:
        known = [lane.oldest_sent_at for lane in self._held() if lane.key[0] in urls]
        sent = [at for at in (*known, counts.oldest_sent_at, self._waiting(urls)) if at is not None]
        if sent:
            return max(0.0, (self._clock.now_ms() - min(sent)) / 1000)
        return None if counts.total else 0.0
