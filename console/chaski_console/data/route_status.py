"""Status of the routes: message counts from the queues themselves, rates from counters."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from chaski_console.data.views import QueueView, Rates, RouteRates, RouteView
from chaski_core.errors import BackendError
from chaski_core.ports import Clock, QueueCounts
from chaski_core.route.resolved import ResolvedRoute
from chaski_runtime.observability.metrics.route_totals import RouteTotals

QUEUE, RUNG = "queue", "rung"
_CALLS_PER_SECOND = 50.0  # upper bound of the calls for counts, however many queues there are
_CONCURRENT_CALLS = 16
_RATE_WINDOW_SECONDS = 15.0  # rates are averaged over this time: shorter windows flicker, longer ones lag


class QueueCounter(Protocol):
    """The part of `ports.Queue` that counts messages."""

    async def counts(self) -> QueueCounts:
        """As `ports.Queue.counts`."""
        ...


class QueueProvider(Protocol):
    """Returns queues by URL."""

    def queue(self, url: str) -> QueueCounter:
        """The queue with that URL. Makes no call."""
        ...


@dataclass(frozen=True, slots=True)
class RouteSnapshot:
    """The routes that exist at one time."""

    served: Iterable[ResolvedRoute]
    unserved: Mapping[str, str] = field(default_factory=dict)  # key -> why the route's queues are unknown
    stale_reason: str | None = None  # why this list may be outdated


class RouteStatusReader:
    """Implements `views.RouteStatusSource`. Reads the counts of every queue, less often the more queues there are."""

    def __init__(
        self, snapshot: Callable[[], RouteSnapshot], queues: QueueProvider, rates: Rates | None, clock: Clock
    ) -> None:
        self._snapshot = snapshot
        self._queues = queues
        self._rates = rates
        self._clock = clock
        self._counted: dict[str, tuple[float, QueueCounts | None]] = {}  # by URL: time of the read, and its result
        self._counting = asyncio.Lock()  # pages that ask at the same time share one read

    async def routes(self) -> Sequence[RouteView]:
        snapshot = self._snapshot()
        served = list(snapshot.served)
        rates, ages, counts = await asyncio.gather(self._read_rates(), self._read_ages(), self._count(served))
        views = [
            _view(resolved, rates.get(resolved.route.key), self._queue_views(resolved, counts, ages))
            for resolved in served
        ]
        views += [
            RouteView(key, "", False, (), (), (), None, unserved_reason=reason)
            for key, reason in snapshot.unserved.items()
        ]
        return sorted(views, key=lambda view: view.key)

    def keys(self) -> Sequence[str]:
        snapshot = self._snapshot()
        return sorted([*(resolved.route.key for resolved in snapshot.served), *snapshot.unserved])

    def stale_reason(self) -> str | None:
        return self._snapshot().stale_reason

    async def _read_rates(self) -> Mapping[str, RouteRates]:
        return await self._rates.rates() if self._rates else {}

    async def _read_ages(self) -> Mapping[str, Mapping[str, float]]:
        return await self._rates.ages() if self._rates else {}

    async def _count(self, served: Sequence[ResolvedRoute]) -> Mapping[str, QueueCounts | None]:
        urls = {url for resolved in served for _, _, parts in _queues_and_rungs(resolved) for url in parts}
        async with self._counting:
            now = self._clock.monotonic()
            fresh_seconds = len(urls) / _CALLS_PER_SECOND
            kept = {
                url: counted
                for url, counted in self._counted.items()
                if url in urls and now - counted[0] < fresh_seconds
            }
            outdated = sorted(urls - kept.keys())
            limit = asyncio.Semaphore(_CONCURRENT_CALLS)
            results = await asyncio.gather(*(self._count_one(url, limit) for url in outdated))
            self._counted = kept | {url: (now, counts) for url, counts in zip(outdated, results, strict=True)}
            return {url: counts for url, (_, counts) in self._counted.items()}

    async def _count_one(self, url: str, limit: asyncio.Semaphore) -> QueueCounts | None:
        async with limit:
            try:
                return await self._queues.queue(url).counts()
            except BackendError:
                return None

    def _queue_views(
        self,
        resolved: ResolvedRoute,
        counts: Mapping[str, QueueCounts | None],
        ages: Mapping[str, Mapping[str, float]],
    ) -> list[tuple[str, QueueView]]:
        """Kind and view of each queue and rung."""
        route_ages = ages.get(resolved.route.key, {})
        return [
            (kind, self._queue_view(name, [counts[url] for url in urls], route_ages.get(_age_key(kind, name))))
            for kind, name, urls in _queues_and_rungs(resolved)
        ]

    def _queue_view(self, name: str, parts: Sequence[QueueCounts | None], measured_age: float | None) -> QueueView:
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return QueueView(name, None, None)
        counts = QueueCounts.of(known)
        if counts.oldest_sent_at is not None:
            return QueueView(name, counts, max(0.0, (self._clock.now_ms() - counts.oldest_sent_at) / 1000))
        return QueueView(name, counts, measured_age if counts.total else 0.0)


def _age_key(kind: str, name: str) -> str:
    return f"rung-{name}" if kind == RUNG else name


def _queues_and_rungs(resolved: ResolvedRoute) -> list[tuple[str, str, list[str]]]:
    """Kind, name and URLs of each queue and rung."""
    rungs = [(RUNG, rung.rung.name, [rung.url]) for rung in resolved.every_rung]
    return [*((QUEUE, name, urls) for name, urls in resolved.queue_urls.items()), *rungs]


def _view(resolved: ResolvedRoute, rates: RouteRates | None, queues: Sequence[tuple[str, QueueView]]) -> RouteView:
    route = resolved.route
    return RouteView(
        key=route.key,
        ordering=route.ordering.value,
        suspended=route.suspend.delivery,
        targets=tuple(rule.name for rule in route.allow),
        queues=tuple(queue for kind, queue in queues if kind == QUEUE),
        rungs=tuple(queue for kind, queue in queues if kind == RUNG),
        rates=rates,
    )


class CounterRates:
    """Implements `views.Rates` over counters of this process: their increase over the last seconds."""

    def __init__(self, totals: Callable[[], Mapping[str, RouteTotals]], clock: Clock) -> None:
        self._totals = totals
        self._clock = clock
        self._samples: deque[tuple[float, Mapping[str, RouteTotals]]] = deque()

    async def rates(self) -> Mapping[str, RouteRates]:
        """Rates by route; empty before the second call."""
        now, totals = self._clock.monotonic(), self._totals()
        samples = self._samples
        samples.append((now, totals))
        while len(samples) > 2 and samples[1][0] <= now - _RATE_WINDOW_SECONDS:
            samples.popleft()
        sampled_at, earlier = samples[0]
        if now <= sampled_at:
            return {}
        zero = RouteTotals()
        return {key: _rates_between(earlier.get(key, zero), total, now - sampled_at) for key, total in totals.items()}

    async def ages(self) -> Mapping[str, Mapping[str, float]]:
        """Nothing: the queues of this process report the ages with their counts."""
        return {}


def _rates_between(earlier: RouteTotals, later: RouteTotals, seconds: float) -> RouteRates:
    return RouteRates(
        accepted=(later.accepted - earlier.accepted) / seconds,
        delivered=(later.delivered - earlier.delivered) / seconds,
        attempts=(later.attempts - earlier.attempts) / seconds,
        failed=(later.failed - earlier.failed) / seconds,
        dead_letters=(later.dead_letters - earlier.dead_letters) / seconds,
    )
