"""A span for each attempt, where traces are on."""

from dataclasses import replace

from chaski_core.retry.outcome import Outcome
from chaski_runtime.observability.tracing import Tracing, Value
from chaski_worker.delivery.attempt import TRACEPARENT, AttemptContext, Handler, Middleware
from chaski_worker.guard.guard import NO_TARGET, Target
from chaski_worker.shortage.detection import ShortageError


def trace_attempts(tracing: Tracing) -> Middleware:
    """Records a span around each attempt. The span's own context goes to the target, unless the producer sent another."""

    async def middleware(attempt: AttemptContext, handler: Handler) -> Outcome:
        target = attempt.target.rule.name if isinstance(attempt.target, Target) else NO_TARGET
        attributes: dict[str, Value] = {
            "messaging.system": "aws_sqs",
            "messaging.operation.name": "deliver",
            "messaging.operation.type": "process",
            "messaging.message.id": attempt.message_id,
            "http.request.method": attempt.request.method,
            "http.request.resend_count": attempt.number - 1,
            "chaski.route": attempt.route,
            "chaski.target": target,
        }
        parent = _producers_traceparent(attempt) or attempt.traceparent
        span = tracing.start(f"deliver {target}", "client", parent, attributes, linked=attempt.number > 1)
        outcome: Outcome | ShortageError | None = None
        try:
            outcome = await handler(replace(attempt, traceparent=span.traceparent))
        except ShortageError as error:
            outcome = error
            raise
        finally:
            span.end(*_ended(outcome))
        return outcome

    return middleware


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
