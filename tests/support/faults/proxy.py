"""A proxy between an adapter and an emulator that injects faults of networks and services into HTTP exchanges.

A fault is a coroutine function over one exchange: it may forward the request or not, respond or not. An exchange that is not
answered completely ends with its connection closed.
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any

import aiohttp

Fault = Callable[["Exchange"], Awaitable[None]]
ANY = "*"
SIGNATURE_SECONDS = 900  # IAM User Guide, "Troubleshoot signed requests for AWS APIs"
_SIGNED = ("authorization", "x-amz-date")  # DynamoDB Local requires a signature, and does not verify it
_CONTENT_TYPE = "application/x-amz-json-1.0"


@dataclass
class Exchange:
    """One request, and the ways to answer it."""

    action: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    _session: aiohttp.ClientSession
    _upstream: str
    _writer: asyncio.StreamWriter
    answered: bool = field(default=False)

    async def ask(self, fields: Mapping[str, Any] | None = None) -> tuple[int, dict[str, str], bytes]:
        """The emulator's response to the request, or to one with other fields."""
        body = self.body if fields is None else json.dumps(fields).encode()
        headers = {"Content-Type": _CONTENT_TYPE, "X-Amz-Target": self.headers["x-amz-target"]}
        headers |= {name: self.headers[name] for name in _SIGNED if name in self.headers}
        async with self._session.post(self._upstream, data=body, headers=headers) as response:
            kept = {
                name: value for name, value in response.headers.items() if name.lower().startswith(("x-amz", "date"))
            }
            return response.status, kept, await response.read()

    async def answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Sends a complete response."""
        self._writer.write(as_http(status, headers, body))
        await self._writer.drain()
        self.answered = True

    async def answer_in_part(self, data: bytes) -> None:
        """Sends some bytes; the connection is cut after them."""
        self._writer.write(data)
        await self._writer.drain()


def as_http(status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    """The bytes of an HTTP/1.1 response."""
    kept = {"Content-Type": _CONTENT_TYPE, "Content-Length": str(len(body)), **headers}
    lines = [f"HTTP/1.1 {status} Any", *(f"{name}: {value}" for name, value in kept.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


async def pass_on(exchange: Exchange) -> None:
    """No fault."""
    await exchange.answer(*await exchange.ask())


async def cut(_: Exchange) -> None:
    """The connection is closed before the emulator receives the request."""


async def cut_after_effect(exchange: Exchange) -> None:
    """The emulator executes the request, and the connection is closed without a response."""
    await exchange.ask()


async def cut_in_answer(exchange: Exchange) -> None:
    """The connection is closed in the middle of the response body, or of its headers where it has no body."""
    data = as_http(*await exchange.ask())
    _, _, body = data.partition(b"\r\n\r\n")
    await exchange.answer_in_part(data[: len(data) - max(len(body) // 2, 10)])


async def swallow(_: Exchange) -> None:
    """The request is never answered."""
    await asyncio.Event().wait()


async def swallow_answer(exchange: Exchange) -> None:
    """The emulator executes the request, and its response never arrives."""
    await exchange.ask()
    await asyncio.Event().wait()


async def nonsense(exchange: Exchange) -> None:
    """A 200 that is not from the service."""
    await exchange.answer(200, {"Content-Type": "text/html"}, b"<html>Log in to the guest network</html>")


def delay(seconds: float) -> Fault:
    """The response is late."""

    async def late(exchange: Exchange) -> None:
        answer = await exchange.ask()
        await asyncio.sleep(seconds)
        await exchange.answer(*answer)

    return late


def refuse(status: int, code: str = "", *, query_code: str = "", date: float | None = None) -> Fault:
    """An error response. `code` is the `__type`, with or without its prefix; `query_code` the former protocol's header."""

    async def refused(exchange: Exchange) -> None:
        headers = {"x-amzn-query-error": f"{query_code};Sender"} if query_code else {}
        if date is not None:
            headers["Date"] = formatdate(date, usegmt=True)
        body = json.dumps({"__type": code, "message": "injected by the test"}).encode() if code else b""
        await exchange.answer(status, headers, body)

    return refused


def keeping_time(now: Callable[[], float] = time.time) -> Fault:
    """As AWS: a signature more than 15 minutes off is refused, and every response has a `Date`."""

    async def judged(exchange: Exchange) -> None:
        dated = {"Date": formatdate(now(), usegmt=True)}
        signed = datetime.strptime(exchange.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        if abs(signed - now()) <= SIGNATURE_SECONDS:
            status, headers, body = await exchange.ask()
            await exchange.answer(status, headers | dated, body)
            return
        reason = "expired" if signed < now() else "not yet current"
        error = {"__type": "com.amazon.coral.service#InvalidSignatureException", "message": f"Signature {reason}"}
        await exchange.answer(403, dated, json.dumps(error).encode())

    return judged


def fail_entries(*ids: str, code: str = "InternalError", sender_fault: bool = False) -> Fault:
    """A 200 in which some entries of the batch failed; the others are executed."""

    async def failed(exchange: Exchange) -> None:
        fields = json.loads(exchange.body)
        kept = [entry for entry in fields["Entries"] if entry["Id"] not in ids]
        answer: dict[str, Any] = {"Successful": []}
        if kept:
            answer = json.loads((await exchange.ask({**fields, "Entries": kept}))[2])
        failures = [{"Id": name, "Code": code, "Message": "as wanted", "SenderFault": sender_fault} for name in ids]
        answer["Failed"] = [*answer.get("Failed", []), *failures]
        await exchange.answer(200, {}, json.dumps(answer).encode())

    return failed


def forget_entries(*ids: str) -> Fault:
    """A 200 that omits some entries, though they were executed."""

    async def forgot(exchange: Exchange) -> None:
        answer = json.loads((await exchange.ask())[2])
        answer["Successful"] = [each for each in answer.get("Successful", []) if each["Id"] not in ids]
        answer.pop("Failed", None)
        await exchange.answer(200, {}, json.dumps(answer).encode())

    return forgot


class FaultProxy:
    """A running proxy. Faults are planned for the next requests of an action, or set for all of them."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._planned: dict[str, deque[Fault]] = {}
        self._lasting: dict[str, Fault] = {}
        self._connections: set[asyncio.Task[None]] = set()
        self.seen: list[str] = []  # actions of all requests, in order of arrival
        self.connections = 0  # accepted in all

    async def start(self) -> None:
        """Listens on a free port of 127.0.0.1."""
        self._session = aiohttp.ClientSession()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**24)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Cuts every connection."""
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()
        await self._session.close()

    def plan(self, action: str, *faults: Fault) -> None:
        """Sets the faults of an action's next requests; after those, `set_lasting` or none."""
        self._planned.setdefault(action, deque()).extend(faults)

    def set_lasting(self, fault: Fault, action: str = ANY) -> None:
        """Sets the fault of every request, until `heal`."""
        self._lasting[action] = fault

    def heal(self) -> None:
        """Removes all faults."""
        self._planned.clear()
        self._lasting.clear()

    def _fault_for(self, action: str) -> Fault:
        for name in (action, ANY):
            if planned := self._planned.get(name):
                return planned.popleft()
        return self._lasting.get(action) or self._lasting.get(ANY) or pass_on

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self.connections += 1
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the adapter closed the connection, or the test is over
        finally:
            self._connections.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head.split("\r\n")[1:] if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        if "x-amz-target" not in headers:  # measures the clock: any response does, and no fault is planned for it
            writer.write(as_http(404, {"Date": formatdate(time.time(), usegmt=True)}, b""))
            return True
        action = headers["x-amz-target"].rpartition(".")[2]
        self.seen.append(action)
        exchange = Exchange(action, headers, body, self._session, self._upstream, writer)
        await self._fault_for(action)(exchange)
        return exchange.answered
