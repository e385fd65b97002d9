"""Targets that respond with too much, or too slowly: memory and time stay bounded, and the class is correct."""

import asyncio
import gzip
import itertools
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator

import pytest

from contract.delivery.targets import TIMEOUT_SECONDS, DelivererSetup, Handler, Target, post

Serve = Callable[..., Awaitable[Target]]
MakeSetup = Callable[..., DelivererSetup]

MAX_BYTES = 16 * 1024 * 1024  # of target and worker together, in one process
LONG = 90  # a timeout in seconds that ends no attempt
LATE_SECONDS = 60.0  # for a loaded machine

_BOMB = gzip.compress(b"\0" * 100_000_000)


def _responding(make: Callable[[], Iterator[bytes]], pause: float = 0.0) -> Handler:
    """Writes the given bytes, as fast as they are read or byte by byte; the connection stays open."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Target) -> None:
        await target.read_request(reader)
        for part in make():
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)
        await reader.read()

    return handle


def _forever(start: bytes, part: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: itertools.chain([start], itertools.repeat(part))


_OK = b"HTTP/1.1 200 OK\r\n"
_CHUNK = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
_COMPRESSED = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(_BOMB)
HOSTILE = [
    pytest.param(_responding(lambda: iter([_OK + _COMPRESSED + _BOMB])), "", LONG, id="gzip bomb"),
    pytest.param(
        _responding(_forever(_OK + b"Transfer-Encoding: chunked\r\n\r\n", _CHUNK)), "", LONG, id="endless chunks"
    ),
    pytest.param(_responding(_forever(_OK + b"\r\n", b"x" * 65_536)), "", LONG, id="endless body without a length"),
    pytest.param(
        _responding(_forever(_OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"), 0.01),
        "",
        0,
        id="dripping chunks",
    ),
    pytest.param(
        _responding(_forever(_OK + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x" * 65_536)),
        "",
        LONG,
        id="endless extension",
    ),
    pytest.param(
        _responding(_forever(_OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-A: b\r\n" * 1_000)),
        "",
        LONG,
        id="endless trailers",
    ),
    pytest.param(
        _responding(_forever(b"", b"HTTP/1.1 103 Early\r\n\r\n" * 500)), "connection", LONG, id="flood of 1xx"
    ),
    pytest.param(
        _responding(_forever(b"", b"HTTP/1.1 103 Early\r\nX: " + b"x" * 4_000 + b"\r\n\r\n")),
        "connection",
        LONG,
        id="large 1xx",
    ),
    pytest.param(_responding(_forever(_OK + b"X-Big: ", b"x" * 102_400)), "connection", LONG, id="header of 100 KiB"),
    pytest.param(_responding(_forever(_OK, b"X-Many: a\r\n")), "connection", LONG, id="endless headers"),
    pytest.param(_responding(_forever(b"", b"x" * 65_536)), "connection", LONG, id="endless status line"),
    pytest.param(_responding(_forever(b"", b"HTTP/1.1 103 Early\r\n\r\n"), 0.01), "timeout", 0, id="dripping 1xx"),
    pytest.param(_responding(_forever(_OK, b"X"), 0.01), "timeout", 0, id="dripping header"),
]


@pytest.mark.promise(12)
@pytest.mark.parametrize(("handler", "key", "seconds"), HOSTILE)
async def test_a_hostile_response_costs_little_and_has_its_class(
    serve: Serve, make_setup: MakeSetup, handler: Handler, key: str, seconds: int
) -> None:
    """Where the timeout is long the attempt ends well before it; where it is short, not long after it."""
    target = await serve(handler)
    deliverer = make_setup(target.url(), timeout=seconds or TIMEOUT_SECONDS).deliverer
    tracemalloc.start()
    try:
        outcome = await deliverer.deliver(post(target.url()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert outcome.key == key
    assert outcome.duration_seconds < LATE_SECONDS
    assert peak < MAX_BYTES
    assert len(outcome.excerpt) <= 1_000
    assert len(target.requests) == 1
