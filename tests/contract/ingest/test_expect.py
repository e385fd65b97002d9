"""`Expect: 100-continue` (RFC 9110 section 10.1.1): a waiting client gets the interim response, or its refusal, at once."""

import asyncio
import hashlib
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import orjson
import pytest

from chaski_core.route.model import Producer
from chaski_ingest.auth.authenticators import ProducerAuthenticator
from chaski_ingest.auth.rate_limit import RateLimits
from chaski_ingest.http.server import IngestServer
from chaski_ingest.settings import IngestSettings
from unit.ingest.fakes import Directory, FakeBackend, FakeClock, make_ingest, resolved

KEY = "a key of thirty-two random bytes"
BODY = b'{"subject":"s","body":{"url":"https://api.example/"}}'
PATH = "/v1/routes/helpdesk/conversations/messages"
SOON_SECONDS = 0.1
LONG_SECONDS = 20.0


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """The port of an ingest with one producer, limited to two messages a second."""
    clock = FakeClock()
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    made = resolved()
    route = replace(made, route=replace(made.route, producers=(Producer(None, None, (digest,), 2),)))
    authenticator = ProducerAuthenticator(None, RateLimits(clock.monotonic))
    settings = IngestSettings(max_body_bytes=20_000_000, linger_seconds=0.2)
    ingest = make_ingest(FakeBackend(), routes=Directory(route), authenticator=authenticator, settings=settings)
    server = IngestServer(ingest)
    yield await server.start("127.0.0.1", 0)
    await server.drain()


class Client:
    """A client that waits before its body."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def head(self) -> tuple[bytes, float]:
        """Status line and headers of the next response, and the seconds until it arrived."""
        begun = time.monotonic()
        async with asyncio.timeout(LONG_SECONDS):
            head = await self._reader.readuntil(b"\r\n\r\n")
        return head, time.monotonic() - begun

    async def rest(self) -> bytes:
        """The bytes that arrive until the server closes."""
        async with asyncio.timeout(LONG_SECONDS):
            return await self._reader.read()

    def quiet(self) -> bool:
        """Whether nothing has arrived."""
        return not self._reader._buffer  # type: ignore[attr-defined]  # no public interface reads without waiting


async def ask(port: int, *headers: str, version: str = "1.1", path: str = PATH, length: int | None = None) -> Client:
    """Sends a head without its body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [f"POST {path} HTTP/{version}", "Host: h", f"Authorization: Bearer {KEY}", *headers]
    if length != 0:
        lines.append(f"Content-Length: {length or len(BODY)}")
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    return Client(reader, writer)


@pytest.mark.parametrize("word", ["100-continue", "100-Continue", " 100-CONTINUE "])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_a_waiting_client_gets_100_at_once(port: int, word: str, chunked: bool) -> None:
    """Then the final response; the connection accepts further requests of the same kind."""
    framing = ["Transfer-Encoding: chunked"] if chunked else []
    client = await ask(port, f"Expect: {word}", *framing, length=0 if chunked else None)
    for turn in range(2):
        head, seconds = await client.head()
        assert head == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert seconds < SOON_SECONDS
        client.writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY) if chunked else BODY)
        assert (await client.head())[0].startswith(b"HTTP/1.1 202 ")
        if turn == 0:
            again = [f"POST {PATH} HTTP/1.1", "Host: h", f"Authorization: Bearer {KEY}", f"Expect: {word}", *framing]
            again += [] if chunked else [f"Content-Length: {len(BODY)}"]
            await asyncio.sleep(0.05)  # the response's body
            client._reader._buffer.clear()  # type: ignore[attr-defined]
            client.writer.write(("\r\n".join(again) + "\r\n\r\n").encode())
    client.writer.close()


async def test_a_client_that_does_not_wait_gets_only_the_final_response(port: int) -> None:
    """RFC 9110: 100 may be omitted where the body has arrived."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {PATH} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {KEY}\r\nExpect: 100-continue\r\n"
    writer.write(f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY)
    assert (await Client(reader, writer).head())[0].startswith(b"HTTP/1.1 202 ")
    writer.close()


async def test_http_1_0_never_gets_100(port: int) -> None:
    """Its clients don't know interim responses; the header is ignored, whatever its value."""
    for word in ("100-continue", "something"):
        client = await ask(port, f"Expect: {word}", version="1.0")
        await asyncio.sleep(2 * SOON_SECONDS)
        assert client.quiet()
        client.writer.write(BODY)
        head, _ = await client.head()
        assert head.split(b" ")[1] == b"202"
        client.writer.close()


REFUSED = [
    pytest.param({"length": 300_000}, 413, id="too large"),
    pytest.param({"path": "/v1/routes/helpdesk/other/messages"}, 404, id="no such route"),
    pytest.param({"path": "/nothing"}, 404, id="no such path"),
    pytest.param({"headers": ("Content-Type: text/plain",)}, 415, id="type"),
    pytest.param({"headers": ("Idempotency-Key: ",)}, 400, id="key"),
]


@pytest.mark.parametrize(("asked", "status"), REFUSED)
async def test_a_refusal_is_sent_instead(port: int, asked: dict[str, object], status: int) -> None:
    """At once, without 100; and the connection closes, since the body may still follow."""
    headers = asked.get("headers", ())
    assert isinstance(headers, tuple)
    others = {name: value for name, value in asked.items() if name != "headers"}
    client = await ask(port, "Expect: 100-continue", *headers, **others)  # type: ignore[arg-type]
    head, seconds = await client.head()
    assert int(head.split(b" ")[1]) == status
    assert seconds < SOON_SECONDS
    assert b"\r\nconnection: close\r\n" in head.lower()
    assert b"100 Continue" not in await client.rest()
    client.writer.close()


async def test_a_denied_client_gets_no_100(port: int) -> None:
    """401 without credentials, 429 beyond the rate."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"POST {PATH} HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n".encode())
    assert (await Client(reader, writer).head())[0].startswith(b"HTTP/1.1 401 ")
    writer.close()
    heads = []
    for _ in range(3):
        client = await ask(port, "Expect: 100-continue")
        heads.append((await client.head())[0].split(b" ")[1])
        client.writer.close()
    assert heads == [b"100", b"100", b"429"]


@pytest.mark.parametrize("word", ["something", "100-continue, something", "100-continue=1"])
async def test_any_other_expectation_is_answered_417(port: int, word: str) -> None:
    """With and without a body; a supported expectation on a second line does not hide it."""
    for more in ((), ("Expect: 100-continue",)):
        client = await ask(port, f"Expect: {word}", *more)
        head, seconds = await client.head()
        assert head.startswith(b"HTTP/1.1 417 Expectation Failed\r\n")
        assert seconds < SOON_SECONDS
        client.writer.write(BODY)
        client.writer.close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl_does_not_wait_for_its_timeout(port: int) -> None:
    """It sends the header by itself with more than a megabyte, and waits one second for a response."""
    line = orjson.dumps({"subject": "s", "body": {"url": "https://api.example/", "content": "x" * 9_000}}) + b"\n"
    url = f"http://127.0.0.1:{port}{PATH}:batch"
    command = ["curl", "-sS", "-v", "-w", "%{http_code} %{time_total}", "-o", "/dev/null", "--data-binary", "@-"]
    command += ["-H", f"Authorization: Bearer {KEY}", "-H", "Content-Type: application/x-ndjson", url]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, log = await process.communicate(line * 180)
    assert b"Expect: 100-continue" in log
    assert b"100 Continue" in log
    status, seconds = out.decode().split()
    assert status == "200"
    assert float(seconds) < 0.95
