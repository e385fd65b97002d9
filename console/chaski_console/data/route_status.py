"""How routes are now: read from the queues themselves, with rates from the process's own counters."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from chaski_console.data.views import QueueView, Rates, RouteRates, RouteView
from chaski_core.errors import BackendError
from chaski_core.ports import Clock, QueueCounts
from chaski_core.route.resolved import ResolvedRoute
from chaski_runtime.observability.metrics.instruments import RouteTotals

QUEUE, RUNG = "queue", "rung"
_CALLS_PER_SECOND = 50.0  # that looking at queues may cost, however many there are
_CALLS_SIDE_BY_SIDE = 16
_OVER_SECONDS = 15.0  # rates are means over this long: shorter ones flicker, longer ones lag


class Countable(Protocol):
    """A queue, as far as it is looked at."""

    async def counts(self) -> QueueCounts:
        """As `ports.Queue.counts`."""
        ...


class Queues(Protocol):
    """Where queues are had from."""

    def queue(self, url: str) -> Countable:
        """The queue of that URL. Makes no call."""
        ...


@dataclass(frozen=True, slots=True)
class RouteSnapshot:
    """The routes that there are."""

    served: Iterable[ResolvedRoute]
    unserved: Mapping[str, str] = field(default_factory=dict)  # why nothing is known of their queues
    trouble: str | None = None  # why these may be others by now


class RouteStatusReader:
    """Implements `views.Board`: asks every queue for its counts, the more rarely the more queues there are."""

    def __init__(self, known: Callable[[], RouteSnapshot], queues: Queues, rates: Rates | None, clock: Clock) -> None:
        self._known = known
        self._queues = queues
        self._rates = rates
        self._clock = clock
        self._counted: dict[str, tuple[float, QueueCounts | None]] = {}  # by URL: when, and what
        self._counting = asyncio.Lock()  # many pages ask at once, and one question is enough

    async def routes(self) -> Sequence[RouteView]:
        """Every route, by name."""
        known = self._known()
        served = list(known.served)
        rates, ages, counts = await asyncio.gather(self._read_rates(), self._read_ages(), self._count(served))
        views = [
            _view(resolved, rates.get(resolved.route.key), self._lines(resolved, counts, ages)) for resolved in served
        ]
        views += [RouteView(key, "", False, (), (), (), None, trouble=reason) for key, reason in known.unserved.items()]
        return sorted(views, key=lambda view: view.key)

    def keys(self) -> Sequence[str]:
        """Their names, without asking how they are."""
        known = self._known()
        return sorted([*(resolved.route.key for resolved in known.served), *known.unserved])

    def trouble(self) -> str | None:
        """Why the routes may be others by now."""
        return self._known().trouble

    async def _read_rates(self) -> Mapping[str, RouteRates]:
        return await self._rates.read() if self._rates else {}

    async def _read_ages(self) -> Mapping[str, Mapping[str, float]]:
        return await self._rates.ages() if self._rates else {}

    async def _count(self, served: Sequence[ResolvedRoute]) -> Mapping[str, QueueCounts | None]:
        urls = {url for resolved in served for _, _, line in _lines(resolved) for url in line}
        async with self._counting:
            now = self._clock.monotonic()
            fresh = len(urls) / _CALLS_PER_SECOND
            kept = {url: told for url, told in self._counted.items() if url in urls and now - told[0] < fresh}
            asked = sorted(urls - kept.keys())
            limit = asyncio.Semaphore(_CALLS_SIDE_BY_SIDE)
            found = await asyncio.gather(*(self._count_one(url, limit) for url in asked))
            self._counted = kept | {url: (now, counts) for url, counts in zip(asked, found, strict=True)}
            return {url: counts for url, (_, counts) in self._counted.items()}

    async def _count_one(self, url: str, limit: asyncio.Semaphore) -> QueueCounts | None:
        async with limit:
            try:
                return await self._queues.queue(url).counts()
            except BackendError:
                return None

    def _lines(
        self,
        resolved: ResolvedRoute,
        counts: Mapping[str, QueueCounts | None],
        ages: Mapping[str, Mapping[str, float]],
    ) -> list[tuple[str, QueueView]]:
        """Queues and rungs, each with its kind."""
        told = ages.get(resolved.route.key, {})
        return [
            (kind, self._line(name, [counts[url] for url in urls], told.get(f"rung-{name}" if kind == RUNG else name)))
            for kind, name, urls in _lines(resolved)
        ]

    def _line(self, name: str, parts: Sequence[QueueCounts | None], told_age: float | None) -> QueueView:
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return QueueView(name, None, None)
        counts = QueueCounts.of(known)
        if counts.oldest_sent_at is not None:
            return QueueView(name, counts, max(0.0, (self._clock.now_ms() - counts.oldest_sent_at) / 1000))
        return QueueView(name, counts, told_age if counts.total else 0.0)


def _lines(resolved: ResolvedRoute) -> list[tuple[str, str, list[str]]]:
    """Kind, name and URLs of each queue and rung."""
    rungs = [(RUNG, rung.rung.name, [rung.url]) for rung in resolved.every_rung]
    return [*((QUEUE, name, urls) for name, urls in resolved.queue_urls.items()), *rungs]


def _view(resolved: ResolvedRoute, rates: RouteRates | None, lines: Iterable[tuple[str, QueueView]]) -> RouteView:
    route, lines = resolved.route, list(lines)
    return RouteView(
        key=route.key,
        ordering=route.ordering.value,
        suspended=route.suspend.delivery,
        targets=tuple(rule.name for rule in route.allow),
        queues=tuple(line for kind, line in lines if kind == QUEUE),
        rungs=tuple(line for kind, line in lines if kind == RUNG),
        rates=rates,
    )


class CounterRates:
    """Implements `views.Rates` over counters of this process: how much they have risen since some seconds ago."""

    def __init__(self, totals: Callable[[], Mapping[str, RouteTotals]], clock: Clock) -> None:
        self._totals = totals
        self._clock = clock
        self._samples: deque[tuple[float, Mapping[str, RouteTotals]]] = deque()

    async def read(self) -> Mapping[str, RouteRates]:
        """By route; none before the second reading."""
        now, totals = self._clock.monotonic(), self._totals()
        samples = self._samples
        samples.append((now, totals))
        while len(samples) > 2 and samples[1][0] <= now - _OVER_SECONDS:
            samples.popleft()
        before, earlier = samples[0]
        if now <= before:
            return {}
        zero = RouteTotals()
        return {key: _between(earlier.get(key, zero), total, now - before) for key, total in totals.items()}

    async def ages(self) -> Mapping[str, Mapping[str, float]]:
        """None: the queues of this process tell them."""
        return {}


def _between(earlier: RouteTotals, later: RouteTotals, seconds: float) -> RouteRates:
    return RouteRates(
        accepted=(later.accepted - earlier.accepted) / seconds,
        delivered=(later.delivered - earlier.delivered) / seconds,
        attempts=(later.attempts - earlier.attempts) / seconds,
        failed=(later.failed - earlier.failed) / seconds,
        dead_letters=(later.dead_letters - earlier.dead_letters) / seconds,
    )
