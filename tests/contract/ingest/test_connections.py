"""Many requests on one connection: the fast path for simple ones, aiohttp's handling for others, and the change between."""

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest
import pytest_asyncio

from chaski_ingest.http.app import Ingest
from chaski_ingest.http.server import IngestServer
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
    backend = FakeBackend()
    ingest = make_ingest(backend)
    server = IngestServer(ingest)
    made = Wire(ingest, backend, await server.start("127.0.0.1", 0))
    yield made
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
