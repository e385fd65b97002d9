"""Start and stop of an HTTP server, the addresses that it listens on, and loopback addresses."""

import asyncio
import errno
import socket

import aiohttp
import pytest
from aiohttp import web

from chaski_runtime.process import http_server
from chaski_runtime.process.http_server import EVERY_ADDRESS, base_url, listening_sockets, probe_handler
from support.tools import need_ipv6


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


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        (EVERY_ADDRESS, {"127.0.0.1", "::1"}), ("127.0.0.1", {"127.0.0.1"}), ("0.0.0.0", {"127.0.0.1"}),
        ("::1", {"::1"}), ("::", {"::1"}),
    ],
)  # fmt: skip
async def test_a_server_listens_on_every_address_or_on_the_given_one(host: str, reached: set[str]) -> None:
    """A kubelet probes the address of the Pod's family. One free port for both families."""
    need_ipv6()
    app = web.Application()
    app.router.add_get("/healthz", probe_handler(lambda: None))
    server = await http_server.start(app, host, 0, stop_seconds=1.0)
    found = set()
    async with aiohttp.ClientSession() as client:
        for address in ("127.0.0.1", "::1"):
            try:
                async with client.get(f"{base_url(address, server.port)}/healthz") as response:
                    assert response.status == 200
                    found.add(address)
            except aiohttp.ClientConnectorError:
                continue
    assert found == reached
    await server.close()


@pytest.mark.parametrize("code", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_a_machine_without_ipv6_listens_on_ipv4(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Its kernel has no such sockets, or no such address."""

    class Ipv4Socket(socket.socket):
        def __init__(self, family: int = -1, *arguments: int) -> None:
            if family == socket.AF_INET6:
                raise OSError(code, "not on this machine")
            super().__init__(family, *arguments)

    monkeypatch.setattr("socket.socket", Ipv4Socket)
    (only,) = listening_sockets(EVERY_ADDRESS, 0)
    with only:
        assert only.family == socket.AF_INET
    with pytest.raises(OSError, match="can't listen on ::1, port 0: not on this machine"):
        listening_sockets("::1", 0)


@pytest.mark.parametrize("host", [EVERY_ADDRESS, "::1", "::"])
def test_a_port_that_is_in_use_in_one_family_is_an_error(host: str) -> None:
    """Half of the Pod's addresses would answer with another process."""
    need_ipv6()
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as other:
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=f"port {port}: address already in use") as refused:
            listening_sockets(host, port)
        assert refused.value.errno == errno.EADDRINUSE


def test_a_name_is_listened_on_at_one_port_of_all_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """`localhost` may have an address of each family."""
    need_ipv6()
    found = [(socket.AF_INET6, 0, 0, "", ("::1", 0, 0, 0)), (socket.AF_INET, 0, 0, "", ("127.0.0.1", 0))]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: found)
    sockets = listening_sockets("localhost", 0)
    assert [each.family for each in sockets] == [socket.AF_INET6, socket.AF_INET]
    assert len({each.getsockname()[1] for each in sockets}) == 1
    for each in sockets:
        each.close()


@pytest.mark.parametrize(
    ("host", "url"),
    [(EVERY_ADDRESS, "http://127.0.0.1:80"), ("10.0.0.1", "http://10.0.0.1:80"), ("fd00::1", "http://[fd00::1]:80")],
)
def test_url_of_a_server(host: str, url: str) -> None:
    """An IPv6 address stands in brackets (RFC 3986 §3.2.2)."""
    assert base_url(host, 80) == url


async def test_an_idle_connection_is_closed_after_the_given_time() -> None:
    """A client that comes back sooner finds it open."""
    app = web.Application()
    app.router.add_get("/", probe_handler(lambda: None))
    server = await http_server.start(app, "127.0.0.1", 0, stop_seconds=1.0, idle_seconds=0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    async with asyncio.timeout(30):
        response = await reader.read()  # to the end of the connection
    assert response.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close" not in response.lower()
    writer.close()
    await server.close()


@pytest.mark.parametrize("cancel", [True, False])
async def test_a_handler_is_cancelled_with_its_client_only_if_asked(*, cancel: bool) -> None:
    """A long poll ends, a replay does not."""
    ended: asyncio.Queue[str] = asyncio.Queue()

    async def wait(_: web.Request) -> web.Response:
        try:
            await asyncio.sleep(60 if cancel else 0.5)
        except asyncio.CancelledError:
            ended.put_nowait("cancelled")
            raise
        ended.put_nowait("completed")
        return web.Response()

    app = web.Application()
    app.router.add_get("/", wait)
    server = await http_server.start(app, "127.0.0.1", 0, stop_seconds=1.0, cancel_handlers=cancel)
    timeout = aiohttp.ClientTimeout(total=0.1)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as client:
            with pytest.raises(TimeoutError):
                await client.get(server.url)
        assert await ended.get() == ("cancelled" if cancel else "completed")
    finally:
        await server.close()
