"""The outcome of a response, complete or broken."""

import asyncio
import gzip
from collections.abc import Awaitable, Callable

import pytest

from chaski_core.message.envelope import HttpRequest
from chaski_core.message.target_url import TargetUrl, parse_url
from chaski_worker.guard import addresses
from chaski_worker.guard.addresses import DialRecord
from contract.delivery.targets import OK, TIMEOUT_SECONDS, DelivererSetup, Handler, Target, post, responding

Serve = Callable[..., Awaitable[Target]]
MakeSetup = Callable[..., DelivererSetup]


def answer(status: str, *headers: str, body: bytes = b"") -> bytes:
    """A response's bytes."""
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode() + body


COMPLETE = [
    pytest.param(OK, "", 200, "hi", id="whole"),
    pytest.param(answer("204 No Content"), "", 204, "", id="no content"),
    pytest.param(answer("299 Odd", "Content-Length: 0"), "", 299, "", id="any 2xx"),
    pytest.param(answer("404 Not Found", "Content-Length: 4", body=b"gone"), "404", 404, "gone", id="client error"),
    pytest.param(answer("503 Away", "Content-Length: 0"), "503", 503, "", id="server error"),
    pytest.param(answer("304 Not Modified"), "304", 304, "", id="not modified"),
    pytest.param(answer("999 Odd", "Content-Length: 0"), "connection", 999, "", id="no final status"),
    pytest.param(answer("101 Switching", "Upgrade: x", "Connection: upgrade"), "connection", 101, "", id="upgrade"),
    pytest.param(answer("103 Early") * 500 + OK, "", 200, "hi", id="flood of 1xx"),
    pytest.param(answer("200 OK", "Content-Length: 20", body=b"short"), "", 200, "short", id="truncated body"),
    pytest.param(answer("200 OK", "Content-Length: 2", body=b"hi and more"), "", 200, "hi", id="bytes after the body"),
    pytest.param(answer("204 No Content", body=b"body"), "", 204, "", id="body where none may be"),
    pytest.param(answer("200 OK", "Transfer-Encoding: chunked", body=b"ZZ\r\n"), "", 200, "", id="broken chunk"),
    pytest.param(
        answer("500 No", "Transfer-Encoding: chunked", body=b"ZZ\r\n"), "500", 500, "", id="broken chunk of 500"
    ),
    pytest.param(b"HTTP/1.0 200 OK\r\n\r\nhi", "", 200, "hi", id="HTTP/1.0"),
    pytest.param(answer("200 OK", "Content-Length: 3", body=b"\xffa\x00"), "", 200, "\ufffda", id="no text"),
]


@pytest.mark.parametrize(("raw", "key", "status", "excerpt"), COMPLETE)
async def test_once_the_headers_are_complete_the_status_decides(
    serve: Serve, make_setup: MakeSetup, raw: bytes, key: str, status: int, excerpt: str
) -> None:
    """Whatever the body is, even if it arrives in the packet of the headers."""
    target = await serve(responding(raw, then_close=True))
    outcome = await make_setup(target.url()).deliverer.deliver(post(target.url()))
    assert (outcome.key, outcome.status, outcome.excerpt, outcome.target) == (key, status, excerpt, "rule0")
    assert len(target.requests) == 1


INCOMPLETE = [
    pytest.param(b"", id="nothing"),
    pytest.param(b"HTTP/1.1 200 OK\r\nContent-Le", id="half headers"),
    pytest.param(b"hello there\r\n\r\n", id="garbage"),
    pytest.param(b"HTTP/1.1 abc OK\r\n\r\n", id="garbage status"),
    pytest.param(answer("103 Early"), id="1xx only"),
    pytest.param(answer("200 OK", "X-Big: " + "a" * 100_000), id="huge header"),
    pytest.param(answer("200 OK", *["X-Many: a"] * 500), id="too many headers"),
]


@pytest.mark.parametrize("raw", INCOMPLETE)
async def test_anything_else_before_the_end_is_a_connection_error(
    serve: Serve, make_setup: MakeSetup, raw: bytes
) -> None:
    """No complete headers, no status: class `connection`, and one request only."""
    target = await serve(responding(raw, then_close=True))
    outcome = await make_setup(target.url()).deliverer.deliver(post(target.url("/secret?token=abc")))
    assert (outcome.key, outcome.status) == ("connection", None)
    assert "secret" not in outcome.detail
    assert "abc" not in outcome.detail or raw.startswith(b"HTTP/1.1 abc")
    assert len(outcome.detail) <= 300
    assert len(target.requests) == 1


async def _reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Target) -> None:
    await target.read_request(reader)
    writer.transport.abort()


async def test_a_reset_before_the_headers_is_a_connection_error(serve: Serve, make_setup: MakeSetup) -> None:
    """The target read the request and closed the connection."""
    target = await serve(_reset)
    outcome = await make_setup(target.url()).deliverer.deliver(post(target.url()))
    assert outcome.key == "connection"


def dripping(start: bytes, drop: bytes, every: float = 0.02) -> Handler:
    """Never stops sending its response."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Target) -> None:
        await target.read_request(reader)
        writer.write(start)
        while True:
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(every)

    return handle


@pytest.mark.parametrize(
    "start", [b"", b"HTTP/1.1 200 OK\r\n", answer("102 Wait")], ids=["silence", "half headers", "1xx"]
)
@pytest.mark.parametrize("drop", [b"", b"X: a\r\n"], ids=["hangs", "drips"])
async def test_no_complete_headers_in_time_is_a_timeout(
    serve: Serve, make_setup: MakeSetup, start: bytes, drop: bytes
) -> None:
    """The timeout is for the whole response; single bytes don't extend it."""
    if drop and not start.startswith(b"HTTP/1.1 200"):
        drop = answer("102 Wait")
    target = await serve(dripping(start, drop))
    outcome = await make_setup(target.url()).deliverer.deliver(post(target.url()))
    assert (outcome.key, outcome.status) == ("timeout", None)
    assert TIMEOUT_SECONDS - 0.01 <= outcome.duration_seconds < TIMEOUT_SECONDS + 1
    assert len(target.requests) == 1


@pytest.mark.promise(12)
async def test_a_dripping_body_ends_with_the_timeout_and_changes_nothing(serve: Serve, make_setup: MakeSetup) -> None:
    """The message was delivered; the response body only gives the excerpt."""
    target = await serve(dripping(answer("200 OK", "Content-Length: 100000"), b"a"))
    outcome = await make_setup(target.url()).deliverer.deliver(post(target.url()))
    assert outcome.delivered
    assert outcome.excerpt.startswith("aa")
    assert outcome.duration_seconds < TIMEOUT_SECONDS + 1


@pytest.mark.promise(12)
async def test_an_endless_body_is_cut_off_at_its_limit(serve: Serve, make_setup: MakeSetup) -> None:
    """Only its beginning is read, without waiting for the timeout, and the connection is closed."""
    closed = asyncio.Event()
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Target) -> None:
        nonlocal sent
        await target.read_request(reader)
        writer.write(answer("500 No", "Content-Length: 1000000000"))
        try:
            while True:
                writer.write(b"x" * 65_536)
                sent += 65_536
                await writer.drain()
        finally:
            closed.set()

    target = await serve(flood)
    outcome = await make_setup(target.url(), timeout=30).deliverer.deliver(post(target.url()))
    assert outcome.key == "500"
    assert outcome.excerpt == "x" * 1_000
    async with asyncio.timeout(5):
        await closed.wait()
    assert sent < 20_000_000  # the size of the kernel's buffers


@pytest.mark.promise(12)
async def test_a_gzip_bomb_is_not_decompressed(serve: Serve, make_setup: MakeSetup) -> None:
    """A compressed body is not decompressed, and compression is not requested."""
    bomb = gzip.compress(b"\0" * 50_000_000)
    whole = answer("200 OK", "Content-Encoding: gzip", f"Content-Length: {len(bomb)}", body=bomb)
    target = await serve(responding(whole))
    deliverer = make_setup(target.url(), timeout=10).deliverer
    outcome = await deliverer.deliver(post(target.url()))
    assert outcome.delivered
    assert outcome.excerpt == "[gzip, not decompressed]"
    assert b"Accept-Encoding: identity\r\n" in target.requests[0]
    (client,) = deliverer.http._clients._clients.values()
    addresses.current_dial.set(DialRecord())
    url = parse_url(target.url())
    assert isinstance(url, TargetUrl)
    again = await client.request("GET", url, (), None)
    body = bytearray()
    await again.read_into(body, 10)
    assert body.startswith(bomb[:10])
    again.close()


@pytest.mark.promise(6)
@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent"])
async def test_a_redirect_is_not_followed(serve: Serve, make_setup: MakeSetup, status: str) -> None:
    """Even where the route would allow the new URL; the detail names its host and nothing more."""
    other = await serve(responding(OK))
    target = await serve(responding(answer(status, f"Location: {other.url('/x?secret=1')}", "Content-Length: 0")))
    outcome = await make_setup(target.url(), other.url()).deliverer.deliver(post(target.url()))
    assert outcome.key == status[:3]
    assert outcome.detail.endswith(f"to {other.url('')}, not followed")
    assert other.connections == 0


@pytest.mark.parametrize(
    ("status", "seconds"),
    [("503 Unavailable", 7.0), ("429 Too Many Requests", 7.0), ("500 Error", 0.0), ("200 OK", 0.0)],
)
async def test_a_target_that_is_overloaded_may_ask_for_time(
    serve: Serve, make_setup: MakeSetup, status: str, seconds: float
) -> None:
    """The header is part of the outcome of a 429 and a 503; other statuses do not define it."""
    target = await serve(responding(answer(status, "retry-after: 7", "Content-Length: 0")))
    outcome = await make_setup(target.url()).deliverer.deliver(post(target.url()))
    assert (outcome.status, outcome.retry_after_seconds) == (int(status[:3]), seconds)


async def test_the_request_is_sent_unchanged(serve: Serve, make_setup: MakeSetup) -> None:
    """Path and query are sent unchanged, and only headers that HTTP requires and Chaski's own are added."""
    target = await serve(responding(OK))
    request = post(target.url("/a%7Eb/~c?q=%20+x%2B&r={}"), b"x", X_A="b", traceparent="theirs")
    outcome = await make_setup(target.url()).deliverer.deliver(request, [("traceparent", "ours")])
    assert outcome.delivered
    assert target.requests[0].decode().splitlines() == [
        "POST /a%7Eb/~c?q=%20+x%2B&r=%7B%7D HTTP/1.1",
        f"Host: 127.0.0.1:{target.port}",
        "User-Agent: chaski/test",
        "Accept-Encoding: identity",
        "X-A: b",
        "Chaski-Message-Id: m-1",
        "Chaski-Attempt: 1",
        "traceparent: ours",
        "Content-Length: 1",
        "",
    ]


async def test_the_messages_user_agent_is_kept(serve: Serve, make_setup: MakeSetup) -> None:
    """Chaski's own is only for messages without one."""
    target = await serve(responding(OK))
    await make_setup(target.url()).deliverer.deliver(post(target.url(), user_agent="theirs"))
    assert target.requests[0].lower().count(b"user-agent:") == 1
    assert b"theirs" in target.requests[0]


@pytest.mark.parametrize("method", ["DELETE", "GET", "HEAD", "PATCH", "POST", "PUT", "put"])
async def test_every_allowed_method_is_sent(serve: Serve, make_setup: MakeSetup, method: str) -> None:
    """In upper case, as HTTP requires."""
    target = await serve(responding(answer("200 OK", "Content-Length: 0")))
    outcome = await make_setup(target.url()).deliverer.deliver(HttpRequest(method, target.url(), (), None))
    assert outcome.delivered
    assert target.requests[0].startswith(method.upper().encode() + b" / ")


async def test_cookies_are_not_kept(serve: Serve, make_setup: MakeSetup) -> None:
    """Otherwise one producer's session would be sent with another's message."""
    target = await serve(responding(answer("200 OK", "Set-Cookie: a=b", "Content-Length: 0")))
    deliverer = make_setup(target.url()).deliverer
    await deliverer.deliver(post(target.url()))
    await deliverer.deliver(post(target.url()))
    assert b"cookie" not in target.requests[1].lower()


async def test_a_cancelled_attempt_closes_its_connection(serve: Serve, make_setup: MakeSetup) -> None:
    """Only a cancellation is raised as an exception."""
    seen, gone = asyncio.Event(), asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Target) -> None:
        del writer
        await target.read_request(reader)
        seen.set()
        await reader.read()
        gone.set()

    target = await serve(wait)
    attempt = asyncio.create_task(make_setup(target.url(), timeout=30).deliverer.deliver(post(target.url())))
    async with asyncio.timeout(5):
        await seen.wait()
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        await gone.wait()
