"""Spans of requests, where traces are on: one of the HTTP server, and in it one of sending the messages to their queues.

By OpenTelemetry's conventions for HTTP servers and for messaging (semconv 1.44). The context of the `send` span travels with the
messages: all messages of a batch have the same.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol, TypeVar

from chaski_ingest.problems import Problem
from chaski_ingest.submission.service import AcceptedMessage
from chaski_ingest.submission.submission import RequestContext
from chaski_runtime.observability.tracing import StartedSpan, Tracing, Value, messaging

_ROUTE = "/v1/routes/{namespace}/{name}/"


class _HasStatus(Protocol):
    """A response or a problem."""

    @property
    def status(self) -> int: ...


Sent = TypeVar("Sent", AcceptedMessage | Problem, bytes | Problem)
Responded = TypeVar("Responded", bound=_HasStatus)


async def trace_request(
    tracing: Tracing,
    context: RequestContext,
    endpoint: str,
    respond: Callable[[RequestContext], Awaitable[Responded]],
) -> Responded:
    """Records a server span around a request that was admitted; `endpoint`: the last segment of its path."""
    path = _ROUTE + endpoint
    attributes: dict[str, Value] = {
        "http.request.method": "POST",
        "http.route": path,
        "chaski.route": context.origin.route,
    }
    span = tracing.start(f"POST {path}", "server", context.origin.traceparent, attributes)
    status, error = 500, "an unexpected internal error"
    try:
        result = await respond(_within(context, span))
        status = result.status
        error = result.detail if isinstance(result, Problem) else ""
    finally:
        ended: dict[str, Value] = {"http.response.status_code": status}
        failed = status >= 500  # a server span reports no faults of the client
        span.end(ended | {"error.type": str(status)} if failed else ended, error if failed else None)
    return result


async def trace_send(
    tracing: Tracing, context: RequestContext, send: Callable[[RequestContext], Awaitable[Sent]]
) -> Sent:
    """Records a producer span around sending the messages of a request, whose context becomes that of the messages."""
    route = context.origin.route
    span = tracing.start(f"send {route}", "producer", context.origin.traceparent, messaging("send", route))
    ended: dict[str, Value] = {"error.type": "500"}
    error: str | None = "an unexpected internal error"
    try:
        result = await send(_within(context, span))
        ended, error = _sent(result)
    finally:
        span.end(ended, error)
    return result


def _within(context: RequestContext, span: StartedSpan) -> RequestContext:
    return replace(context, origin=replace(context.origin, traceparent=span.traceparent))


def _sent(result: AcceptedMessage | bytes | Problem) -> tuple[dict[str, Value], str | None]:
    if isinstance(result, Problem):
        return {"error.type": result.reason}, result.title  # its detail may quote the message
    if isinstance(result, AcceptedMessage):
        return {"messaging.message.id": result.message_id}, None
    return {"messaging.batch.message_count": result.count(b"\n")}, None  # one line for each message
