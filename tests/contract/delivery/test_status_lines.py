"""Only HTTP/1.0 and HTTP/1.1 responses count, however they are split; and no header content of a target is shown."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from contract.delivery.targets import DelivererSetup, Handler, Target, post

Serve = Callable[..., Awaitable[Target]]
MakeSetup = Callable[..., DelivererSetup]
EMPTY = b"\r\nContent-Length: 0\r\n\r\n"
SECRET = "s3cr3t"


def _responding(*packets: bytes) -> Handler:
    """Responds to every request with these bytes, each in a packet of its own; then keeps the connection open."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Target) -> None:
        while True:
            await target.read_request(reader)
            for packet in packets:
                writer.write(packet)
                await writer.drain()
                await asyncio.sleep(0.002)

    return handle


def _drops(text: bytes) -> list[bytes]:
    return [text[at : at + 1] for at in range(len(text))]


EARLY = b"HTTP/1.1 103 Early\r\nLink: a\r\n\r\n"
OF_HTTP = [
    pytest.param([b"HTTP/1.1 200 OK" + EMPTY], id="1.1"),
    pytest.param([b"HTTP/1.0 200 OK" + EMPTY], id="1.0"),
    pytest.param(_drops(b"HTTP/1.1 200 OK" + EMPTY), id="byte by byte"),
    pytest.param(_drops(EARLY + b"HTTP/1.1 200 OK" + EMPTY), id="interim, byte by byte"),
    pytest.param([EARLY * 3 + b"HTTP/1.0 200 OK" + EMPTY], id="interim in one packet"),
    pytest.param([EARLY[:-1], EARLY[-1:] + b"HTTP/1.1 200 OK" + EMPTY], id="the end of an interim apart"),
    pytest.param([EARLY + b"HTTP/1.", b"1 200 OK" + EMPTY], id="a cut within the version"),
    pytest.param([b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"], id="no reason"),
]


@pytest.mark.parametrize("packets", OF_HTTP)
async def test_a_response_of_http_1_counts(serve: Serve, make_setup: MakeSetup, packets: list[bytes]) -> None:
    """Repeatedly, over one connection where that is kept."""
    target = await serve(_responding(*packets))
    deliverer = make_setup(target.url(), timeout=5).deliverer
    for _ in range(3):
        outcome = await deliverer.deliver(post(target.url()))
        assert (outcome.key, outcome.status) == ("", 200)


FOREIGN = [b"RTSP/1.0", b"ICE/1.0", b"HTTP/2.0", b"HTTP/1.2", b"HTTP/9.9", b"HTTP/0.9", b"http/1.1", b"ICY", b"SIP/2.0"]


@pytest.mark.promise(2)
@pytest.mark.parametrize("protocol", FOREIGN, ids=bytes.decode)
@pytest.mark.parametrize(
    "before", [b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\n\n", b"\r\n"], ids=repr
)
@pytest.mark.parametrize("cut", [False, True], ids=["whole", "byte by byte"])
async def test_a_response_of_another_protocol_is_a_failure(
    serve: Serve, make_setup: MakeSetup, protocol: bytes, before: bytes, cut: bool
) -> None:
    """Otherwise a message sent to a wrong port would be deleted. Also after an interim response."""
    answer = before + protocol + b" 200 OK" + EMPTY
    target = await serve(_responding(*(_drops(answer) if cut else [answer])))
    outcome = await make_setup(target.url(), timeout=5).deliverer.deliver(post(target.url()))
    assert (outcome.key, outcome.status) == ("connection", None)
    assert protocol.decode() not in outcome.detail


async def test_the_connection_of_a_response_without_http_is_closed(serve: Serve, make_setup: MakeSetup) -> None:
    """And the detail names the reason."""
    target = await serve(_responding(b"RTSP/1.0 200 OK" + EMPTY))
    deliverer = make_setup(target.url()).deliverer
    details = {(await deliverer.deliver(post(target.url()))).detail for _ in range(3)}
    assert details == {"the response is not HTTP: its status line is neither HTTP/1.0 nor HTTP/1.1"}
    assert target.connections == 3


LEAKING = [
    f"Set-Cookie: session={SECRET}\0value",
    f"Set-Cookie: {SECRET}\x01",
    f"Content-Length: {SECRET}",
    f"Content-Length: 5\r\nContent-Length: {SECRET}",
    f"Transfer-Encoding: {SECRET}\r\nContent-Length: 3",
    f"Transfer-Encoding: chunked\r\nContent-Length: 7\r\nX: {SECRET}",
    f"X-Token {SECRET}",
    f"X-Token\0: {SECRET}",
    f": {SECRET}",
    f"X: {SECRET}{'x' * 9_000}",
    f"{SECRET}{'x' * 9_000}: a",
    f"Content-Encoding: {SECRET}\r\nContent-Length: 2",
    f"Location: https://user:{SECRET}@other.test/{SECRET}?{SECRET}",
    f"Connection: {SECRET}, \0",
    "\r\n".join(f"X-{n}: {SECRET}" for n in range(200)),
]


@pytest.mark.parametrize("status", [b"HTTP/1.1 200 OK", b"HTTP/1.1 302 Found"], ids=["200", "302"])
@pytest.mark.parametrize("header", LEAKING, ids=lambda header: ascii(header)[:40])
async def test_no_header_of_a_target_is_shown(
    serve: Serve, make_setup: MakeSetup, header: str, status: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither in the outcome nor in any log, asyncio's included."""
    target = await serve(_responding(status + b"\r\n" + header.encode() + b"\r\n\r\nhi"))
    with caplog.at_level(logging.DEBUG):
        outcome = await make_setup(target.url()).deliverer.deliver(post(target.url()))
        await asyncio.sleep(0.01)
    assert SECRET not in outcome.detail + outcome.excerpt
    assert not [record for record in caplog.records if SECRET in f"{record.getMessage()} {record.exc_info}"]


async def test_the_detail_still_names_what_is_wrong_with_a_response(serve: Serve, make_setup: MakeSetup) -> None:
    """The parser's reason, without the received bytes."""
    target = await serve(_responding(b"HTTP/1.1 200 OK\r\nSet-Cookie: a\0b\r\n\r\n"))
    outcome = await make_setup(target.url()).deliverer.deliver(post(target.url()))
    assert outcome.detail in (
        "the response is not HTTP: Invalid header value char",
        "the response is not HTTP: a header is not valid",
    )
