"""The client through an HTTP proxy, and what closing it ends: over real sockets, on both event loops."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from chaski_core.message.target_url import TargetUrl
from chaski_runtime.http.client import Client
from chaski_runtime.http.connector import Connector
from chaski_runtime.http.errors import ConnectFailedError, DisconnectedError, InvalidResponseError, ProxyRefusedError
from contract.delivery.targets import OK, Certificates, FakeResolver, Handler, Target, responding

Serve = Callable[..., Awaitable[Target]]
Open = Callable[[str | None], Client]


@pytest.fixture
async def open_client(certificates: Certificates) -> AsyncIterator[Open]:
    """Opens clients that trust the certificate of target.test, each for one proxy or none."""
    clients: list[Client] = []

    def make(proxy: str | None) -> Client:
        tls = ssl.create_default_context(cadata=certificates.pem("right"))
        resolver = FakeResolver({"target.test": [["127.0.0.1"]]})
        connector = Connector(max_response_bytes=100_000, tls=tls, resolver=resolver)
        clients.append(Client(connector, "chaski/test", idle_seconds=4.0, connect_seconds=5.0, proxy=proxy))
        return clients[-1]

    yield make
    for client in clients:
        await client.close()


def tunnel(answer: bytes) -> Handler:
    """A proxy that responds to CONNECT, and after a 200 passes bytes on to 127.0.0.1."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Target) -> None:
        await target.read_request(reader)
        writer.write(answer)
        if b" 200 " not in answer or answer.endswith(b"X: a\r\n"):
            return
        port = int(target.requests[-1].split()[1].rpartition(b":")[2])
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(_pass_on(reader, server_writer), _pass_on(server_reader, writer))
        finally:
            server_writer.close()

    return handle


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
    writer.close()


async def _get(client: Client, target: Target, scheme: str = "https") -> tuple[int, bytes]:
    response = await client.request("GET", TargetUrl(scheme, "target.test", target.port, "/x"), (), None)
    body = bytearray()
    await response.read_into(body, 100)
    response.close()
    return response.status, bytes(body)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.0 200 Connection established\r\nProxy-Agent: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ],
    ids=["1.1", "1.0", "close", "length", "interim"],
)
async def test_requests_go_through_a_tunnel(
    serve: Serve, open_client: Open, certificates: Certificates, answer: bytes
) -> None:
    """The proxy learns host and port only; the certificate is the target's; the connection is used again."""
    target = await serve(responding(OK), tls=certificates.server("right"))
    proxy = await serve(tunnel(answer))
    client = open_client(f"http://user:p%40ss@{proxy.address}:{proxy.port}")
    assert [await _get(client, target) for _ in range(3)] == [(200, b"hi")] * 3
    assert (proxy.connections, target.connections, len(target.requests)) == (1, 1, 3)
    host = f"target.test:{target.port}".encode()
    assert proxy.requests == [
        b"CONNECT %s HTTP/1.1\r\nHost: %s\r\nProxy-Authorization: Basic dXNlcjpwQHNz\r\n\r\n" % (host, host)
    ]
    assert b"Proxy-Authorization" not in b"".join(target.requests)


async def test_the_certificate_behind_a_tunnel_is_verified(
    serve: Serve, open_client: Open, certificates: Certificates
) -> None:
    """Nothing is sent to another host."""
    target = await serve(responding(OK), tls=certificates.server("wrong"))
    proxy = await serve(tunnel(b"HTTP/1.1 200 OK\r\n\r\n"))
    with pytest.raises(ConnectFailedError) as caught:
        await _get(open_client(proxy.url("")), target)
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
    assert target.requests == []


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n", ProxyRefusedError),
        (b"HTTP/1.1 204 No\r\n\r\n", ProxyRefusedError),
        (b"SSH-2.0-x\r\n\r\n", InvalidResponseError),
        (b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 8_000, InvalidResponseError),
        (b"", DisconnectedError),
    ],
    ids=["407", "204", "no proxy", "endless", "closed"],
)
async def test_a_proxy_that_opens_no_tunnel_is_an_error(
    serve: Serve, open_client: Open, answer: bytes, error: type[Exception]
) -> None:
    """With the reason; nothing of the request is sent to it."""
    proxy = await serve(tunnel(answer))
    with pytest.raises(error):
        await _get(open_client(proxy.url("")), Target("127.0.0.1", 1))
    assert len(proxy.requests) == 1
    assert b"/x" not in proxy.requests[0]


async def test_plain_requests_are_forwarded_by_the_proxy(serve: Serve, open_client: Open) -> None:
    """With the whole URL, over one connection."""
    proxy = await serve(responding(OK))
    client = open_client(proxy.url(""))
    for _ in range(2):
        assert await _get(client, Target("127.0.0.1", 8_000), "http") == (200, b"hi")
    assert proxy.connections == 1
    assert proxy.requests[0].startswith(b"GET http://target.test:8000/x HTTP/1.1\r\nHost: target.test:8000\r\n")


async def _hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Target) -> None:
    del writer
    await target.read_request(reader)
    await reader.read()


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_closing_a_client_ends_its_requests(
    serve: Serve, open_client: Open, certificates: Certificates, scheme: str
) -> None:
    """Those under way fail, and later ones are refused."""
    target = await serve(_hang, tls=certificates.server("right") if scheme == "https" else None)
    client = open_client(None)
    request = asyncio.create_task(_get(client, target, scheme))
    async with asyncio.timeout(5):
        while not target.requests:
            await asyncio.sleep(0.01)
        await client.close()
        with pytest.raises(DisconnectedError):
            await request
        with pytest.raises(DisconnectedError):
            await _get(client, target, scheme)
    assert target.connections == 1
