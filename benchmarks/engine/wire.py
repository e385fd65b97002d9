"""A minimal HTTP/1.1 server: one request at a time on kept connections, bodies with a Content-Length."""

import asyncio
import re
from collections.abc import Callable
from typing import cast

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_END_OF_HEADERS = b"\r\n\r\n"
_OK, _ACCEPTED, _REFUSED = (
    f"HTTP/1.1 {status}\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: ".encode()
    for status in ("200 OK", "202 Accepted", "400 Bad Request")
)


class Request:
    """One request, to be answered once."""

    __slots__ = ("body", "connection", "head")

    def __init__(self, connection: "Connection", head: bytes, body: bytes) -> None:
        self.connection = connection
        self.head = head  # request line and headers, each line but the first begun by CRLF; ends with CRLF
        self.body = body

    @property
    def alive(self) -> bool:
        """Whether the client still waits for the response."""
        return self.connection.transport is not None

    def answer(self, body: bytes = b"") -> None:
        """200."""
        self.connection.write(b"%b%d\r\n\r\n%b" % (_OK, len(body), body))

    def accept(self) -> None:
        """202, without a body."""
        self.connection.write(b"%b0\r\n\r\n" % _ACCEPTED)

    def refuse(self, body: bytes) -> None:
        """400."""
        self.connection.write(b"%b%d\r\n\r\n%b" % (_REFUSED, len(body), body))


class Connection(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self, handle: Callable[[Request], None]) -> None:
        self.transport: asyncio.Transport | None = None
        self._handle = handle
        self._received = b""

    def write(self, data: bytes) -> None:
        """Sends, unless the connection is closed."""
        if self.transport is not None:
            self.transport.write(data)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's transport is not a subclass

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's protocol
        """Called by the loop."""
        self.transport = None

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        received = self._received + data if self._received else data
        while (end := received.find(_END_OF_HEADERS)) >= 0:
            length = _LENGTH.search(received, 0, end + 2)
            body = end + len(_END_OF_HEADERS)
            after = body + (int(length.group(1)) if length else 0)
            if len(received) < after:
                break
            request = Request(self, received[: end + 2], received[body:after])
            received = received[after:]
            self._handle(request)
        self._received = received


async def listen(handle: Callable[[Request], None]) -> int:
    """Serves on a free port of this machine; returns the port."""
    server = await asyncio.get_running_loop().create_server(lambda: Connection(handle), "127.0.0.1", 0, backlog=1024)
    return int(server.sockets[0].getsockname()[1])
