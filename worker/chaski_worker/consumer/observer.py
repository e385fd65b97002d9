"""Reads now and then how many messages lie where, for the gauges."""

import asyncio
from collections.abc import Callable, Iterable

from chaski_core.errors import BackendError
from chaski_core.ports import Backend, Clock, QueueCounts
from chaski_core.route.resolved import ResolvedRoute
from chaski_runtime.observability.metrics.instruments import Metrics, QueueReading
from chaski_worker.consumer.queue_groups import gauge_urls
from chaski_worker.lanes.lane import Lane


class Observer:
    """The queue gauges of one route."""

    def __init__(
        self,
        resolved: ResolvedRoute,
        backend: Backend,
        clock: Clock,
        metrics: Metrics,
        held: Callable[[], Iterable[Lane]],
        waiting: Callable[[Iterable[str]], int | None],
    ) -> None:
        """Reads nothing yet.

        Args:
            resolved: the route.
            backend: what is asked for the counts.
            clock: by which ages are told.
            metrics: shows the gauges.
            held: the lanes that the worker holds.
            waiting: SentTimestamp of the oldest message of queues that was received and stays there, epoch
                milliseconds; None: not known.
        """
        self._route = resolved.route
        self._urls = gauge_urls(resolved)
        self._backend = backend
        self._clock = clock
        self._held = held
        self._waiting = waiting
        self._readings: tuple[QueueReading, ...] = ()
        metrics.observe_queue(lambda: self._readings)

    async def run(self, interval_seconds: float) -> None:
        """Reads until cancelled."""
        while True:
            self._readings = tuple([await self._read(name, urls) for name, urls in self._urls.items()])
            await asyncio.sleep(interval_seconds)

    async def _read(self, name: str, urls: Iterable[str]) -> QueueReading:
        try:
            parts = [await self._backend.queue(url).counts() for url in urls]
        except BackendError:
            return QueueReading(self._route.namespace, self._route.name, name, None, None)
        counts = QueueCounts.of(parts)
        return QueueReading(self._route.namespace, self._route.name, name, counts, self._age(counts, set(urls)))

    def _age(self, counts: QueueCounts, urls: set[str]) -> float | None:
        known = [lane.oldest_sent_at for lane in self._held() if lane.key[0] in urls]
        sent = [at for at in (*known, counts.oldest_sent_at, self._waiting(urls)) if at is not None]
        if sent:
            return max(0.0, (self._clock.now_ms() - min(sent)) / 1000)
        return None if counts.total else 0.0
