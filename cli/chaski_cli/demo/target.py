"""The demo's target: responds with 200, 400, 500 or never, and counts every request.

It is a separate process (`python -m chaski_cli.demo.target`), so that its counts are independent of Chaski. It prints
`{"port": N}` once it listens, serves `GET /counts`, and exits when its standard input is closed, so that it never
outlives the demo.
"""

import asyncio
import sys
from typing import Any

import orjson
from aiohttp import web

from chaski_runtime.process import http_server

ENDPOINTS = ("200", "400", "500", "timeout")


class Counter:
    """Counts requests by endpoint and message number, and records the order of first arrivals."""

    def __init__(self) -> None:
        self._requests: dict[str, dict[int, int]] = {endpoint: {} for endpoint in ENDPOINTS}
        self._first_arrivals: list[int] = []

    def arrived(self, endpoint: str, message: int) -> None:
        """Counts one request."""
        requests = self._requests[endpoint]
        if message not in requests:
            self._first_arrivals.append(message)
        requests[message] = requests.get(message, 0) + 1

    def as_json(self) -> dict[str, Any]:
        """`{"requests": {endpoint: {message number: requests}}, "firstArrivals": [message number]}`."""
        requests = {
            endpoint: {str(number): times for number, times in by_message.items()}
            for endpoint, by_message in self._requests.items()
        }
        return {"requests": requests, "firstArrivals": self._first_arrivals}


def make_app(counter: Counter) -> web.Application:
    """The target's four endpoints, and GET /counts."""

    async def endpoint(request: web.Request) -> web.Response:
        name = request.match_info["endpoint"]
        counter.arrived(name, (await request.json())["number"])
        if name == "timeout":
            await asyncio.Event().wait()  # cancelled when the client disconnects
        return web.Response(status=int(name), text=f"this endpoint always responds with {name}")

    async def counts(_: web.Request) -> web.Response:
        return web.Response(body=orjson.dumps(counter.as_json()), content_type="application/json")

    app = web.Application()
    app.router.add_post(f"/{{endpoint:{'|'.join(ENDPOINTS)}}}", endpoint)
    app.router.add_get("/counts", counts)
    return app


async def _serve() -> None:
    server = await http_server.start(make_app(Counter()), "127.0.0.1", 0, stop_seconds=0, cancel_handlers=True)
    sys.stdout.write(f'{{"port": {server.port}}}\n')
    sys.stdout.flush()
    try:
        await asyncio.to_thread(sys.stdin.buffer.read)
    finally:
        await server.close()


if __name__ == "__main__":
    try:
        asyncio.run(_serve())
    except KeyboardInterrupt:
        sys.exit(130)
