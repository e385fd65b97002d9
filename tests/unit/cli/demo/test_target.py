"""The demo's target."""

import aiohttp
import pytest

from chaski_cli.demo.target import Counter, make_app
from support.serving import served_app


async def test_each_endpoint_responds_with_its_name_and_counts() -> None:
    """Requests are counted by endpoint and message, also those without a response."""
    timeout = aiohttp.ClientTimeout(total=0.3)
    async with (
        served_app(make_app(Counter()), cancel_handlers=True) as base,
        aiohttp.ClientSession(timeout=timeout) as http,
    ):
        for endpoint, number in (("200", 0), ("400", 1), ("500", 2), ("400", 1)):
            async with http.post(f"{base}/{endpoint}", json={"number": number}) as response:
                assert response.status == int(endpoint)
        with pytest.raises(TimeoutError):
            await http.post(f"{base}/timeout", json={"number": 3})
        async with http.get(f"{base}/counts") as response:
            assert await response.json() == {
                "requests": {"200": {"0": 1}, "400": {"1": 2}, "500": {"2": 1}, "timeout": {"3": 1}},
                "firstArrivals": [0, 1, 2, 3],
            }
