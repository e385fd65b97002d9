"""The HTTP API: `POST /v1/routes/{namespace}/{name}/messages` and `…/messages:batch`."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

import orjson
from aiohttp import web

from chaski_core.ports import Backend, Clock
from chaski_core.route.resolved import ResolvedRoute
from chaski_ingest.auth.authenticators import Authenticator
from chaski_ingest.auth.gate import RequestContext, RequestGate, RouteDirectory
from chaski_ingest.http import openapi, problems
from chaski_ingest.http.bodies import JSON, NDJSON, no_room
from chaski_ingest.http.endpoints import SINGLE, Endpoint, find_endpoint
from chaski_ingest.http.problems import Problem
from chaski_ingest.http.request import CONTINUE, Request, StreamedRequest
from chaski_ingest.http.responses import SERVER, Response, problem_reply
from chaski_ingest.settings import IngestSettings
from chaski_ingest.submission.batch_request import Batch
from chaski_ingest.submission.capacity import Capacity, CapacityHold
from chaski_ingest.submission.service import AcceptedMessage, SubmissionService
from chaski_runtime.kube.route_cache import Unserved
from chaski_runtime.observability.metrics.instruments import Metrics
from chaski_runtime.observability.tracing import Tracing

__all__ = ["Ingest", "RouteDirectory"]

_ANY_NUMBER = 1_000_000_000  # bodies are bounded by their bytes
_JSON_HEADERS = (("Content-Type", JSON), SERVER)
_NDJSON_HEADERS = (("Content-Type", NDJSON), SERVER)
_OTHER = "other"
_EXPECTATIONS = frozenset({"", CONTINUE})

Take = Callable[[RequestContext, bytes, CapacityHold], Awaitable[Response | Problem]]

_logger = logging.getLogger(__name__)


class Ingest:
    """Answers requests. 202 is said only after the queue has durably acknowledged the message."""

    def __init__(  # noqa: PLR0913 - what the service is made of, each named once
        self,
        routes: RouteDirectory,
        backend: Backend,
        metrics: Metrics,
        clock: Clock,
        settings: IngestSettings,
        random: Callable[[int], bytes],
        *,
        authenticator: Authenticator,
        tracing: Tracing | None = None,
    ) -> None:
        """Puts the service together.

        Args:
            routes: the routes of now.
            backend: where the queues are.
            metrics: told of every answer.
            clock: time.
            settings: limits.
            random: makes so many random bytes.
            authenticator: who may send.
            tracing: makes a span for each request; None: none.
        """
        self.settings = settings
        self.draining = False  # every new request is answered 503
        self._acceptance = SubmissionService(backend, metrics, settings, random)
        self._routes = routes
        self._gate = RequestGate(authenticator, clock, settings)
        self._tracing = tracing
        self._metrics = metrics
        self._clock = clock
        self._bodies = Capacity(_ANY_NUMBER, settings.max_body_bytes)

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Answers one request of aiohttp's server, as `answer` does."""
        arriving = StreamedRequest(request)
        response = (await self.answer(arriving)).as_response()
        if (
            arriving.awaits_continue
        ):  # whether its body comes all the same is open, so nothing can follow (RFC 9110 §10.1.1)
            response.force_close()
        return response

    async def answer(self, request: Request) -> Response:
        """Answers one request to a route's endpoints, and 404 to any other; never raises."""
        started = self._clock.monotonic()
        endpoint = find_endpoint(request.target)
        try:
            if isinstance(endpoint, Endpoint):
                response = await self._answer(request, endpoint)
            elif endpoint == openapi.PATH:
                response = self._describe(request)
            else:
                response = self._refuse(None, problems.of_status(404, f'there is nothing at "{endpoint}"'))
        except Exception:
            _logger.exception("%s %s failed in an unexpected way", request.method, request.target)
            response = self._refuse(None, problems.of_status(500, "something went wrong here; it has been logged"))
        seconds = self._clock.monotonic() - started
        kind = endpoint.kind if isinstance(endpoint, Endpoint) else _OTHER
        self._metrics.ingest_request(kind=kind, status=response.status, duration_seconds=seconds)
        return response

    def _describe(self, request: Request) -> Response:
        if request.method in {"GET", "HEAD"}:
            return Response(200, openapi.document_bytes(), _JSON_HEADERS)
        problem = problems.of_status(405, f"{request.method} is not taken here; send GET")
        self._acceptance.count_rejected(None, problem)
        return problem_reply(problem, allow="GET", close=self.draining)

    async def drain(self) -> None:
        """Answers 503 from now on, and returns when no call to a queue is under way any more."""
        self.draining = True
        await self._acceptance.batcher.drain()

    async def _answer(self, request: Request, endpoint: Endpoint) -> Response:
        if request.method != "POST":
            return self._refuse(None, problems.of_status(405, f"{request.method} is not taken here; send POST"))
        if self.draining:
            return self._refuse(None, problems.draining(self.settings.retry_after_seconds))
        resolved = self._routes.find(endpoint.namespace, endpoint.name)
        if resolved is None:
            return self._refuse(None, problems.no_route(endpoint.namespace, endpoint.name))
        if isinstance(resolved, Unserved):
            wait = self.settings.retry_after_seconds
            return self._refuse(None, problems.unserved(resolved.status, resolved.detail, wait))
        single = endpoint.kind == SINGLE
        answer: Response | RequestContext | Problem
        answer = await self._gate.admit(resolved, JSON if single else NDJSON, request.headers)
        if request.expectation not in _EXPECTATIONS:
            answer = problems.of_status(417, f'only "{CONTINUE}" can be expected')
        if isinstance(answer, RequestContext):
            answer = await (self._traced if self._tracing else self._take)(request, answer, endpoint.kind)
        return self._refuse(resolved, answer) if isinstance(answer, Problem) else answer

    async def _traced(self, request: Request, admission: RequestContext, kind: str) -> Response | Problem:
        assert self._tracing is not None  # noqa: S101 - judged by the caller
        origin = admission.origin
        attributes = {"chaski.route": origin.route, "messaging.system": "aws_sqs", "messaging.operation.name": "send"}
        span = self._tracing.begin(f"accept {kind}", "server", origin.traceparent, attributes)
        status, error = 500, "it failed in an unexpected way"
        try:
            admission = replace(admission, origin=replace(origin, traceparent=span.traceparent))
            answer = await self._take(request, admission, kind)
            status = answer.status
            error = answer.detail if isinstance(answer, Problem) else ""
        finally:
            span.end({"http.response.status_code": status}, error if status >= 500 else None)
        return answer

    async def _take(self, request: Request, admission: RequestContext, kind: str) -> Response | Problem:
        single = kind == SINGLE
        limit = self.settings.max_message_bytes if single else self.settings.max_batch_bytes
        take: Take = self._take_message if single else self._take_batch
        hold = CapacityHold(self._bodies, admission.holder)
        try:
            body = await request.body(limit, self.settings, hold)
            return body if isinstance(body, Problem) else await take(admission, body, hold)
        finally:
            hold.release()

    async def _take_message(self, admission: RequestContext, body: bytes, hold: CapacityHold) -> Response | Problem:
        del hold  # the queue's buffer holds the message
        answer = await self._acceptance.submit(admission, body)
        if isinstance(answer, AcceptedMessage):
            return Response(202, orjson.dumps(answer.as_json()), _JSON_HEADERS)
        return answer

    async def _take_batch(self, admission: RequestContext, body: bytes, hold: CapacityHold) -> Response | Problem:
        if not hold.grow(2 * len(body) - hold.size):  # the body, and its messages as they go to their queues
            return no_room(self.settings)
        deadline = self._clock.monotonic() + self.settings.batch_timeout_seconds

        def expired() -> bool:
            return self._clock.monotonic() > deadline

        answer = await Batch(self._acceptance, admission, self.settings, expired).take(body)
        return Response(200, answer, _NDJSON_HEADERS) if isinstance(answer, bytes) else answer

    def _refuse(self, resolved: ResolvedRoute | None, problem: Problem) -> Response:
        self._acceptance.count_rejected(resolved, problem)
        return problem_reply(problem, close=self.draining)
