"""Start and stop of an HTTP server, and loopback addresses."""

import asyncio

import aiohttp
import pytest
from aiohttp import web

from chaski_runtime.process import http_server
from chaski_runtime.process.http_server import is_loopback, probe_handler


async def test_a_server_listens_on_the_port_that_it_names_until_it_is_closed() -> None:
    """A probe is answered 200, or 503 with the reason."""
    reasons: list[str | None] = [None, "draining"]
    app = web.Application()
    app.router.add_get("/readyz", probe_handler(lambda: reasons.pop(0)))
    server = await http_server.start(app, "127.0.0.1", 0, stop_seconds=1.0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as client:
        async with client.get("/readyz") as response:
            assert (response.status, await response.text()) == (200, "ok\n")
        async with client.get("/readyz") as response:
            assert (response.status, await response.text()) == (503, "draining\n")
        with pytest.raises(OSError, match="in use"):
            await http_server.start(web.Application(), "127.0.0.1", server.port, stop_seconds=1.0)
        await server.close()
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.get("/readyz")


@pytest.mark.parametrize("cancel", [True, False])
async def test_a_handler_is_cancelled_with_its_client_only_if_asked(*, cancel: bool) -> None:
    """A long poll ends, a replay does not."""
    ended: asyncio.Queue[str] = asyncio.Queue()

    async def wait(_: web.Request) -> web.Response:
        try:
            await asyncio.sleep(0.5)
        except asyncio.CancelledError:
            ended.put_nowait("cancelled")
            raise
        ended.put_nowait("completed")
        return web.Response()

    app = web.Application()
    app.router.add_get("/", wait)
    server = await http_server.start(app, "127.0.0.1", 0, stop_seconds=1.0, cancel_handlers=cancel)
    timeout = aiohttp.ClientTimeout(total=0.1)
    async with aiohttp.ClientSession(timeout=timeout) as client:
        with pytest.raises(TimeoutError):
            await client.get(f"http://127.0.0.1:{server.port}/")
    assert await ended.get() == ("cancelled" if cancel else "completed")
    await server.close()


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True), ("127.8.9.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True),
        ("0.0.0.0", False), ("::", False), ("10.0.0.5", False), ("localhost.example", False), ("box", False), ("", False),
    ],
)  # fmt: skip
def test_loopback_addresses(host: str, *, expected: bool) -> None:
    """On other addresses the console requires authentication, and `chaski dev` warns."""
    assert is_loopback(host) is expected
