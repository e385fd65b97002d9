"""One worker process on SQS and DynamoDB, from start to drained: a route's first attempts, its retries, or its expiry."""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from chaski_aws.backend import AwsBackend, RouteTable, open_backend
from chaski_core.errors import FieldError, InvalidRouteError
from chaski_core.ports import Clock
from chaski_core.route.resolved import ResolvedRoute
from chaski_core.route.resolved_document import load_resolved
from chaski_runtime.observability.logs import Logs
from chaski_runtime.observability.metrics.registry import BackendMetrics, MetricsRegistry
from chaski_runtime.observability.tracing import tracing_of
from chaski_runtime.process import health
from chaski_runtime.process.clock import SystemClock
from chaski_runtime.process.corrected_clock import CorrectedClock
from chaski_runtime.process.http_server import base_url
from chaski_runtime.process.lifecycle import freeze_startup_objects, stop_on_signals
from chaski_worker.consumer.factory import DelivererDependencies, make_deliverer, make_guard
from chaski_worker.consumer.worker import Worker
from chaski_worker.delivery.triage import Stage
from chaski_worker.hosts.suspension import follow_suspension
from chaski_worker.metrics import WorkerMetrics
from chaski_worker.settings import WorkerSettings

_log = logging.getLogger(__name__)
_STALE_POLL_SECONDS = 60.0  # three long polls


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """The command line and the environment of a worker process."""

    stages: tuple[Stage, ...]
    route: Path
    queue: str | None  # of the route; None: all of them
    host: str
    metrics_port: int  # 0: any free port
    allow_loopback: bool
    settings: WorkerSettings
    secrets: Path  # one folder for each Secret that the route names
    expire_only: bool = False  # attempts nothing: keeps messages about to expire as dead letters


def read_route(options: WorkerOptions) -> ResolvedRoute:
    """The one resolved route of the file.

    Raises:
        InvalidRouteError: the file has none or several, or the route does not fit the options.
        OSError: the file can't be read.
    """
    routes = load_resolved(options.route.read_text())
    if len(routes) != 1:
        raise InvalidRouteError([FieldError("", f"has {len(routes)} routes; a worker takes one")])
    (resolved,) = routes
    # A queue that was removed from the route is drained under its old name.
    older = [name for generation in resolved.generations for name in generation.queues]
    names = list(dict.fromkeys([*(queue.name for queue in resolved.route.queues), *older]))
    if options.queue is not None and options.queue not in names:
        raise InvalidRouteError(
            [FieldError("spec.queues", f'queue "{options.queue}" does not exist; the queues are {", ".join(names)}')]
        )
    if resolved.dead_letter_table is None:
        raise InvalidRouteError(
            [FieldError("resolved.deadLetterTable", "is missing: a worker stores dead letters in it")]
        )
    return resolved


async def serve(resolved: ResolvedRoute, options: WorkerOptions, logs: Logs) -> None:
    """Delivers until SIGTERM or SIGINT, then drains.

    Raises:
        InvalidInputError: a Secret that the route names can't be used.
        BackendRejectedError: `Configuration`; for example no region is set.
        OSError: can't listen on the metrics port.
    """
    stop, clock, metrics = stop_on_signals(), CorrectedClock(SystemClock()), MetricsRegistry()
    worker_metrics = WorkerMetrics(metrics)
    metrics.observe_log_drops(lambda: logs.dropped)
    metrics.observe_clock(clock.offset_seconds)
    route = resolved.route
    async with AsyncExitStack() as stack:
        dependencies = DelivererDependencies(
            clock,
            permit_loopback=options.allow_loopback,
            secrets=None if options.expire_only else options.secrets,
            tracing=await stack.enter_async_context(tracing_of("chaski-worker")),
        )
        deliverer = make_deliverer(route, worker_metrics, dependencies)
        stack.push_async_callback(deliverer.close)
        backend = await _open(resolved, clock, BackendMetrics(metrics))
        stack.push_async_callback(backend.close)
        await backend.measure_clock()
        worker = Worker(
            resolved,
            backend=backend,
            guard=make_guard(route),
            deliver=deliverer.deliver,
            metrics=worker_metrics,
            logs=logs,
            clock=clock,
            settings=options.settings,
            stages=options.stages,
            only_queue=options.queue,
            expire_only=options.expire_only,
        )

        def live() -> str | None:
            return stale_reason(worker.last_poll_age())

        health_server = await health.start(options.host, options.metrics_port, metrics=metrics, live=live, ready=live)
        stack.push_async_callback(health_server.close)
        freeze_startup_objects()
        _log_ready(route.key, options, health_server.port)
        await _run_until(
            stop, worker, follow_suspension(options.route, route.suspended_targets, worker.suspend_targets)
        )
    _log.info("stopped")


async def _run_until(stop: asyncio.Event, worker: Worker, following: Coroutine[None, None, None]) -> None:
    """Runs a worker, and follows its route file, until `stop` is set; then drains it."""
    running, follower = asyncio.create_task(worker.run()), asyncio.create_task(following)
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
        worker.stop()
        await running
    finally:
        stopping.cancel()
        follower.cancel()


async def _open(resolved: ResolvedRoute, clock: Clock, metrics: BackendMetrics) -> AwsBackend:
    return await open_backend(
        RouteTable(str(resolved.dead_letter_table), resolved.route.retention_days),
        clock,
        on_sqs_request=metrics.sqs_request,
        on_dynamodb_request=metrics.dynamodb_request,
    )


def stale_reason(age: float | None) -> str | None:
    """Why a worker should be restarted, by the seconds since its last successful poll; None while it is healthy."""
    if age is None or age <= _STALE_POLL_SECONDS:
        return None
    return f"no successful poll for {age:.0f} s (limit {_STALE_POLL_SECONDS:.0f} s)"


def _log_ready(route: str, options: WorkerOptions, port: int) -> None:
    url = f"{base_url(options.host, port)}/metrics"
    task = "first attempts" if options.stages == (Stage.FIRST,) else "retries"
    task = "expiring messages" if options.expire_only else task
    _log.info(
        "processing %s of %s, metrics on %s",
        task,
        route,
        url,
        extra={"ecs": {"event.action": "ready", "chaski.metrics.url": url}},
    )
    if options.allow_loopback:
        _log.warning("CHASKI_ALLOW_LOOPBACK is set: loopback addresses may be called where a rule allows them")
