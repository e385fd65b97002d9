"""A span for each request to the console, where traces are on."""

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from chaski_runtime.observability.tracing import Tracing, Value

_METHODS = ("GET", "HEAD", "POST")  # a visitor may invent others, and names of spans are few


def spans(tracing: Tracing) -> Any:
    """The outermost middleware. Pages that stay open have no span: it would end with the visit."""

    @web.middleware
    async def traced(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        resource = request.match_info.route.resource
        place = resource.canonical if resource is not None else "elsewhere"
        if place == "/live":
            return await handler(request)
        method = request.method if request.method in _METHODS else "_OTHER"
        attributes: dict[str, Value] = {"http.request.method": method, "http.route": place}
        span = tracing.begin(f"{method} {place}", "server", request.headers.get("traceparent"), attributes)
        status = 500
        try:
            answer = await handler(request)
            status = answer.status
        except web.HTTPException as error:
            status = error.status
            raise
        finally:
            span.end({"http.response.status_code": status}, f"HTTP {status}" if status >= 500 else None)
        return answer

    return traced
