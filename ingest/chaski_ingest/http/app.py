"""The HTTP API: `POST /v1/routes/{namespace}/{name}/messages` and `…/messages:batch`."""

import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol
from urllib.parse import unquote, urlsplit

import orjson

from chaski_core.ports import Backend, Clock
from chaski_core.route.resolved import ResolvedRoute
from chaski_core.values import message_value
from chaski_ingest import problems
from chaski_ingest.auth.authenticators import Authenticator
from chaski_ingest.http import openapi
from chaski_ingest.http.connection_limit import max_open_connections
from chaski_ingest.http.gate import RequestGate
from chaski_ingest.http.request import CONTINUE, JSON, NDJSON, Request, bodies_full
from chaski_ingest.http.responses import SERVER, Response, problem_response
from chaski_ingest.metrics import IngestMetrics
from chaski_ingest.problems import Problem
from chaski_ingest.settings import IngestSettings
from chaski_ingest.submission.batch_request import BatchRequest
from chaski_ingest.submission.capacity import Capacity, Reservation
from chaski_ingest.submission.queue_batching import OnSent, ignore_sent
from chaski_ingest.submission.service import AcceptedMessage, SubmissionService
from chaski_ingest.submission.submission import RequestContext
from chaski_ingest.tracing import trace_request, trace_send
from chaski_runtime.kube.route_cache import Unserved
from chaski_runtime.observability.tracing import Tracing

SINGLE = "single"
BATCH = "batch"

_PREFIX = ["", "v1", "routes"]
_KINDS = {"messages": SINGLE, "messages:batch": BATCH}
_JSON_HEADERS = (("Content-Type", JSON), SERVER)
_NDJSON_HEADERS = (("Content-Type", NDJSON), SERVER)
_OTHER = "other"
_EXPECTATIONS = frozenset({"", CONTINUE})

_Submit = Callable[[RequestContext, bytes, Reservation], Awaitable[Response | Problem]]

_logger = logging.getLogger(__name__)


@message_value
class Endpoint:
    """A route's endpoint."""

    namespace: str
    name: str
    kind: str  # SINGLE | BATCH


class RouteDirectory(Protocol):
    """The current routes; read for each request, so that they may change while the process runs."""

    def find(self, namespace: str, name: str) -> ResolvedRoute | Unserved | None:
        """The route of that name, why it is not served, or None where it does not exist."""
        ...


class Ingest:
    """Responds to requests; with 202 only after the queue has durably acknowledged the message."""

    def __init__(  # noqa: PLR0913 - the parts of the service, each named once
        self,
        routes: RouteDirectory,
        backend: Backend,
        metrics: IngestMetrics,
        clock: Clock,
        settings: IngestSettings,
        random: Callable[[int], bytes],
        *,
        authenticator: Authenticator,
        tracing: Tracing | None = None,
        on_sent: OnSent = ignore_sent,
    ) -> None:
        """Assembles the service.

        Args:
            routes: the current routes.
            backend: where the queues are.
            metrics: counts every response.
            clock: time.
            settings: limits.
            random: returns the given number of random bytes.
            authenticator: decides which producer may send.
            tracing: makes spans for each request; None: no spans.
            on_sent: called after each call to a queue.
        """
        self.settings = settings
        self.draining = False  # every new request is answered with 503
        self._service = SubmissionService(backend, metrics, settings, random, clock.monotonic, on_sent)
        self._routes = routes
        self._gate = RequestGate(authenticator, clock, settings)
        self._tracing = tracing
        self._metrics = metrics
        self._clock = clock
        self._bodies = Capacity(max_open_connections(settings.max_connections), settings.max_body_bytes)

    async def respond(self, request: Request) -> Response:
        """Responds to a request to a route's endpoint, and with 404 to any other; never raises."""
        started = self._clock.monotonic()
        endpoint = find_endpoint(request.target)
        try:
            if isinstance(endpoint, Endpoint):
                response = await self._respond(request, endpoint)
            elif endpoint == openapi.PATH:
                response = self._openapi_document(request)
            else:
                response = self._reject(None, problems.of_status(404, f'there is nothing at "{endpoint}"'))
        except Exception:
            _logger.exception("unexpected internal error during %s %s", request.method, request.target)
            response = self._reject(None, problems.of_status(500, "an unexpected internal error; it was logged"))
        seconds = self._clock.monotonic() - started
        kind = endpoint.kind if isinstance(endpoint, Endpoint) else _OTHER
        self._metrics.ingest_request(kind=kind, status=response.status, duration_seconds=seconds)
        return response

    def _openapi_document(self, request: Request) -> Response:
        if request.method in {"GET", "HEAD"}:
            return Response(200, openapi.document_bytes(), _JSON_HEADERS)
        problem = problems.of_status(405, f"{request.method} is not allowed here; send GET")
        self._service.count_rejected(None, problem)
        return problem_response(problem, allow="GET", close=self.draining)

    async def drain(self) -> None:
        """Answers 503 from now on, and returns once no call to a queue is in flight."""
        self.draining = True
        await self._service.batcher.drain()

    async def _respond(self, request: Request, endpoint: Endpoint) -> Response:
        if request.method != "POST":
            return self._reject(None, problems.of_status(405, f"{request.method} is not allowed here; send POST"))
        if self.draining:
            return self._reject(None, problems.draining(self.settings.retry_after_seconds))
        resolved = self._routes.find(endpoint.namespace, endpoint.name)
        if resolved is None or (isinstance(resolved, Unserved) and resolved.status == 404):
            return self._reject(None, problems.no_route(endpoint.namespace, endpoint.name))
        if isinstance(resolved, Unserved):
            return self._reject(None, await self._gate.not_ready(resolved, request.headers))
        single = endpoint.kind == SINGLE
        result: Response | RequestContext | Problem
        result = await self._gate.admit(resolved, JSON if single else NDJSON, request.headers)
        if request.expectation not in _EXPECTATIONS:
            result = problems.of_status(417, f'the only supported expectation is "{CONTINUE}"')
        if isinstance(result, RequestContext):
            submit = functools.partial(self._submit, request, endpoint.kind)
            name = "messages" if single else "messages:batch"
            result = await (trace_request(self._tracing, result, name, submit) if self._tracing else submit(result))
        return self._reject(resolved, result) if isinstance(result, Problem) else result

    async def _submit(self, request: Request, kind: str, context: RequestContext) -> Response | Problem:
        single = kind == SINGLE
        limit = self.settings.max_message_bytes if single else self.settings.max_batch_bytes
        submit: _Submit = self._submit_message if single else self._submit_batch
        reservation = Reservation(self._bodies, context.holder)
        try:
            body = await request.body(limit, self.settings, reservation)
            return body if isinstance(body, Problem) else await submit(context, body, reservation)
        finally:
            reservation.release()

    async def _submit_message(
        self, context: RequestContext, body: bytes, reservation: Reservation
    ) -> Response | Problem:
        del reservation  # the send buffer counts the message
        submit = functools.partial(self._service.submit, data=body)
        result = await (trace_send(self._tracing, context, submit) if self._tracing else submit(context))
        if isinstance(result, AcceptedMessage):
            return Response(202, orjson.dumps(result.as_json()), _JSON_HEADERS)
        return result

    async def _submit_batch(self, context: RequestContext, body: bytes, reservation: Reservation) -> Response | Problem:
        if not reservation.grow(2 * len(body) - reservation.size):  # the body, and its messages in the send buffer
            return bodies_full(self.settings)
        deadline = self._clock.monotonic() + self.settings.batch_timeout_seconds

        def expired() -> bool:
            return self._clock.monotonic() > deadline

        def submit(context: RequestContext) -> Awaitable[bytes | Problem]:
            return BatchRequest(self._service, context, self.settings, expired).run(body)

        result = await (trace_send(self._tracing, context, submit) if self._tracing else submit(context))
        return Response(200, result, _NDJSON_HEADERS) if isinstance(result, bytes) else result

    def _reject(self, resolved: ResolvedRoute | None, problem: Problem) -> Response:
        self._service.count_rejected(resolved, problem)
        return problem_response(problem, close=self.draining)


@functools.lru_cache(256)  # a process serves few, and a target has at most 8,190 characters
def find_endpoint(target: str) -> Endpoint | str:
    """Parses a request target (RFC 9112 §3.2) into namespace, route and kind; the decoded path where it is not an endpoint."""
    path = target.partition("?")[0]
    if not path.startswith("/"):  # absolute form, as proxies send it
        path = urlsplit(path).path
    if "%" in path:
        path = unquote(path)
    parts = path.split("/")
    if len(parts) != 6 or parts[:3] != _PREFIX or parts[5] not in _KINDS:
        return path
    return Endpoint(parts[3], parts[4], _KINDS[parts[5]])
