"""Rates and ages by route, queried from the Prometheus that scrapes the routes' processes."""

import asyncio
import logging
import math
from collections.abc import Mapping
from typing import Any

import aiohttp

from chaski_console.data.views import RouteRates
from chaski_core.ports import Clock

_TIMEOUT_SECONDS = 5.0  # a page with unknown rates is better than a page that waits longer
_FRESH_SECONDS = 10.0  # scrapes are further apart than this
_MAX_RESPONSE_BYTES = 4 * 1024 * 1024
_COUNTERS = {
    "accepted": "chaski_messages_accepted_total",
    "delivered": "chaski_messages_delivered_total",
    "attempts": "chaski_attempts_total",
    "failed": 'chaski_attempts_total{outcome!="delivered"}',
    "dead_letters": "chaski_dead_letters_total",
}
_AGES = "max by (namespace, route, queue) (chaski_queue_oldest_message_age_seconds)"
_log = logging.getLogger(__name__)

Samples = dict[tuple[str, str], float]  # by route and queue; queue is "" in queries that do not group by it


class PrometheusRates:
    """Implements `views.Rates`. Everything is unknown while Prometheus is unavailable."""

    def __init__(self, url: str, clock: Clock, window: str = "2m") -> None:
        """`url`: of Prometheus; `window`: over which rates are averaged, in Prometheus' notation."""
        self._url = f"{url.rstrip('/')}/api/v1/query"
        self._clock = clock
        self._window = window
        self._queried_at: float | None = None
        self._rates: Mapping[str, RouteRates] = {}
        self._ages: Mapping[str, Mapping[str, float]] = {}
        self._refreshing = asyncio.Lock()

    async def rates(self) -> Mapping[str, RouteRates]:
        await self._refresh()
        return self._rates

    async def ages(self) -> Mapping[str, Mapping[str, float]]:
        await self._refresh()
        return self._ages

    async def _refresh(self) -> None:
        async with self._refreshing:  # pages that ask at the same time share one query
            now = self._clock.monotonic()
            if self._queried_at is None or now - self._queried_at >= _FRESH_SECONDS:
                self._queried_at = now
                self._rates, self._ages = await self._query_all()

    async def _query_all(self) -> tuple[Mapping[str, RouteRates], Mapping[str, Mapping[str, float]]]:
        counters = [f"sum by (namespace, route) (rate({each}[{self._window}]))" for each in _COUNTERS.values()]
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)) as http:
                results = await asyncio.gather(*(self._query(http, each) for each in (*counters, _AGES)))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            _log.warning("could not query Prometheus for rates: %s", str(error) or type(error).__name__)
            return {}, {}
        by_name = dict(zip(_COUNTERS, results, strict=False))
        routes = {key for samples in by_name.values() for key in samples}
        ages: dict[str, dict[str, float]] = {}
        for (route, queue), seconds in results[-1].items():
            ages.setdefault(route, {})[queue] = seconds
        return {key[0]: RouteRates(**{name: by_name[name].get(key, 0.0) for name in _COUNTERS}) for key in routes}, ages

    async def _query(self, http: aiohttp.ClientSession, expression: str) -> Samples:
        async with http.get(self._url, params={"query": expression}) as response:
            response.raise_for_status()
            if (response.content_length or 0) > _MAX_RESPONSE_BYTES:
                raise ValueError(f"the response is longer than {_MAX_RESPONSE_BYTES} bytes")
            document = await response.json()
        try:
            samples = {_labels(each["metric"]): float(each["value"][1]) for each in document["data"]["result"]}
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError("the response is not a Prometheus query result") from error
        return {key: value for key, value in samples.items() if math.isfinite(value)}


def _labels(labels: Mapping[str, Any]) -> tuple[str, str]:
    return f"{labels.get('namespace', '')}/{labels.get('route', '')}", str(labels.get("queue", ""))
