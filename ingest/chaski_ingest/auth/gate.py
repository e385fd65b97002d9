"""Whether a request may send to its route at all, judged before its body is read."""

from collections.abc import Callable, Mapping
from typing import Protocol

from chaski_core.errors import FieldError
from chaski_core.message.traceparent import valid_traceparent
from chaski_core.ports import Clock
from chaski_core.route.resolved import ResolvedRoute
from chaski_core.values import message_value
from chaski_ingest.auth.authenticators import Authenticator, Denied
from chaski_ingest.auth.denied_log import DeniedRequestLog
from chaski_ingest.http import problems
from chaski_ingest.http.bodies import type_problem
from chaski_ingest.http.problems import Problem
from chaski_ingest.settings import IngestSettings
from chaski_ingest.submission.submission import Origin, key_fault
from chaski_runtime.kube.route_cache import Unserved


class RouteDirectory(Protocol):
    """The routes that there are now; asked for each request, so that they may change while the process runs."""

    def find(self, namespace: str, name: str) -> ResolvedRoute | Unserved | None:
        """The route of that name, why it is not served, or None where there is none."""
        ...


@message_value
class RequestContext:
    """A request that may send."""

    resolved: ResolvedRoute
    origin: Origin
    charge: Callable[[int], None] | None = None  # told of messages beyond the first

    @property
    def holder(self) -> tuple[str, str | None]:
        """Who has a share of this process's memory: one producer of one route."""
        return self.origin.route, self.origin.producer


class RequestGate:
    """Judges requests by their headers."""

    def __init__(self, authenticator: Authenticator, clock: Clock, settings: IngestSettings) -> None:
        self._authenticator = authenticator
        self._clock = clock
        self._settings = settings
        self._denials = DeniedRequestLog(clock.monotonic)

    async def admit(self, resolved: ResolvedRoute, kind: str, headers: Mapping[str, str]) -> RequestContext | Problem:
        """What is known of the messages to come, or why they can't be taken; `kind` is the body's expected type."""
        route = resolved.route
        admitted = await self._authenticator.authenticate(headers, route)
        if isinstance(admitted, Denied):
            self._denials.tell(route.key, admitted)
            return problems.denied(admitted.status, admitted.detail, admitted.retry_after_seconds)
        if route.suspend.ingest:
            return problems.suspended(route.key, self._settings.suspended_retry_after_seconds)
        if problem := type_problem(headers, kind):
            return problem
        key = headers.get("Idempotency-Key")
        if key is not None and (fault := key_fault(key)):
            return problems.invalid((FieldError("Idempotency-Key", fault),))
        traceparent = valid_traceparent(headers.get("traceparent"))
        origin = Origin(route.key, self._clock.now_ms(), admitted.producer, traceparent, key)
        return RequestContext(resolved, origin, admitted.charge)
