"""A target on this machine that responds as its user wants: `chaski listen`, and the built-in target of `chaski dev`."""

import asyncio
import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from chaski_runtime.process import http_server
from chaski_runtime.process.http_server import HttpServer

_MAX_BODY_BYTES = 4 * 1024 * 1024  # several times what a message can hold
_MAX_SHOWN_CHARACTERS = 400


@dataclass(frozen=True, slots=True)
class Request:
    """One request, with the response that it got."""

    at: dt.datetime
    method: str
    path: str  # with its query
    headers: Mapping[str, str]
    body: bytes
    status: int

    def as_json(self) -> dict[str, Any]:
        """`{at, method, path, headers: {name: value}, body, status}`; bytes that are not UTF-8 are replaced in `body`."""
        return {
            "at": self.at.isoformat(timespec="milliseconds"),
            "method": self.method,
            "path": self.path,
            "headers": dict(self.headers),
            "body": self.body.decode(errors="replace"),
            "status": self.status,
        }

    def as_line(self) -> str:
        """`16:20:01.123  POST /hook  subject order-1  attempt 2  -> 200  {"hello":"world"}`; may hold control characters."""
        found = {name.lower(): value for name, value in self.headers.items()}
        parts = [self.at.strftime("%H:%M:%S.%f")[:-3], f"{self.method} {self.path}"]
        for label, header in (("subject", "chaski-subject"), ("attempt", "chaski-attempt")):
            if header in found:
                parts.append(f"{label} {unquote(found[header])}")
        text = self.body.decode(errors="replace")
        shown = (
            text if len(text) <= _MAX_SHOWN_CHARACTERS else f"{text[:_MAX_SHOWN_CHARACTERS]}… ({len(self.body)} bytes)"
        )
        return "  ".join([*parts, f"-> {self.status}", shown]).rstrip()


async def start_target(
    host: str,
    port: int,
    *,
    status: int = 200,
    delay_seconds: float = 0.0,
    on_request: Callable[[Request], None] | None = None,
) -> HttpServer:
    """Responds to every request of any method and path, until closed.

    Args:
        host: address to listen on.
        port: 0 for any free one.
        status: of every response.
        delay_seconds: before each response.
        on_request: called with each request, before its response is sent.

    Raises:
        OSError: could not listen on the address.
    """

    async def respond(request: web.Request) -> web.Response:
        at, body = dt.datetime.now().astimezone(), await request.read()
        await asyncio.sleep(delay_seconds)
        if on_request is not None:
            on_request(Request(at, request.method, request.path_qs, request.headers, body, status))
        return web.Response(status=status)

    app = web.Application(client_max_size=_MAX_BODY_BYTES)
    app.router.add_route("*", "/{path:.*}", respond)
    return await http_server.start(app, host, port, stop_seconds=0, cancel_handlers=True)
