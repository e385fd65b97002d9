"""Many requests of every kind on one connection, and its end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import orjson
import pytest
import pytest_asyncio

from chaski_ingest.http.app import Ingest
from chaski_ingest.http.server import IngestServer
from chaski_ingest.settings import IngestSettings
from unit.ingest.fakes import FakeBackend, make_ingest

PATH = "/v1/routes/helpdesk/conversations/messages"
HEAD = f"POST {PATH} HTTP/1.1\r\nHost: ingest.test\r\nContent-Type: application/json\r\n"
SECONDS = 30.0


class Wire:
    """A client that writes raw bytes."""

    def __init__(self, ingest: Ingest, backend: FakeBackend, port: int) -> None:
        self.ingest = ingest
        self.backend = backend
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, *requests: bytes) -> None:
        """Writes requests one after the other, without waiting for responses."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(b"".join(requests))
        await self._writer.drain()

    async def answer(self) -> tuple[int, str, bytes]:
        """Status, head and body of the next response."""
        assert self._reader is not None
        async with asyncio.timeout(SECONDS):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
            return int(head.split(" ")[1]), head, await self._reader.readexactly(length)

    async def closed(self) -> bool:
        """Whether the server has closed the connection without sending more."""
        assert self._reader is not None
        async with asyncio.timeout(SECONDS):
            return await self._reader.read() == b""

    def subjects(self) -> list[str]:
        """The subjects on the queues, in order."""
        return [message.group_id for queue in self.backend.queues.values() for message in queue.taken]

    def leave(self) -> None:
        """Aborts the connection."""
        if self._writer is not None:
            self._writer.transport.abort()


@pytest_asyncio.fixture
async def wire() -> AsyncIterator[Wire]:
    """A connection to an ingest."""
    async with opened(IngestSettings()) as (made, _):
        yield made


@contextlib.asynccontextmanager
async def opened(settings: IngestSettings) -> AsyncIterator[tuple[Wire, IngestServer]]:
    """A connection to an ingest with these settings."""
    backend = FakeBackend()
    ingest = make_ingest(backend, settings=settings)
    server = IngestServer(ingest)
    made = Wire(ingest, backend, await server.start("127.0.0.1", 0))
    try:
        yield made, server
    finally:
        made.leave()
        await server.drain()


def body(subject: str, size: int = 0) -> bytes:
    """A message."""
    return orjson.dumps({"subject": subject, "body": {"url": "https://api.example/", "content": "x" * size}})


def simple(subject: str, *headers: str, size: int = 0) -> bytes:
    """A request in one piece."""
    data = body(subject, size)
    lines = "".join(f"{header}\r\n" for header in headers)
    return f"{HEAD}{lines}Content-Length: {len(data)}\r\n\r\n".encode() + data


def chunked(subject: str) -> list[bytes]:
    """A request whose body arrives in pieces."""
    data = body(subject)
    return [
        f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode(),
        *(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in (data[:9], data[9:])),
        b"0\r\n\r\n",
    ]


async def test_pipelined_requests_are_answered_in_order(wire: Wire) -> None:
    """Each response is sent before the next request is handled."""
    await wire.send(*(simple(f"s{number}") for number in range(40)))
    answers = [await wire.answer() for _ in range(40)]
    assert [status for status, _, _ in answers] == [202] * 40
    assert [orjson.loads(data)["subject"] for _, _, data in answers] == [f"s{number}" for number in range(40)]


async def test_one_connection_accepts_requests_of_every_kind(wire: Wire) -> None:
    """Simple ones, one in pieces, a large one, simple ones again."""
    await wire.send(simple("a"))
    assert (await wire.answer())[0] == 202
    for piece in chunked("b"):
        await wire.send(piece)
        await asyncio.sleep(0.01)
    assert (await wire.answer())[0] == 202
    await wire.send(simple("c", size=200_000))
    assert (await wire.answer())[0] == 202
    await wire.send(simple("d"))
    assert (await wire.answer())[0] == 202
    assert sorted(wire.subjects()) == ["a", "b", "c", "d"]


async def test_a_simple_request_after_one_in_pieces_waits_for_it(wire: Wire) -> None:
    """Also where all of them arrive in one packet."""
    await wire.send(simple("a"), *chunked("b"), simple("c"))
    answers = [await wire.answer() for _ in range(3)]
    assert [orjson.loads(answer)["subject"] for _, _, answer in answers] == ["a", "b", "c"]


@pytest.mark.parametrize("kind", ["Connection: close", "HTTP/1.0"])
async def test_a_last_request_is_answered_and_the_connection_closed(wire: Wire, kind: str) -> None:
    """`Connection: close`, and HTTP/1.0."""
    asked = simple("a").replace(b"HTTP/1.1", b"HTTP/1.0") if kind == "HTTP/1.0" else simple("a", kind)
    await wire.send(asked)
    assert (await wire.answer())[0] == 202
    assert await wire.closed()


async def test_malformed_http_is_answered_400_and_closed(wire: Wire) -> None:
    """Also after a valid request."""
    await wire.send(simple("a"))
    assert (await wire.answer())[0] == 202
    await wire.send(b"nonsense\r\n\r\n")
    status, head, _ = await wire.answer()
    assert (status, "application/problem+json" in head) == (400, True)
    assert await wire.closed()


async def test_a_problem_leaves_the_connection_open(wire: Wire) -> None:
    """An error in one request does not affect the next."""
    await wire.send(simple("").replace(b"/messages ", b"/nothing "), simple("b"))
    assert [(await wire.answer())[0], (await wire.answer())[0]] == [404, 202]


async def test_a_request_without_a_body_is_answered_400(wire: Wire) -> None:
    """With Content-Length 0 and without Content-Length; the connection stays open."""
    await wire.send(f"{HEAD}Content-Length: 0\r\n\r\n".encode(), f"{HEAD}\r\n".encode(), simple("a"))
    assert [(await wire.answer())[0] for _ in range(3)] == [400, 400, 202]


async def test_an_internal_error_closes_the_connection(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is logged, and the client does not wait for ever."""
    monkeypatch.setattr("chaski_ingest.http.responses.Response.to_bytes", lambda *_: 1 / 0)
    await wire.send(simple("a"))
    assert await wire.closed()


async def test_while_draining_the_connection_closes_after_the_response(wire: Wire) -> None:
    """503 with `Connection: close`, so that the next request goes to another server."""
    await wire.send(simple("a"))
    await wire.answer()
    wire.ingest.draining = True
    await wire.send(simple("b"))
    status, head, _ = await wire.answer()
    assert (status, "connection: close" in head) == (503, True)
    assert await wire.closed()


async def test_a_disconnect_is_ignored(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    """The message is accepted all the same; nothing is logged as an error."""
    queue = wire.backend.queue("messages-0")
    queue.open.clear()
    await wire.send(*(simple(f"s{number}") for number in range(5)))
    await asyncio.sleep(0.05)
    wire.leave()
    await asyncio.sleep(0.05)
    queue.open.set()
    await asyncio.sleep(0.05)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_response_has_date_and_server(wire: Wire) -> None:
    """`Date` (RFC 9110 §6.6.1) and `Server`, without versions."""
    await wire.send(simple("a"))
    _, head, _ = await wire.answer()
    assert "\r\ndate: " in head
    assert "gmt\r\n" in head
    assert "\r\nserver: chaski\r\n" in head


async def test_thousands_of_pipelined_requests_are_answered_in_order(wire: Wire) -> None:
    """More than are queued, small ones and one in chunks among them; reading pauses meanwhile."""
    small = "GET /%d HTTP/1.1\r\nHost: h\r\n\r\n"
    sent = [small % number for number in range(6_000)]
    await wire.send(b"")
    asking = asyncio.create_task(
        wire.send("".join(sent[:3_000]).encode(), *chunked("b"), "".join(sent[3_000:]).encode())
    )
    answers = [await wire.answer() for _ in range(6_001)]
    await asking
    assert answers.pop(3_000)[0] == 202
    details = [orjson.loads(data)["detail"] for _, _, data in answers]
    assert details == [f'there is nothing at "/{number}"' for number in range(6_000)]


@pytest.mark.parametrize("in_chunks", [False, True], ids=["length", "chunks"])
async def test_an_upgrade_that_is_not_supported_is_ignored(wire: Wire, in_chunks: bool) -> None:
    """As RFC 9110 §7.8 permits: Java's client asks for HTTP/2 with its first request, which has a body."""
    lines = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nHost: "
    asked = b"".join(chunked("a")) if in_chunks else simple("a")
    await wire.send(asked.replace(b"Host: ", lines), simple("b"))
    for subject in "ab":
        status, head, data = await wire.answer()
        assert (status, orjson.loads(data)["subject"], "connection:" in head) == (202, subject, False)


async def test_http_1_0_is_kept_alive_where_it_asks_for_it(wire: Wire) -> None:
    """The response has its version, and says so."""
    asked = simple("a", "Connection: keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0")
    await wire.send(asked)
    status, head, _ = await wire.answer()
    assert (status, head.startswith("http/1.0 "), "connection: keep-alive\r\n" in head) == (202, True, True)
    await wire.send(asked)
    assert (await wire.answer())[0] == 202


async def test_head_is_answered_without_a_body(wire: Wire) -> None:
    """With the length that GET would have, and the next response right behind."""
    await wire.send(b"HEAD /openapi.json HTTP/1.1\r\nHost: h\r\n\r\n")
    assert wire._reader is not None
    head = await wire._reader.readuntil(b"\r\n\r\n")
    assert int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]) > 1_000
    await wire.send(simple("a"))
    assert (await wire.answer())[0] == 202


@pytest.mark.parametrize("method", ["CONNECT h:80", "OPTIONS *"])
async def test_a_target_without_a_path_is_answered_404(wire: Wire, method: str) -> None:
    """A tunnel is not opened: its connection closes, and what the client sends through it is not read."""
    await wire.send(f"{method} HTTP/1.1\r\nHost: h\r\n\r\n".encode(), simple("a"))
    assert (await wire.answer())[0] == 404
    if method.startswith("CONNECT"):
        assert await wire.closed()
    else:
        assert (await wire.answer())[0] == 202


@pytest.mark.promise(12)
@pytest.mark.parametrize("sent", [b"", b"POST / HT", simple("a")], ids=["silent", "part of a head", "after a request"])
async def test_an_idle_connection_is_closed(sent: bytes) -> None:
    """After the keep-alive time, also where a head does not arrive to its end."""
    async with opened(IngestSettings(keep_alive_seconds=0.2)) as (wire, _):
        await wire.send(sent)
        if sent.endswith(b"}"):
            assert (await wire.answer())[0] == 202
        begun = asyncio.get_running_loop().time()
        assert await wire.closed()
        assert 0.1 < asyncio.get_running_loop().time() - begun < 5


async def test_a_request_in_progress_keeps_its_connection() -> None:
    """However long the queue takes."""
    async with opened(IngestSettings(keep_alive_seconds=0.1)) as (wire, _):
        for index in range(4):
            wire.backend.queue(f"messages-{index}").open.clear()
        await wire.send(simple("a"))
        await asyncio.sleep(0.35)
        for queue in wire.backend.queues.values():
            queue.open.set()
        assert (await wire.answer())[0] == 202


@pytest.mark.promise(12)
async def test_a_client_that_never_reads_is_disconnected() -> None:
    """It asks for more than its socket holds: ingest stops reading its requests, then closes."""
    async with opened(IngestSettings(keep_alive_seconds=0.3)) as (wire, server):
        await wire.send(b"")
        assert wire._writer is not None
        wire._writer.transport.pause_reading()  # type: ignore[attr-defined]
        asked = b"GET /openapi.json HTTP/1.1\r\nHost: h\r\n\r\n"
        with contextlib.suppress(ConnectionError):
            await wire.send(asked * 2_000)
        (connection,) = server._shared.connections
        transport = connection._transport
        assert transport is not None
        assert len(connection._parser.requests) < 200
        async with asyncio.timeout(SECONDS):
            while server._shared.connections:
                assert transport.get_write_buffer_size() < 300_000
                await asyncio.sleep(0.02)
        assert server._shared.limiter.open == 0


@pytest.mark.promise(9)
@pytest.mark.promise(12)
async def test_a_body_is_not_read_faster_than_its_handler_takes_it() -> None:
    """Neither the body of the request in progress nor those of the requests behind it are held by the megabyte."""
    async with opened(IngestSettings()) as (wire, server):
        for index in range(4):
            wire.backend.queue(f"messages-{index}").open.clear()
        asking = asyncio.create_task(wire.send(*(simple(f"s{number}", size=200_000) for number in range(40))))
        await asyncio.sleep(0.3)
        (connection,) = server._shared.connections
        held = sum(len(request._data) for request in connection._parser.requests) + len(connection._unparsed)
        assert held == connection._flow.held + len(connection._unparsed)
        assert held < 600_000
        for queue in wire.backend.queues.values():
            queue.open.set()
        assert [(await wire.answer())[0] for _ in range(40)] == [202] * 40
        await asking
        assert connection._flow.held == 0


@pytest.mark.promise(11)
async def test_a_drain_closes_idle_connections_and_announces_the_end_of_others() -> None:
    """The request in progress gets its 202 with `Connection: close`."""
    async with opened(IngestSettings()) as (wire, server):
        for index in range(4):
            wire.backend.queue(f"messages-{index}").open.clear()
        idle, writer = await asyncio.open_connection("127.0.0.1", wire._port)
        await wire.send(simple("a"))
        while not any(queue.calls for queue in wire.backend.queues.values()):
            await asyncio.sleep(0.005)
        draining = asyncio.create_task(server.drain())
        async with asyncio.timeout(SECONDS):
            assert await idle.read() == b""
        writer.close()
        assert not draining.done()
        for queue in wire.backend.queues.values():
            queue.open.set()
        status, head, _ = await wire.answer()
        assert (status, "connection: close\r\n" in head) == (202, True)
        assert await wire.closed()
        await draining


@pytest.mark.promise(11)
@pytest.mark.parametrize("client", ["sends no body", "reads nothing"])
async def test_a_drain_ends_although_a_client_does_not(client: str, caplog: pytest.LogCaptureFixture) -> None:
    """What is in progress at the end of its time is cut off without a response; nothing is logged as an error."""
    async with opened(IngestSettings(drain_seconds=0.1)) as (wire, server):
        await wire.send(b"")
        assert wire._writer is not None
        if client == "reads nothing":
            wire._writer.transport.pause_reading()  # type: ignore[attr-defined]
            wire._writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: h\r\n\r\n" * 2_000)
        else:
            await wire.send(f"{HEAD}Content-Length: 100\r\n\r\nx".encode())
        await asyncio.sleep(0.3)
        async with asyncio.timeout(5):
            await server.drain()
        assert server._shared.connections == set()
        assert server._shared.limiter.open == 0
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_body_that_arrives_after_its_refusal_keeps_the_connection(wire: Wire) -> None:
    """It is dropped; a body that does not arrive closes the connection, without a second response."""
    data = body("a")
    head = f"{HEAD}Content-Length: {len(data)}\r\n\r\n".replace("/messages ", "/nothing ").encode()
    for _ in range(2):
        await wire.send(head + data[:10])
        assert (await wire.answer())[0] == 404
        await wire.send(data[10:])
    await wire.send(simple("b"))
    assert (await wire.answer())[0] == 202
    await wire.send(head + data[:10])
    assert (await wire.answer())[0] == 404
    assert await wire.closed()
