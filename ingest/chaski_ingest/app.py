"""The HTTP API: `POST /v1/routes/{namespace}/{name}/messages` and `…/messages:batch`."""

import logging
from collections.abc import Awaitable, Callable

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from chaski_core.ports import Backend, Clock
from chaski_core.route.resolved import ResolvedRoute
from chaski_ingest import problems
from chaski_ingest.acceptance import Acceptance, Accepted
from chaski_ingest.admission import Admission, Gate, RouteDirectory
from chaski_ingest.auth import Authenticator
from chaski_ingest.budget import Budget
from chaski_ingest.lines import Batch
from chaski_ingest.problems import Problem
from chaski_ingest.reading import JSON, NDJSON, read_body, type_problem
from chaski_ingest.settings import IngestSettings
from chaski_runtime.metrics import Metrics

__all__ = ["Ingest", "RouteDirectory", "make_app"]

_ANY_NUMBER = 1_000_000_000  # bodies are bounded by their bytes
_JSON_HEADERS = {"Content-Type": JSON}
_NDJSON_HEADERS = {"Content-Type": NDJSON}

_logger = logging.getLogger(__name__)

Take = Callable[[Admission, bytes], Awaitable[web.Response | Problem]]


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
        """
        self.settings = settings
        self.draining = False  # every new request is answered 503
        self._acceptance = Acceptance(backend, metrics, settings, random)
        self._gate = Gate(routes, authenticator, clock, settings)
        self._metrics = metrics
        self._clock = clock
        self._bodies = Budget(_ANY_NUMBER, settings.max_body_bytes)

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(client_max_size=self.settings.max_batch_bytes, middlewares=[_speak_problems])
        app.router.add_post("/v1/routes/{namespace}/{name}/messages", self._handle_message)
        app.router.add_post("/v1/routes/{namespace}/{name}/messages:batch", self._handle_batch)
        return app

    async def drain(self) -> None:
        """Answers 503 from now on, and returns when no call to a queue is under way any more."""
        self.draining = True
        await self._acceptance.batcher.drain()

    async def _handle_message(self, request: web.Request) -> web.Response:
        started = self._clock.monotonic()
        response = await self._answer(request, JSON, self.settings.max_message_bytes, self._take_message)
        self._observe("single", response, started)
        return response

    async def _handle_batch(self, request: web.Request) -> web.Response:
        started = self._clock.monotonic()
        deadline = started + self.settings.batch_timeout_seconds

        async def take(admission: Admission, body: bytes) -> web.Response | Problem:
            expired = lambda: self._clock.monotonic() > deadline  # noqa: E731 - one comparison
            answer = await Batch(self._acceptance, admission, self.settings, expired).take(body)
            return answer if isinstance(answer, Problem) else web.Response(body=answer, headers=_NDJSON_HEADERS)

        response = await self._answer(request, NDJSON, self.settings.max_batch_bytes, take)
        self._observe("batch", response, started)
        return response

    async def _take_message(self, admission: Admission, body: bytes) -> web.Response | Problem:
        answer = await self._acceptance.submit(admission, body)
        if isinstance(answer, Accepted):
            return web.Response(status=202, body=orjson.dumps(answer.as_json()), headers=_JSON_HEADERS)
        return answer

    async def _answer(self, request: web.Request, kind: str, limit: int, take: Take) -> web.Response:
        admission = await self._admit(request, kind)
        if isinstance(admission, Problem):
            return self._refuse(None, admission)
        resolved = admission.resolved
        size = min(request.content_length or limit, limit)
        if not self._bodies.reserve(size):
            return self._refuse(resolved, self._acceptance.overloaded("too many requests are being read"))
        try:
            body = await read_body(request, limit, self.settings.body_timeout_seconds)
            answer = body if isinstance(body, Problem) else await take(admission, body)
        finally:
            self._bodies.release(size)
        return self._refuse(resolved, answer) if isinstance(answer, Problem) else answer

    async def _admit(self, request: web.Request, kind: str) -> Admission | Problem:
        if self.draining:
            return problems.draining(self.settings.retry_after_seconds)
        place = request.match_info
        admission = await self._gate.admit(place["namespace"], place["name"], request.headers)
        if isinstance(admission, Problem):
            return admission
        return type_problem(request.headers, kind) or admission

    def _refuse(self, resolved: ResolvedRoute | None, problem: Problem) -> web.Response:
        self._acceptance.count_rejected(resolved, problem)
        response = problem_response(problem)
        if self.draining:
            response.force_close()  # the next request of this connection belongs to another server
        return response

    def _observe(self, kind: str, response: web.Response, started: float) -> None:
        seconds = self._clock.monotonic() - started
        self._metrics.ingest_request(kind=kind, status=response.status, duration_seconds=seconds)


def make_app(  # noqa: PLR0913 - as `Ingest`
    routes: RouteDirectory,
    backend: Backend,
    metrics: Metrics,
    clock: Clock,
    settings: IngestSettings,
    random: Callable[[int], bytes],
    *,
    authenticator: Authenticator,
) -> web.Application:
    """The ingest as an aiohttp application, for whoever has a server already; else see `IngestServer`."""
    return Ingest(routes, backend, metrics, clock, settings, random, authenticator=authenticator).application()


def problem_response(problem: Problem) -> web.Response:
    """A problem as an HTTP answer."""
    headers = {"Content-Type": problems.CONTENT_TYPE}
    if problem.retry_after_seconds is not None:
        headers["Retry-After"] = str(problem.retry_after_seconds)
    return web.Response(status=problem.status, body=orjson.dumps(problem.as_json()), headers=headers)


@web.middleware
async def _speak_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Says in problem details what aiohttp itself refuses, and what went wrong unexpectedly."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        response = problem_response(
            problems.of_status(error.status, f"{request.method} {request.path}: {error.reason}")
        )
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except Exception:
        _logger.exception("%s %s failed in an unexpected way", request.method, request.path)
        return problem_response(problems.of_status(500, "something went wrong here; it has been logged"))
