"""The queues that a worker polls, grouped by consumer, and their gauges."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
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


def polled_urls(resolved: ResolvedRoute, stages: Collection[Stage], only: str | None = None) -> frozenset[str]:
    """URLs of the queues that a worker of these stages polls. `only`: one queue's name."""
    groups = [each for groups in first_attempt_groups(resolved, only) for each in groups if Stage.FIRST in stages]
    if Stage.RETRY in stages and (retries := retry_group(resolved)) is not None:
        groups.append(retries)
    return frozenset(url for each in groups for url in each.urls)


class QueueObserver:
    """Reads the message counts of the queues that a worker polls, periodically, for their gauges and their backlog limit.

    Args:
        resolved: the route.
        polled: URLs of these queues.
        backend: gives the counts.
        clock: for ages.
        metrics: shows the gauges.
        held: the lanes that the worker holds.
        waiting: SentTimestamp of the oldest message of queues that was received and stays in its queue, epoch
            milliseconds; None: unknown.
        needs_counts: whether the counts are needed now. Where the operator reads them, they are only while a host is held.
    """

    def __init__(  # noqa: PLR0913 - what it reads, and when
        self,
        resolved: ResolvedRoute,
        polled: AbstractSet[str],
        backend: Backend,
        clock: Clock,
        metrics: WorkerMetrics,
        *,
        held: Callable[[], Iterable[Lane]],
        waiting: Callable[[Iterable[str]], int | None],
        needs_counts: Callable[[], bool] = lambda: True,
    ) -> None:
        self._route = resolved.route
        named = {name: [url for url in urls if url in polled] for name, urls in gauge_urls(resolved).items()}
        self._urls = {name: urls for name, urls in named.items() if urls}
        self._needs_counts = needs_counts
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
            read = self._read if self._needs_counts() else self._read_age
            self._readings = tuple([await read(name, urls) for name, urls in self._urls.items()])
            await asyncio.sleep(interval_seconds)

    async def _read(self, name: str, urls: Sequence[str]) -> QueueReading:
        parts = []
        try:
            for url in urls:
                parts.append(counts := await self._backend.queue(url).counts())
                self._note_overflow(url, counts.total)
        except BackendError:
            return QueueReading(self._route.namespace, self._route.name, name, None, None)
        counts = QueueCounts.of(parts)
        return QueueReading(self._route.namespace, self._route.name, name, counts, self._age(counts, set(urls)))

    async def _read_age(self, name: str, urls: Sequence[str]) -> QueueReading:
        """A reading without the counts."""
        self.overflowing.difference_update(urls)  # which matters only while a host is held
        return QueueReading(self._route.namespace, self._route.name, name, None, self._age(None, set(urls)))

    def _note_overflow(self, url: str, messages: int) -> None:
        if messages >= BACKLOG_LIMIT:
            self.overflowing.add(url)
        elif messages < _BELOW_LIMIT:
            self.overflowing.discard(url)

    def _age(self, counts: QueueCounts | None, urls: set[str]) -> float | None:
        known = [lane.oldest_sent_at for lane in self._held() if lane.key[0] in urls]
        oldest = None if counts is None else counts.oldest_sent_at
        sent = [at for at in (*known, oldest, self._waiting(urls)) if at is not None]
        if sent:
            return max(0.0, (self._clock.now_ms() - min(sent)) / 1000)
        return None if counts is None or counts.total else 0.0
