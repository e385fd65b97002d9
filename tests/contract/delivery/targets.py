"""Small scripted servers on 127.0.0.x, and the parts to call them."""

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp.abc import AbstractResolver, ResolveResult

from chaski_core.message.envelope import HttpRequest
from chaski_core.retry.outcome import Outcome
from chaski_worker.delivery.attempt import AttemptContext
from chaski_worker.delivery.http_deliverer import HttpDeliverer
from chaski_worker.guard.guard import Guard, RefusalReason

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter, "Target"], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
TIMEOUT_SECONDS = 0.4


@dataclass
class Target:
    """A server and its requests."""

    address: str = ""
    port: int = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)  # heads, as received

    def url(self, path: str = "/", scheme: str = "http") -> str:
        """URL of a path on this server."""
        return f"{scheme}://{self.address}:{self.port}{path}"

    async def read_request(self, reader: asyncio.StreamReader) -> None:
        """Reads one whole request and records it."""
        head = await reader.readuntil(b"\r\n\r\n")
        self.requests.append(head)
        if length := re.search(rb"(?i)content-length: (\d+)", head):
            await reader.readexactly(int(length[1]))


def responding(*answers: bytes, then_close: bool = False) -> Handler:
    """Sends these responses, one for each request, the last one repeatedly."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Target) -> None:
        while True:
            await target.read_request(reader)
            writer.write(answers[min(len(target.requests), len(answers)) - 1])
            await writer.drain()
            if then_close:
                return

    return handle


@dataclass
class FakeResolver(AbstractResolver):
    """Resolves from a table; each lookup of a name returns its next list of addresses. Names not listed do not exist."""

    names: Mapping[str, Sequence[Sequence[str]]]
    asked: list[str] = field(default_factory=list)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a name."""
        del family
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        answers = self.names[host]
        addresses = answers[min(self.asked.count(host), len(answers) - 1)]
        self.asked.append(host)
        return [_result(host, address, port) for address in addresses]

    async def close(self) -> None:
        """Nothing to close."""


def _result(host: str, address: str, port: int) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST)


@dataclass(frozen=True)
class JudgingDeliverer:
    """Makes the first attempt of a message without metadata: judges the URL, and delivers."""

    guard: Guard
    http: HttpDeliverer

    async def deliver(
        self, request: HttpRequest, headers: Sequence[tuple[str, str]] = (), *, number: int = 1
    ) -> Outcome:
        """Sends a request once, with these headers of middlewares."""
        target = self.guard.check(request.url)
        return await self.http.deliver(
            AttemptContext("ns/r", "m-1", None, None, number, None, request, target, headers)
        )


@dataclass
class DelivererSetup:
    """A deliverer that may dial loopback, and its refusals."""

    deliverer: JudgingDeliverer
    refusals: list[RefusalReason]


def post(url: str, body: bytes | None = b"{}", **headers: str) -> HttpRequest:
    """A POST request."""
    return HttpRequest("POST", url, tuple((name.replace("_", "-"), value) for name, value in headers.items()), body)


@dataclass(frozen=True)
class Certificates:
    """Self-signed certificates, each its own authority."""

    folder: Path

    def pem(self, name: str) -> str:
        """The certificate of that name."""
        return (self.folder / f"{name}.crt").read_text()

    def server(self, name: str) -> ssl.SSLContext:
        """A server's TLS settings with the certificate of that name."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        return context
