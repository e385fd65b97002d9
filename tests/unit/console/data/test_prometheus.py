"""Rates from a Prometheus that answers as the test says."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from chaski_console.data.prometheus import PrometheusRates
from chaski_console.data.views import RouteRates
from unit.console.fakes import FixedClock

FIGURES = {
    "oldest": "42.5",
    "accepted": "1.5",
    "delivered": "1",
    "attempts_total[": "2",
    "failed": "0.5",
    "dead_letters": "0.25",
}


class Moving(FixedClock):
    """A clock that the test moves."""

    seconds = 0.0

    def monotonic(self) -> float:
        """Seconds."""
        return self.seconds


class Answers:
    """Says the same to every query, or what it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.body: object = None

    async def answer(self, request: web.Request) -> web.Response:
        """One query."""
        query = request.query["query"]
        self.asked.append(query)
        if self.body is not None:
            return web.json_response(self.body)
        kind = "failed" if "outcome" in query else next(name for name in FIGURES if name in query)
        metric = {"namespace": "n", "route": "r"} | ({"queue": "rung-fast"} if kind == "oldest" else {})
        return web.json_response({"data": {"result": [{"metric": metric, "value": [0, FIGURES[kind]]}]}})


@contextlib.asynccontextmanager
async def served(answers: Answers) -> AsyncIterator[str]:
    """Its address."""
    app = web.Application()
    app.router.add_get("/api/v1/query", answers.answer)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def test_rates_are_told_by_route_and_asked_for_now_and_then() -> None:
    """Not at each look of each page: scrapes are further apart."""
    answers, clock = Answers(), Moving()
    async with served(answers) as url:
        rates = PrometheusRates(url, clock)
        both = await asyncio.gather(rates.read(), rates.read())
        assert both == [{"n/r": RouteRates(1.5, 1.0, 2.0, 0.5, 0.25)}] * 2
        asked = len(answers.asked)
        assert asked == 6
        assert await rates.ages() == {"n/r": {"rung-fast": 42.5}}
        clock.seconds = 5.0
        await rates.read()
        assert len(answers.asked) == asked
        clock.seconds = 11.0
        await rates.read()
        assert len(answers.asked) == 2 * asked


@pytest.mark.promise(8)
@pytest.mark.parametrize("body", [{}, {"data": {}}, {"data": {"result": [{}]}}, [], "x"], ids=str)
async def test_an_answer_that_is_none_leaves_rates_unknown(body: object) -> None:
    """Unknown is not zero."""
    answers = Answers()
    answers.body = body
    async with served(answers) as url:
        rates = PrometheusRates(url, Moving())
        assert (await rates.read(), await rates.ages()) == ({}, {})
