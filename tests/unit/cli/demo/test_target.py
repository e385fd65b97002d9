"""The demo's target and how its result is shown."""

import io

import aiohttp
import pytest
from aiohttp import web
from rich.console import Console

from chaski_cli.demo.experiment import EXPECTED, Metrics, Result, Row
from chaski_cli.demo.show import show
from chaski_cli.demo.target import Counter, make_app

METRICS = Metrics({"test_subject": 200}, {"400": 200, "500": 250, "timeout": 150}, {}, {}, {})


async def test_it_answers_what_its_endpoints_are_called_and_counts() -> None:
    """Requests are counted by endpoint and message, also those that get no answer."""
    runner = web.AppRunner(make_app(Counter()), handler_cancellation=True, access_log=None, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.3)) as http:
            for endpoint, number in (("200", 0), ("400", 1), ("500", 2), ("400", 1)):
                async with http.post(f"{base}/{endpoint}", json={"number": number}) as answer:
                    assert answer.status == int(endpoint)
            with pytest.raises(TimeoutError):
                await http.post(f"{base}/timeout", json={"number": 3})
            async with http.get(f"{base}/counts") as answer:
                assert await answer.json() == {
                    "requests": {"200": {"0": 1}, "400": {"1": 2}, "500": {"2": 1}, "timeout": {"3": 1}},
                    "firstArrivals": [0, 1, 2, 3],
                }
    finally:
        await runner.cleanup()


def shown(result: Result) -> str:
    """What people see."""
    console = Console(file=io.StringIO(), width=120, color_system=None)
    show(console, result, 71.0)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_an_exact_result_is_called_exact() -> None:
    """The table has a row for each endpoint and the sum."""
    text = shown(Result(dict(EXPECTED), METRICS, first_attempts_in_order=True))
    assert "nothing (timeout)" in text
    assert "800" in text
    assert "exact: every cell" in text


def test_a_wrong_cell_shows_what_it_must_be() -> None:
    """The figure that was demanded stands beside the one that was found, in its row and in the sum."""
    rows = {**EXPECTED, "400": Row(50, 193, 243, 50)}
    text = shown(Result(rows, METRICS, first_attempts_in_order=False))
    for part in ("193 (200)", "243 (250)", "793 (800)", "not exact", "in the order sent: NO"):
        assert part in text
