"""How fast things happen on routes, asked of the Prometheus that scrapes their processes."""

import asyncio
import logging
import math
from collections.abc import Mapping
from typing import Any

import aiohttp

from chaski_console.data.views import RouteRates
from chaski_core.ports import Clock

_SECONDS = 5.0  # an answer that takes longer is no use to who watches
_FRESH_SECONDS = 10.0  # scrapes are further apart than this
_MAX_ANSWER_BYTES = 4 * 1024 * 1024
_COUNTERS = {
    "accepted": "chaski_messages_accepted_total",
    "delivered": "chaski_messages_delivered_total",
    "attempts": "chaski_attempts_total",
    "failed": 'chaski_attempts_total{outcome!="delivered"}',
    "dead_letters": "chaski_dead_letters_total",
}
_AGES = "max by (namespace, route, queue) (chaski_queue_oldest_message_age_seconds)"
_log = logging.getLogger(__name__)


Answer = dict[tuple[str, str], float]  # route, and queue where that is asked for


class PrometheusRates:
    """Implements `views.Rates`. Where Prometheus does not answer, rates are unknown."""

    def __init__(self, url: str, clock: Clock, window: str = "2m") -> None:
        """`url`: of Prometheus; `window`: over which rates are means, in Prometheus' notation."""
        self._url = f"{url.rstrip('/')}/api/v1/query"
        self._clock = clock
        self._window = window
        self._asked_at: float | None = None
        self._rates: Mapping[str, RouteRates] = {}
        self._ages: Mapping[str, Mapping[str, float]] = {}
        self._asking = asyncio.Lock()

    async def read(self) -> Mapping[str, RouteRates]:
        """By route."""
        await self._refresh()
        return self._rates

    async def ages(self) -> Mapping[str, Mapping[str, float]]:
        """By route and line."""
        await self._refresh()
        return self._ages

    async def _refresh(self) -> None:
        async with self._asking:  # all pages ask at once, and one question is enough
            now = self._clock.monotonic()
            if self._asked_at is None or now - self._asked_at >= _FRESH_SECONDS:
                self._asked_at = now
                self._rates, self._ages = await self._ask()

    async def _ask(self) -> tuple[Mapping[str, RouteRates], Mapping[str, Mapping[str, float]]]:
        counters = [f"sum by (namespace, route) (rate({each}[{self._window}]))" for each in _COUNTERS.values()]
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS)) as http:
                answers = await asyncio.gather(*(self._query(http, each) for each in (*counters, _AGES)))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            _log.warning("Prometheus says no rates: %s", str(error) or type(error).__name__)
            return {}, {}
        by_name = dict(zip(_COUNTERS, answers, strict=False))
        routes = {key for answer in by_name.values() for key in answer}
        ages: dict[str, dict[str, float]] = {}
        for (route, queue), seconds in answers[-1].items():
            ages.setdefault(route, {})[queue] = seconds
        return {key[0]: RouteRates(**{name: by_name[name].get(key, 0.0) for name in _COUNTERS}) for key in routes}, ages

    async def _query(self, http: aiohttp.ClientSession, expression: str) -> Answer:
        async with http.get(self._url, params={"query": expression}) as answer:
            answer.raise_for_status()
            if (answer.content_length or 0) > _MAX_ANSWER_BYTES:
                raise ValueError("the answer is too long")
            document = await answer.json()
        try:
            found = {_labels(each["metric"]): float(each["value"][1]) for each in document["data"]["result"]}
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError("the answer is not Prometheus'") from error
        return {key: value for key, value in found.items() if math.isfinite(value)}


def _labels(labels: Mapping[str, Any]) -> tuple[str, str]:
    return f"{labels.get('namespace', '')}/{labels.get('route', '')}", str(labels.get("queue", ""))
