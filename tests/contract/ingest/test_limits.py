"""Limits of heads, bodies, lines and connections are checked as bytes arrive, before work is done."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace

import pytest

from chaski_core.route.model import Route
from chaski_ingest.auth.authenticators import Authenticated, Denied
from chaski_ingest.http.app import Ingest
from chaski_ingest.http.server import IngestServer
from chaski_ingest.settings import IngestSettings, SendingSettings
from unit.ingest.fakes import Directory, FakeBackend, make_ingest, resolved

PATH = "/v1/routes/helpdesk/conversations/messages"
BODY = b'{"subject":"s","body":{"url":"https://api.example/"}}'
Start = Callable[[IngestSettings], "asyncio.Future[Running]"]


class ByHeader:
    """Trusts the producer that a header names."""

    async def authenticate(self, headers: Mapping[str, str], route: Route) -> Authenticated | Denied:
        """Admits every request."""
        del route
        return Authenticated(headers.get("X-Producer"))


class Running:
    """An ingest on a free port."""

    def __init__(self, settings: IngestSettings) -> None:
        self.backend = FakeBackend()
        made = resolved(partitions=1)
        self.ingest: Ingest = make_ingest(
            self.backend, routes=Directory(replace(made)), settings=settings, authenticator=ByHeader()
        )
        self.server = IngestServer(self.ingest)
        self.port = 0

    async def open(self, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection on which these bytes were sent."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        return reader, writer

    async def ask(self, data: bytes) -> int:
        """The status of the response to these bytes."""
        reader, writer = await self.open(data)
        status = await answer(reader)
        writer.close()
        return status


async def answer(reader: asyncio.StreamReader) -> int:
    """The status of the next response; 0 where the connection closed without one."""
    async with asyncio.timeout(20):
        line = await reader.readline()
        return int(line.split(b" ")[1]) if line else 0


def head(length: int, producer: str = "p", *, batch: bool = False) -> bytes:
    """A request's head."""
    kind = "x-ndjson" if batch else "json"
    lines = [f"POST {PATH}{':batch' if batch else ''} HTTP/1.1", "Host: h", f"Content-Type: application/{kind}"]
    lines += [f"X-Producer: {producer}", f"Content-Length: {length}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@contextlib.asynccontextmanager
async def running(settings: IngestSettings) -> AsyncIterator[Running]:
    """A running ingest."""
    made = Running(settings)
    made.port = await made.server.start("127.0.0.1", 0)
    try:
        yield made
    finally:
        await made.server.drain()


@pytest.mark.promise(12)
async def test_a_body_that_stops_is_answered_408_and_a_steady_one_is_not() -> None:
    """A minimum of bytes in each period; the last one may have fewer."""
    settings = IngestSettings(body_pace_bytes=100, body_pace_seconds=0.4)
    async with running(settings) as made:
        stopped, one = await made.open(head(2_000) + b"x" * 350)
        steady, two = await made.open(head(1_150))
        for _ in range(11):
            await asyncio.sleep(0.1)
            two.write(b" " * 100)
        two.write(BODY[:50])
        assert await answer(stopped) == 408
        assert await answer(steady) == 400  # it has arrived, and is not a message
        for writer in (one, two):
            writer.close()


@pytest.mark.promise(9)
async def test_a_producer_leaves_as_many_bytes_as_it_holds() -> None:
    """Bytes count as they arrive, a declared length does not; another producer's body is accepted in the meantime."""
    settings = IngestSettings(max_body_bytes=300_000, body_pace_seconds=3.0)
    async with running(settings) as made:
        declared = [await made.open(head(250_000, "a")) for _ in range(20)]
        assert await made.ask(head(len(BODY), "a") + BODY) == 202
        assert await made.ask(head(len(BODY), "b") + BODY) == 202
        for _, writer in declared:
            writer.write(b" " * 20_000)
        await asyncio.sleep(0.2)
        assert 100_000 < made.ingest._bodies.bytes_held <= 150_000
        assert await made.ask(head(len(BODY), "b") + BODY) == 202
        body = BODY + b" " * 100_000
        assert await made.ask(head(len(body), "b") + body) == 202
        assert {await answer(reader) for reader, _ in declared} == {408, 503}
        assert made.ingest._bodies.bytes_held == 0
        for _, writer in declared:
            writer.close()


@pytest.mark.promise(14)
async def test_a_producer_leaves_as_many_connections_as_it_holds_with_slow_bodies() -> None:
    """A connection with a request in progress is never closed for another, so their number has shares too."""
    settings = IngestSettings(max_connections=8, body_pace_seconds=60.0, body_timeout_seconds=60.0)
    async with running(settings) as made:
        slow = [await made.open(head(2_000, "a") + b" ") for _ in range(8)]
        answers = [asyncio.create_task(answer(reader)) for reader, _ in slow]
        async with asyncio.timeout(20):
            while sum(each.done() for each in answers) < 4:
                await asyncio.sleep(0.01)
        assert made.ingest._bodies.items_held == 4
        for producer in ("b", "c", "d"):
            assert await made.ask(head(len(BODY), producer) + BODY) == 202
        assert [each.result() for each in answers if each.done()] == [503] * 4
        for each, (_, writer) in zip(answers, slow, strict=True):
            each.cancel()
            writer.close()


@pytest.mark.promise(9)
async def test_a_producer_leaves_as_many_waiting_messages_as_it_holds() -> None:
    """One producer's flood leaves space for another's message."""
    settings = IngestSettings(sending=SendingSettings(max_waiting_messages=20))
    async with running(settings) as made:
        queue = made.backend.queue("messages-0")
        queue.open.clear()
        flood = [asyncio.create_task(made.ask(head(len(BODY), "a") + BODY)) for _ in range(30)]
        while sum(each.done() for each in flood) < 20:
            await asyncio.sleep(0.01)
        assert {each.result() for each in flood if each.done()} == {503}
        other = asyncio.create_task(made.ask(head(len(BODY), "b") + BODY))
        await asyncio.sleep(0.1)
        assert not other.done()
        queue.open.set()
        assert await other == 202
        assert sorted(await asyncio.gather(*flood)) == [202] * 10 + [503] * 20


@pytest.mark.promise(12)
@pytest.mark.parametrize("sizes", [[8_000] * 5, [1] * 3 + [8_100] * 5], ids=["large", "small first"])
async def test_a_head_that_arrives_in_pieces_is_limited(sizes: list[int]) -> None:
    """431, and the connection closes."""
    async with running(IngestSettings()) as made:
        reader, writer = await made.open(b"GET / HTTP/1.1\r\nHost: h\r\n")
        with contextlib.suppress(ConnectionError):
            for number, size in enumerate(sizes):
                writer.write(f"X-{number}: ".encode() + b"a" * size + b"\r\n")
                await writer.drain()
                await asyncio.sleep(0.05)
        assert await answer(reader) == 431
        writer.close()


@pytest.mark.promise(12)
async def test_a_large_body_after_a_head_in_pieces_does_not_count_as_head() -> None:
    """Nor does the body of a second request."""
    async with running(IngestSettings()) as made:
        body = BODY + b" " * 200_000
        reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
        for _ in range(2):
            data = head(len(body)) + body
            for start in (0, 20, 60, 200, 70_000, 150_000):
                end = {0: 20, 20: 60, 60: 200, 200: 70_000, 70_000: 150_000, 150_000: len(data)}[start]
                writer.write(data[start:end])
                await asyncio.sleep(0.02)
            assert await answer(reader) == 202
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(0.05)
            await reader.readexactly(len(reader._buffer))  # type: ignore[attr-defined]  # the response's body
        writer.close()
        assert made.ingest.draining is False


@pytest.mark.promise(14)
async def test_incomplete_heads_of_all_connections_are_bounded() -> None:
    """Beyond the limit a head in pieces is refused; one that arrives in one piece is accepted."""
    async with running(IngestSettings(max_heads_bytes=50_000)) as made:
        part = b"GET / HTTP/1.1\r\nHost: h\r\nX-A: " + b"a" * 7_000
        opened = [await made.open(part) for _ in range(10)]
        await asyncio.sleep(0.1)
        ended = [reader for reader, _ in opened if reader._buffer]  # type: ignore[attr-defined]
        assert len(ended) == 3
        assert [await answer(reader) for reader in ended] == [431] * 3
        assert await made.ask(head(len(BODY)) + BODY) == 202
        for _, writer in opened:
            writer.close()


@pytest.mark.promise(14)
async def test_silent_connections_are_closed_for_others() -> None:
    """The oldest first; a producer's kept connection stays open as long as there are silent ones."""
    async with running(IngestSettings(max_connections=10)) as made:
        kept, kept_writer = await made.open(head(len(BODY)) + BODY)
        assert await answer(kept) == 202
        silent = [await made.open(b"") for _ in range(30)]
        await asyncio.sleep(0.1)
        assert await made.ask(head(len(BODY)) + BODY) == 202
        assert [reader.at_eof() for reader, _ in silent].count(False) == 8  # one more was closed for the message
        kept_writer.write(head(len(BODY)) + BODY)
        await kept.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.1)
        assert b"HTTP/1.1 202" in await kept.read(2_000)
        for _, writer in [*silent, (kept, kept_writer)]:
            writer.close()


async def test_a_malformed_chunk_is_answered_400_and_a_disconnect_is_ignored(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Neither is logged as an error."""
    chunked = head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    async with running(IngestSettings()) as made:
        reader, writer = await made.open(chunked + b"5\r\nhello\r\n")
        await asyncio.sleep(0.05)
        writer.write(b"nonsense\r\n")
        assert await answer(reader) == 400
        writer.close()
        _, aborted = await made.open(head(100) + b"x")
        await asyncio.sleep(0.05)
        aborted.transport.abort()
        await asyncio.sleep(0.05)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
