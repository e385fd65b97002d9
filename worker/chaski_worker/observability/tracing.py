"""Spans of attempts, where traces are on: one for the message, and in it one for each HTTP request.

By OpenTelemetry's conventions for messaging and for HTTP clients (semconv 1.44). An attempt whose credential was renewed sends
two requests; one that was refused, or whose credential is unavailable, sends none.
"""

from dataclasses import replace

from chaski_core.retry.outcome import Outcome
from chaski_runtime.observability.tracing import StartedSpan, Tracing, Value, messaging
from chaski_worker.delivery.attempt import TRACEPARENT, AttemptContext, Handler, Middleware
from chaski_worker.guard.guard import NO_TARGET, Target
from chaski_worker.shortage.detection import ShortageError


def trace_attempts(tracing: Tracing) -> Middleware:
    """Records a consumer span around each attempt, the outermost middleware. It links to the context that the message came with.

    It is also a child of that context, which the conventions permit for a single message, so that one trace leads from the
    producer to the target.
    """

    async def middleware(attempt: AttemptContext, handler: Handler) -> Outcome:
        attributes = messaging("process", attempt.route) | {
            "messaging.message.id": attempt.message_id,
            "chaski.attempt": attempt.number,
            "chaski.target": attempt.target.rule.name if isinstance(attempt.target, Target) else NO_TARGET,
        }
        parent = _producers_traceparent(attempt) or attempt.traceparent
        span = tracing.start(f"process {attempt.route}", "consumer", parent, attributes, linked=True)
        return await _within(span, attempt, handler)

    return middleware


def trace_requests(tracing: Tracing) -> Middleware:
    """Records a client span around each HTTP request, the innermost middleware.

    The span's own context goes to the target, unless the producer sent another.
    """

    async def middleware(attempt: AttemptContext, handler: Handler) -> Outcome:
        if not isinstance(attempt.target, Target):
            return await handler(attempt)
        url, method = attempt.target.url, attempt.request.method
        attributes: dict[str, Value] = {
            "http.request.method": method,
            "server.address": url.name,
            "server.port": url.port,
        }
        if attempt.number > 1:
            attributes["http.request.resend_count"] = attempt.number - 1
        return await _within(tracing.start(method, "client", attempt.traceparent, attributes), attempt, handler)

    return middleware


async def _within(span: StartedSpan, attempt: AttemptContext, handler: Handler) -> Outcome:
    outcome: Outcome | ShortageError | None = None
    try:
        outcome = await handler(replace(attempt, traceparent=span.traceparent))
    except ShortageError as error:
        outcome = error
        raise
    finally:
        span.end(*_ended(outcome))
    return outcome


def _producers_traceparent(attempt: AttemptContext) -> str | None:
    return next((value for name, value in attempt.request.headers if name.lower() == TRACEPARENT), None)


def _ended(outcome: Outcome | ShortageError | None) -> tuple[dict[str, Value], str | None]:
    if outcome is None:
        return {"error.type": "cancelled"}, "the attempt was cancelled"
    if isinstance(outcome, ShortageError):
        return {"error.type": "shortage"}, f"no attempt was made: {outcome}"
    ended: dict[str, Value] = {}
    if outcome.status is not None:
        ended["http.response.status_code"] = outcome.status
    if outcome.delivered:
        return ended, None
    return ended | {"error.type": outcome.key}, outcome.detail or outcome.key
