"""A span for each attempt, where traces are on."""

from collections.abc import Sequence

from chaski_core.message.envelope import HttpRequest
from chaski_core.retry.outcome import Outcome
from chaski_core.route.model import Route
from chaski_runtime.observability.tracing import Tracing, Value
from chaski_worker.delivery.attempt import Deliverer
from chaski_worker.shortage.detection import ShortageError

_TRACEPARENT = "traceparent"


class TracedDeliverer:
    """Wraps another `Deliverer`. The span's own context goes to the target."""

    def __init__(self, inner: Deliverer, tracing: Tracing, route: Route) -> None:
        self._inner = inner
        self._tracing = tracing
        self._route = route

    async def deliver(self, request: HttpRequest, headers: Sequence[tuple[str, str]]) -> Outcome:
        """Makes one HTTP request and records its span. Raises ShortageError."""
        all_headers = {name.lower(): value for name, value in (*request.headers, *headers)}
        number = int(all_headers.get("chaski-attempt", "1"))
        target = self._inner.target_name(request.url)
        attributes: dict[str, Value] = {
            "messaging.system": "aws_sqs",
            "messaging.operation.name": "deliver",
            "messaging.operation.type": "process",
            "messaging.message.id": all_headers.get("chaski-message-id", ""),
            "http.request.method": request.method,
            "http.request.resend_count": number - 1,
            "chaski.route": self._route.key,
            "chaski.target": target,
        }
        span = self._tracing.start(
            f"deliver {target}", "client", all_headers.get(_TRACEPARENT), attributes, linked=number > 1
        )
        own = list(headers)
        if not any(name.lower() == _TRACEPARENT for name, _ in request.headers):  # the producer's own takes precedence
            own = [(name, value) for name, value in headers if name != _TRACEPARENT]
            own.append((_TRACEPARENT, span.traceparent))
        outcome: Outcome | ShortageError | None = None
        try:
            outcome = await self._inner.deliver(request, own)
        except ShortageError as error:
            outcome = error
            raise
        finally:
            span.end(*_ended(outcome))
        return outcome

    def target_name(self, url: str) -> str:
        return self._inner.target_name(url)


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
