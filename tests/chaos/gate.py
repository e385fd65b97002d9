"""A proxy before the API server or AWS that records every request and injects faults.

To the operator it is the API server: it serves TLS with the API server's certificate. A request is recorded when it arrives,
again when the service has answered, and again when the answer has been passed on, so that what an operator knew can be
distinguished from what was the case.
"""

import asyncio
import contextlib
import json
import random
import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from campaign.machine import now
from chaos.evidence import Call

_HOP = frozenset({"transfer-encoding", "connection", "content-length", "keep-alive", "host"})
_PATH = re.compile(r"/apis?/(?:v1|[^/]+/[^/]+)/(?:namespaces/([^/]+)/)?([a-z]+)(?:/([^/]+))?(?:/([a-z]+))?")
_CREDENTIAL = re.compile(r"Credential=([^/]+)/")
_NAMES = ("QueueName", "TableName", "QueueUrl", "ResourceArn")
_EVENT_GONE = {
    "type": "ERROR",
    "object": {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 410},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """What is done to one request; without any of these it is passed on as it is."""

    name: str
    refuse: tuple[int, Mapping[str, Any], Mapping[str, str]] | None = None  # status, body, headers; not passed on
    gone: bool = False  # a watch gets an ERROR event with 410
    hold: float = 0.0  # seconds between the service's answer and the operator's
    lose: bool = False  # the service executes it, and the connection is cut
    cut: bool = False  # the connection is cut in the middle of the answer's body


Mode = Callable[[Call, random.Random], Treatment | None]


def refusal(name: str, status: int, reason: str, headers: Mapping[str, str] | None = None) -> Treatment:
    """An answer of the API server itself."""
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": status}
    return Treatment(name=name, refuse=(status, body | {"reason": reason, "message": reason}, headers or {}))


def aws_refusal(name: str, status: int, code: str) -> Treatment:
    """An error of AWS, in the JSON protocol."""
    return Treatment(name=name, refuse=(status, {"__type": f"com.amazonaws#{code}", "message": code}, {}))


@dataclass
class Gate:
    """One proxy; `modes` are the faults that are injected now."""

    by: str  # identity of its only client; empty: of AWS, whose clients differ by their access keys
    upstream: str
    client: ssl.SSLContext | None  # of connections to the service
    chance: random.Random
    calls: list[Call]
    modes: dict[str, Mode] = field(default_factory=dict)
    flowing: asyncio.Event = field(default_factory=asyncio.Event)  # while cleared, nothing passes either way
    url: str = ""
    cut_share: float = 0.0  # of the pieces of watches after which the connection is cut within a line
    _watches: list[web.Request] = field(default_factory=list)
    _open: list[web.Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.flowing.set()

    def cut_watches(self) -> None:
        """Cuts all watches."""
        for request in list(self._watches):
            _abort(request)

    def cut_all(self) -> None:
        """Cuts all connections with requests."""
        for request in list(self._open):
            _abort(request)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Handles one request."""
        call = self._recorded(request)
        self._open.append(request)
        try:
            body = await request.read()
            self._read_body(call, body)
            treatment = next((found for mode in self.modes.values() if (found := mode(call, self.chance))), None)
            call.treatment = treatment.name if treatment else "" if self.flowing.is_set() else "freeze"
            return await self._answer(request, call, body, treatment or Treatment(name=""))
        except (aiohttp.ClientError, OSError):  # the service or the client is gone
            _abort(request)
            return web.Response(status=502)
        finally:
            self._open = [each for each in self._open if each is not request]

    async def _answer(self, request: web.Request, call: Call, body: bytes, given: Treatment) -> web.StreamResponse:
        await self.flowing.wait()
        if _is_gone(request):
            return web.Response(status=502)  # the client has given up: what it asked for does not arrive
        if given.refuse is not None:
            status, answer, headers = given.refuse
            call.answered = now()
            return web.json_response(answer, status=status, headers=headers)
        if given.gone:
            return web.Response(body=json.dumps(_EVENT_GONE).encode() + b"\n", content_type="application/json")
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        if not self.by:
            headers["Host"] = request.headers["Host"]  # it is signed
        async with self._session.request(
            request.method, self.upstream + request.path_qs, data=body or None, headers=headers,
            skip_auto_headers=["User-Agent"],
        ) as found:  # fmt: skip
            kept = {name: value for name, value in found.headers.items() if name.lower() not in _HOP}
            call.status = found.status
            if "watch=" in call.query and found.status == 200:
                return await self._watch(request, found, kept)
            answer = await found.read()
            call.done = now()
            _read_answer(call, answer)
            return await self._deliver(request, call, web.StreamResponse(status=found.status, headers=kept), answer, given)  # fmt: skip

    async def _deliver(
        self, request: web.Request, call: Call, response: web.StreamResponse, answer: bytes, given: Treatment
    ) -> web.StreamResponse:
        if given.hold:
            await asyncio.sleep(given.hold)
        await self.flowing.wait()
        if given.lose:
            _abort(request)
            return response
        response.content_length = len(answer)
        await response.prepare(request)
        if given.cut:
            await response.write(answer[: len(answer) // 2])
            _abort(request)
            return response
        call.answered = now()
        await response.write(answer)
        await response.write_eof()
        return response

    async def _watch(
        self, request: web.Request, found: aiohttp.ClientResponse, headers: Mapping[str, str]
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=found.status, headers=headers)
        await response.prepare(request)
        self._watches.append(request)
        try:
            async for piece in found.content.iter_any():
                await self.flowing.wait()
                if _is_gone(request):
                    break
                if self.chance.random() < self.cut_share:
                    await response.write(piece[: len(piece) // 2])
                    _abort(request)
                    break
                await response.write(piece)
        finally:
            self._watches = [each for each in self._watches if each is not request]
        return response

    def _recorded(self, request: web.Request) -> Call:
        if self.by:
            place = _PATH.fullmatch(request.path)
            namespace, plural, name, part = place.groups(default="") if place else ("", request.path, "", "")
            call = Call(by=self.by, at=now(), method=request.method, query=request.query_string)
            call.namespace, call.plural, call.name, call.part = namespace, plural, name, part
        else:
            key = _CREDENTIAL.search(request.headers.get("Authorization", ""))
            call = Call(by=key.group(1) if key else "", at=now())
            call.operation = request.headers.get("X-Amz-Target", "").partition(".")[2]
        self.calls.append(call)
        return call

    def _read_body(self, call: Call, body: bytes) -> None:
        if call.operation:
            sent = json.loads(body or b"{}")
            call.sent = sent if call.writes else {}
            named = next((str(sent[each]) for each in _NAMES if each in sent), "")
            call.name = named.rpartition("/")[2]
        elif call.method in ("POST", "PATCH") and body.startswith(b"{"):
            call.owner = _controller(json.loads(body))

    @asynccontextmanager
    async def running(self, server: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[None]:
        """Serves at `url`."""
        connector = aiohttp.TCPConnector(ssl=self.client or True, limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as self._session:
            app = web.Application(client_max_size=2**26)
            app.router.add_route("*", "/{path:.*}", self.serve)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", port, ssl_context=server).start()
            self.url = f"{'https' if server else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
            try:
                yield
            finally:
                self.flowing.set()
                self.cut_all()
                await runner.cleanup()


def _read_answer(call: Call, body: bytes) -> None:
    """The parts of an answer that the judge needs."""
    is_object = call.plural and (call.writes or call.name) and "watch=" not in call.query
    if not is_object or not call.succeeded:
        return
    with contextlib.suppress(ValueError):
        found = json.loads(body)
        metadata = found.get("metadata") or {}
        version = str(metadata.get("resourceVersion", ""))
        call.version = int(version) if version.isdigit() else 0
        call.uid = metadata.get("uid", "")
        if call.is_lease:
            call.holder = (found.get("spec") or {}).get("holderIdentity") or ""


def _controller(document: Mapping[str, Any]) -> str:
    owners = (document.get("metadata") or {}).get("ownerReferences") or ()
    return next((str(each["uid"]) for each in owners if each.get("controller")), "")


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _is_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()
