"""A recording proxy in front of a service: forwards everything, streams too, records requests, and injects faults.

It runs in a thread of its own, so that tests without a loop can use it.
"""

import asyncio
import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

from chaski_runtime.kube.config import KubeAccess

_READS = ("Get", "List", "Describe")
_HOP = frozenset({"transfer-encoding", "connection", "content-length", "keep-alive"})


@dataclass(frozen=True)
class ProxiedRequest:
    """One request."""

    method: str
    path: str  # with the query
    target: str  # X-Amz-Target: AmazonSQS.CreateQueue
    body: bytes
    at: float = field(default_factory=time.monotonic, compare=False)  # when it arrived

    @property
    def writes(self) -> bool:
        """Whether it changes something."""
        if self.target:
            return not self.target.partition(".")[2].startswith(_READS)
        return self.method != "GET"

    @property
    def summary(self) -> str:
        """A summary: `PATCH /apis/...`, `CreateQueue`."""
        return self.target.partition(".")[2] or f"{self.method} {self.path.partition('?')[0]}"


@dataclass
class RecordingProxy:
    """A proxy that listens at `url`."""

    upstream: str
    access: KubeAccess | None = None  # the credentials for an API server
    asked: list[ProxiedRequest] = field(default_factory=list)
    after: Callable[[ProxiedRequest], None] = lambda _: (
        None
    )  # called when a request was executed, before its response is returned
    refuse: Callable[[ProxiedRequest], web.Response | None] = lambda _: None  # a response instead of forwarding
    delay: Callable[[ProxiedRequest], float] = lambda _: 0.0
    url: str = ""

    def writes(self) -> list[ProxiedRequest]:
        """The requests so far that change something; those for a Lease left out."""
        return [each for each in list(self.asked) if each.writes and "/leases" not in each.path]

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        asked = ProxiedRequest(
            request.method, request.path_qs, request.headers.get("X-Amz-Target", ""), await request.read()
        )
        self.asked.append(asked)
        await asyncio.sleep(self.delay(asked))
        refused = self.refuse(asked)
        if refused is not None:
            return refused
        headers = {name: value for name, value in request.headers.items() if name.lower() not in (*_HOP, "host")}
        if self.access is None:
            headers["Host"] = request.headers["Host"]  # it is signed
        async with self._session.request(
            request.method,
            self.upstream + request.path_qs,
            data=io.BytesIO(asked.body) if asked.body else None,  # of bytes, aiohttp warns above 1 MiB
            headers=headers,
            skip_auto_headers=["User-Agent"],
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
            if "watch=true" not in request.path_qs:
                body = await answer.read()
                await asyncio.to_thread(self.after, asked)
                return web.Response(status=answer.status, headers=kept, body=body)
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            return response

    async def _serve(self, ready: threading.Event, stop: asyncio.Event) -> None:
        ssl = self.access.ssl_context() if self.access else None
        timeout = aiohttp.ClientTimeout(total=None)
        connector = aiohttp.TCPConnector(ssl=ssl or True, limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as self._session:
            app = web.Application(client_max_size=2**26)
            app.router.add_route("*", "/{path:.*}", self._guarded)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            ready.set()
            await stop.wait()
            await runner.cleanup()

    async def _guarded(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._pass(request)
        except (aiohttp.ClientError, OSError):  # the service or the client is gone
            return web.Response(status=502)


@contextmanager
def recording_proxy(upstream: str, access: KubeAccess | None = None) -> Iterator[RecordingProxy]:
    """A running proxy."""
    made, ready = RecordingProxy(upstream, access), threading.Event()
    stops: list[Callable[[], None]] = []

    async def serve() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        stops.append(lambda: loop.call_soon_threadsafe(stop.set))  # type: ignore[func-returns-value]
        await made._serve(ready, stop)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield made
    finally:
        stops[0]()
        thread.join(10)
