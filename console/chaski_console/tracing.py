"""A span for each request to the console, if tracing is enabled."""

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from chaski_runtime.observability.tracing import Tracing, Value

_METHODS = ("GET", "HEAD", "POST")  # clients may invent methods, and span names must have a low cardinality


def spans(tracing: Tracing) -> Any:
    """The outermost middleware. `/live` has no span: it would end only when the page is closed."""

    @web.middleware
    async def traced(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        resource = request.match_info.route.resource
        path = resource.canonical if resource is not None else "elsewhere"
        if path == "/live":
            return await handler(request)
        method = request.method if request.method in _METHODS else "_OTHER"
        attributes: dict[str, Value] = {"http.request.method": method, "http.route": path}
        span = tracing.start(f"{method} {path}", "server", request.headers.get("traceparent"), attributes)
        status = 500
        try:
            response = await handler(request)
            status = response.status
        except web.HTTPException as error:
            status = error.status
            raise
        finally:
            span.end({"http.response.status_code": status}, f"HTTP {status}" if status >= 500 else None)
        return response

    return traced
