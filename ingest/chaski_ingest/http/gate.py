"""Admission of a request to its route by its headers, before its body is read."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping

from chaski_core.errors import FieldError
from chaski_core.message.traceparent import valid_traceparent
from chaski_core.ports import Clock
from chaski_core.route.model import Route
from chaski_core.route.resolved import ResolvedRoute
from chaski_ingest import problems
from chaski_ingest.auth.authenticators import Authenticated, Authenticator
from chaski_ingest.auth.token_review import Denied
from chaski_ingest.http.request import type_problem
from chaski_ingest.problems import Problem
from chaski_ingest.settings import IngestSettings
from chaski_ingest.submission.submission import Origin, RequestContext, key_error
from chaski_runtime.kube.route_cache import Unserved

_log = logging.getLogger(__name__)
_LOG_INTERVAL_SECONDS = 60.0
_MAX_REMEMBERED = 1_000


class RequestGate:
    """Admits requests, or answers them with a problem."""

    def __init__(self, authenticator: Authenticator, clock: Clock, settings: IngestSettings) -> None:
        self._authenticator = authenticator
        self._clock = clock
        self._settings = settings
        self._denied_log = DeniedRequestLog(clock.monotonic)

    async def admit(
        self, resolved: ResolvedRoute, content_type: str, headers: Mapping[str, str]
    ) -> RequestContext | Problem:
        """The context of the request's messages, or why it is refused; `content_type` is the one of the endpoint."""
        route = resolved.route
        authenticated = await self._authenticated(route, headers)
        if isinstance(authenticated, Problem):
            return authenticated
        if route.suspend.ingest:
            return problems.suspended(route.key, self._settings.suspended_retry_after_seconds)
        if problem := type_problem(headers, content_type):
            return problem
        key = headers.get("Idempotency-Key")
        if key is not None and (error := key_error(key)):
            return problems.invalid((FieldError("Idempotency-Key", error),))
        traceparent = valid_traceparent(headers.get("traceparent"))
        origin = Origin(
            route.key, self._clock.now_ms(), authenticated.producer, traceparent, key, authenticated.subjects
        )
        return RequestContext(resolved, origin, authenticated.debit)

    async def not_ready(self, unserved: Unserved, headers: Mapping[str, str]) -> Problem:
        """The problem of a request to a route that is served soon; only its producers get it."""
        if unserved.route is not None:
            authenticated = await self._authenticated(unserved.route, headers)
            if isinstance(authenticated, Problem):
                return authenticated
        return problems.not_ready(unserved.detail, self._settings.retry_after_seconds)

    async def _authenticated(self, route: Route, headers: Mapping[str, str]) -> Authenticated | Problem:
        result = await self._authenticator.authenticate(headers, route)
        if isinstance(result, Authenticated):
            return result
        self._denied_log.record(route.key, result)
        return problems.denied(result.status, result.detail, result.retry_after_seconds)


class DeniedRequestLog:
    """Logs denied requests: at most one line a minute for each route and cause, so that a retrying producer floods no log."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._next_log_at: OrderedDict[tuple[str, str], float] = OrderedDict()  # by route and cause

    def record(self, route: str, denied: Denied) -> None:
        """Logs a denied request to a route, unless its cause was logged within the last minute."""
        key, now = (route, denied.detail), self._monotonic()
        if now < self._next_log_at.get(key, now):
            return
        self._next_log_at[key] = now + _LOG_INTERVAL_SECONDS
        self._next_log_at.move_to_end(key)
        if len(self._next_log_at) > _MAX_REMEMBERED:
            self._next_log_at.popitem(last=False)
        namespace, _, name = route.partition("/")
        fields = {"event.action": "denied", "event.outcome": "failure", "http.response.status_code": denied.status}
        fields |= {"labels.namespace": namespace, "labels.route": name}
        _log.warning("%s: request denied with %d: %s", route, denied.status, denied.detail, extra={"ecs": fields})
