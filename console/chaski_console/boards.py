"""How routes are now: read from the queues themselves, with rates from the process's own counters."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from chaski_console.views import QueueView, Rates, RouteRates, RouteView
from chaski_core.errors import BackendError
from chaski_core.ports import Backend, Clock, QueueCounts
from chaski_core.route.resolved import ResolvedRoute
from chaski_runtime.metrics import RouteTotals

_OVER_SECONDS = 15.0  # rates are means over this long: shorter ones flicker, longer ones lag


class QueueBoard:
    """Implements `views.Board`: asks every queue for its counts."""

    def __init__(
        self, routes: Callable[[], Iterable[ResolvedRoute]], backend: Backend, rates: Rates | None, clock: Clock
    ) -> None:
        self._routes = routes
        self._backend = backend
        self._rates = rates
        self._clock = clock

    async def routes(self) -> Sequence[RouteView]:
        """Every route, by name."""
        rates = await self._rates.read() if self._rates else {}
        routes = sorted(self._routes(), key=lambda resolved: resolved.route.key)
        return [await self._view(resolved, rates.get(resolved.route.key)) for resolved in routes]

    async def _view(self, resolved: ResolvedRoute, rates: RouteRates | None) -> RouteView:
        route = resolved.route
        queues: dict[str, list[str]] = {}
        for generation in resolved.generations:
            for name, urls in generation.queues.items():
                queues.setdefault(name, []).extend(urls)
        rungs = [(rung.rung.name, [rung.url]) for rung in (*resolved.rungs, *resolved.retired_rungs)]
        return RouteView(
            key=route.key,
            ordering=route.ordering.value,
            suspended=route.suspend.delivery,
            targets=tuple(rule.name for rule in route.allow),
            queues=tuple([await self._line(name, urls) for name, urls in queues.items()]),
            rungs=tuple([await self._line(name, urls) for name, urls in rungs]),
            rates=rates,
        )

    async def _line(self, name: str, urls: Sequence[str]) -> QueueView:
        try:
            parts = await asyncio.gather(*(self._backend.queue(url).counts() for url in urls))
        except BackendError:
            return QueueView(name, None, None)
        oldest = min((part.oldest_sent_at for part in parts if part.oldest_sent_at is not None), default=None)
        counts = QueueCounts(
            visible=sum(part.visible for part in parts),
            in_flight=sum(part.in_flight for part in parts),
            delayed=sum(part.delayed for part in parts),
        )
        if oldest is not None:
            return QueueView(name, counts, max(0.0, (self._clock.now_ms() - oldest) / 1000))
        return QueueView(name, counts, None if counts.total else 0.0)


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


def _between(earlier: RouteTotals, later: RouteTotals, seconds: float) -> RouteRates:
    return RouteRates(
        accepted=(later.accepted - earlier.accepted) / seconds,
        delivered=(later.delivered - earlier.delivered) / seconds,
        attempts=(later.attempts - earlier.attempts) / seconds,
        failed=(later.failed - earlier.failed) / seconds,
        dead_letters=(later.dead_letters - earlier.dead_letters) / seconds,
    )
