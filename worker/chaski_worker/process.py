"""One worker process on SQS and DynamoDB: a route's consumer, or its error-consumer, from start to drained."""

import asyncio
import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from chaski_aws.backend import AwsBackend, RouteTable, open_backend
from chaski_core.errors import FieldError, InvalidRouteError
from chaski_core.ports import Clock
from chaski_core.route.resolved import ResolvedRoute
from chaski_core.route.resolved_document import load_resolved
from chaski_runtime.observability.logs import Logs
from chaski_runtime.observability.metrics.instruments import Metrics
from chaski_runtime.observability.tracing import tracing_of
from chaski_runtime.process import health
from chaski_runtime.process.clock import SystemClock
from chaski_runtime.process.corrected_clock import CorrectedClock
from chaski_runtime.process.gc_tuning import freeze_startup_objects
from chaski_runtime.process.signals import stop_on_signals
from chaski_worker.consumer.factory import DelivererDependencies, make_deliverer
from chaski_worker.consumer.worker import Worker
from chaski_worker.delivery.triage import Stage
from chaski_worker.observability.tracing import TracedDeliverer
from chaski_worker.settings import WorkerSettings

_log = logging.getLogger(__name__)
_STALE_POLL_SECONDS = 60.0  # three long polls


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What was asked for."""

    stages: tuple[Stage, ...]
    route: Path
    queue: str | None  # of the route, or all of them
    host: str
    metrics_port: int  # 0: any free one
    allow_loopback: bool
    settings: WorkerSettings
    secrets: Path  # one folder for each Secret that the route names
    sweep: bool = False  # attempts nothing: keeps what is about to expire


def read_route(options: WorkerOptions) -> ResolvedRoute:
    """The one resolved route of the file.

    Raises:
        InvalidRouteError: it holds none or several, or can't be used for what was asked.
        OSError: it can't be read.
    """
    routes = load_resolved(options.route.read_text())
    if len(routes) != 1:
        raise InvalidRouteError([FieldError("", f"holds {len(routes)} routes; a worker takes one")])
    (resolved,) = routes
    # A queue that the route no longer has is worked off under its old name.
    older = [name for generation in resolved.generations for name in generation.queues]
    names = list(dict.fromkeys([*(queue.name for queue in resolved.route.queues), *older]))
    if options.queue is not None and options.queue not in names:
        raise InvalidRouteError(
            [FieldError("spec.queues", f'no queue is called "{options.queue}"; there are {_listed(names)}')]
        )
    if resolved.dead_letter_table is None:
        raise InvalidRouteError([FieldError("resolved.deadLetterTable", "is missing: a worker has to keep what fails")])
    return resolved


async def serve(resolved: ResolvedRoute, options: WorkerOptions, logs: Logs) -> None:
    """Delivers until SIGTERM or SIGINT, then drains.

    Raises:
        InvalidInputError: a Secret that the route names can't be used.
        BackendRejectedError: `Configuration`; for example no region is set.
        OSError: the metrics port can't be listened on.
    """
    stop, clock, metrics = stop_on_signals(), CorrectedClock(SystemClock()), Metrics()
    metrics.observe_log_drops(lambda: logs.dropped)
    metrics.observe_clock(clock.offset_seconds)
    route = resolved.route
    async with AsyncExitStack() as stack:
        outside = DelivererDependencies(
            clock, permit_loopback=options.allow_loopback, secrets=None if options.sweep else options.secrets
        )
        deliverer = make_deliverer(route, metrics, outside)
        stack.push_async_callback(deliverer.close)
        backend = await _open(resolved, clock, metrics)
        stack.push_async_callback(backend.close)
        await backend.measure_clock()
        tracing = await stack.enter_async_context(tracing_of("chaski-worker"))
        worker = Worker(
            resolved,
            backend=backend,
            deliverer=TracedDeliverer(deliverer, tracing, route) if tracing else deliverer,
            metrics=metrics,
            logs=logs,
            clock=clock,
            settings=options.settings,
            stages=options.stages,
            only_queue=options.queue,
            sweep=options.sweep,
        )

        def live() -> str | None:
            return stale(worker.last_poll_age())

        side = await health.start(options.host, options.metrics_port, metrics=metrics, live=live, ready=live)
        stack.push_async_callback(side.close)
        freeze_startup_objects()
        _tell(route.key, options, side.port)
        running = asyncio.create_task(worker.run())
        asked = asyncio.create_task(stop.wait())
        await asyncio.wait((running, asked), return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        worker.stop()
        await running
    _log.info("stopped")


async def _open(resolved: ResolvedRoute, clock: Clock, metrics: Metrics) -> AwsBackend:
    return await open_backend(
        RouteTable(str(resolved.dead_letter_table), resolved.route.retention_days),
        clock,
        on_sqs_request=metrics.backend_request,
        on_dynamodb_request=metrics.store_request,
    )


def stale(age: float | None) -> str | None:
    """Why a worker should be restarted, by the seconds since its last successful poll; None while all is well."""
    if age is None or age <= _STALE_POLL_SECONDS:
        return None
    return f"no successful poll for {age:.0f} s; {_STALE_POLL_SECONDS:.0f} are borne"


def _tell(route: str, options: WorkerOptions, port: int) -> None:
    url = f"http://{options.host}:{port}/metrics"
    stage = "first attempts" if options.stages == (Stage.FIRST,) else "retries"
    stage = "what is about to expire" if options.sweep else stage
    _log.info(
        "%s of %s, metrics on %s",
        stage,
        route,
        url,
        extra={"ecs": {"event.action": "ready", "chaski.metrics.url": url}},
    )
    if options.allow_loopback:
        _log.warning("addresses of this machine may be called where a rule allows them: CHASKI_ALLOW_LOOPBACK is set")


def _listed(names: list[str]) -> str:
    return ", ".join(names)
