"""How fast things happen on routes, asked of the Prometheus that scrapes their processes."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import aiohttp

from chaski_console.views import RouteRates
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
_log = logging.getLogger(__name__)


class PrometheusRates:
    """Implements `views.Rates`. Where Prometheus does not answer, rates are unknown."""

    def __init__(self, url: str, clock: Clock, window: str = "2m") -> None:
        """`url`: of Prometheus; `window`: over which rates are means, in Prometheus' notation."""
        self._url = f"{url.rstrip('/')}/api/v1/query"
        self._clock = clock
        self._window = window
        self._asked_at: float | None = None
        self._rates: Mapping[str, RouteRates] = {}
        self._asking = asyncio.Lock()

    async def read(self) -> Mapping[str, RouteRates]:
        """By route."""
        async with self._asking:  # all routes of a page ask at once, and one question is enough
            now = self._clock.monotonic()
            if self._asked_at is None or now - self._asked_at >= _FRESH_SECONDS:
                self._asked_at = now
                self._rates = await self._ask()
            return self._rates

    async def _ask(self) -> Mapping[str, RouteRates]:
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS)) as http:
                answers = await asyncio.gather(*(self._query(http, counter) for counter in _COUNTERS.values()))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            _log.warning("Prometheus says no rates: %s", str(error) or type(error).__name__)
            return {}
        by_name = dict(zip(_COUNTERS, answers, strict=True))
        routes = {route for answer in answers for route in answer}
        return {route: RouteRates(**{name: by_name[name].get(route, 0.0) for name in _COUNTERS}) for route in routes}

    async def _query(self, http: aiohttp.ClientSession, counter: str) -> dict[str, float]:
        expression = f"sum by (namespace, route) (rate({counter}[{self._window}]))"
        async with http.get(self._url, params={"query": expression}) as answer:
            answer.raise_for_status()
            if (answer.content_length or 0) > _MAX_ANSWER_BYTES:
                raise ValueError("the answer is too long")
            document = await answer.json()
        try:
            return {_route(each["metric"]): float(each["value"][1]) for each in document["data"]["result"]}
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError("the answer is not Prometheus'") from error


def _route(labels: Mapping[str, Any]) -> str:
    return f"{labels.get('namespace', '')}/{labels.get('route', '')}"
