"""Rates from a fake Prometheus."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from chaski_console.data.prometheus import PrometheusRates
from chaski_console.data.views import RouteRates
from support.serving import served_app
from unit.console.fakes import FixedClock

FIGURES = {
    "oldest": "42.5",
    "accepted": "1.5",
    "delivered": "1",
    "attempts_total[": "2",
    "failed": "0.5",
    "dead_letters": "0.25",
}


class ManualClock(FixedClock):
    """A clock that the test moves."""

    seconds = 0.0

    def monotonic(self) -> float:
        """Seconds."""
        return self.seconds


class FakePrometheus:
    """Responds with FIGURES, or with `body` if the test sets it."""

    def __init__(self) -> None:
        self.queries: list[str] = []
        self.body: object = None

    async def respond(self, request: web.Request) -> web.Response:
        """Handles one query."""
        query = request.query["query"]
        self.queries.append(query)
        if self.body is not None:
            return web.json_response(self.body)
        kind = "failed" if "outcome" in query else next(name for name in FIGURES if name in query)
        metric = {"namespace": "n", "route": "r"} | ({"queue": "rung-fast"} if kind == "oldest" else {})
        return web.json_response({"data": {"result": [{"metric": metric, "value": [0, FIGURES[kind]]}]}})


@contextlib.asynccontextmanager
async def served(server: FakePrometheus) -> AsyncIterator[str]:
    """Yields its URL."""
    app = web.Application()
    app.router.add_get("/api/v1/query", server.respond)
    async with served_app(app) as url:
        yield f"{url}/"


async def test_rates_are_queried_by_route_and_cached() -> None:
    """Pages share the result for some seconds: scrapes are further apart."""
    server, clock = FakePrometheus(), ManualClock()
    async with served(server) as url:
        rates = PrometheusRates(url, clock)
        both = await asyncio.gather(rates.rates(), rates.rates())
        assert both == [{"n/r": RouteRates(1.5, 1.0, 2.0, 0.5, 0.25)}] * 2
        queried = len(server.queries)
        assert queried == 6
        assert await rates.ages() == {"n/r": {"rung-fast": 42.5}}
        clock.seconds = 5.0
        await rates.rates()
        assert len(server.queries) == queried
        clock.seconds = 11.0
        await rates.rates()
        assert len(server.queries) == 2 * queried


@pytest.mark.promise(8)
@pytest.mark.parametrize("body", [{}, {"data": {}}, {"data": {"result": [{}]}}, [], "x"], ids=str)
async def test_an_invalid_response_leaves_rates_unknown(body: object) -> None:
    """Unknown is not zero."""
    server = FakePrometheus()
    server.body = body
    async with served(server) as url:
        rates = PrometheusRates(url, ManualClock())
        assert (await rates.rates(), await rates.ages()) == ({}, {})
