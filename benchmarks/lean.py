"""A client that costs almost nothing, so that the measurement is of the server.

It knows only the HTTP that aiohttp's server needs: kept connections, one request at a time, responses with a
Content-Length.
"""

import asyncio
import re
from typing import cast
from urllib.parse import urlsplit

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_END_OF_HEADERS = b"\r\n\r\n"


class Connection(asyncio.Protocol):
    """One kept connection."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._waiter: asyncio.Future[tuple[int, bytes]] | None = None

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Sends a request; its answer's status and body. Raises ConnectionError if the connection is closed."""
        if self._transport is None:
            raise ConnectionError("not connected")
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiter

    def close(self) -> None:
        """Closes it."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transport is not a subclass

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        self._received += data
        answer = read_answer(bytes(self._received))
        if answer is not None and self._waiter is not None:
            self._received.clear()
            self._waiter.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._transport = None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(exc or ConnectionResetError("closed by the server"))


async def connect(url: str) -> Connection:
    """A connection to the URL's host."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    _, protocol = await asyncio.get_running_loop().create_connection(Connection, host, port)
    return protocol


def post(url: str, headers: dict[str, str], body: bytes) -> bytes:
    """The bytes of a POST request."""
    parts = urlsplit(url)
    lines = [f"POST {parts.path or '/'} HTTP/1.1", f"Host: {parts.netloc}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + _END_OF_HEADERS + body


def read_answer(data: bytes) -> tuple[int, bytes] | None:
    """Status and body of a complete answer; None while some of it is missing. Raises ValueError for anything else."""
    head = data.find(_END_OF_HEADERS)
    if head < 0:
        return None
    length = _LENGTH.search(data, 0, head + 2)
    if length is None:
        raise ValueError("an answer without Content-Length")
    end = head + len(_END_OF_HEADERS) + int(length.group(1))
    return (int(data[9:12]), data[head + len(_END_OF_HEADERS) : end]) if len(data) >= end else None
