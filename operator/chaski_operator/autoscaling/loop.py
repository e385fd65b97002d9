"""The autoscaler: checks the Pods of each route every few seconds, and its queues as often as they can have changed.

What ingest reports starts a Pod at once. A check has a timeout, so a route whose queues hang or refuse delays no other. One GetQueueAttributes for each queue returns
counts and settings; if the settings have changed since the last check, the route is reconciled at once.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from random import random as system_random

from chaski_aws.backend import open_backend
from chaski_core.ports import Clock, QueueCounts
from chaski_operator.autoscaling.cluster_view import ClusterView
from chaski_operator.autoscaling.dependencies import ScalerDependencies, ScalerIntervals
from chaski_operator.autoscaling.policy import with_window
from chaski_operator.autoscaling.scaler import RouteScaler
from chaski_operator.kube.lease import LeaseLostError
from chaski_operator.kube.workqueue import Key, WorkQueue
from chaski_operator.manifests.kinds import Document
from chaski_operator.metrics import OperatorMetrics
from chaski_operator.pods.ingest_activity import IngestActivity, Report
from chaski_operator.pods.metrics_client import Scraper
from chaski_operator.route.loader import RouteLoader
from chaski_operator.settings import ReconcileIntervals
from chaski_runtime.kube.client import KubeApiError
from chaski_runtime.observability.metrics.queue_gauges import QueueReading

_log = logging.getLogger(__name__)
_GRACE_SECONDS = 3.0  # for a check in progress at the end


class ScalerLoop:
    """Scales all routes. Call `run` once."""

    def __init__(self, dependencies: ScalerDependencies, random: Callable[[], float]) -> None:
        self._deps = dependencies
        slots = ReconcileIntervals(routes_at_once=dependencies.intervals.routes_at_once)
        self._random = random
        self._queue = WorkQueue(self._check, slots, random)
        self._scalers: dict[Key, RouteScaler] = {}
        dependencies.metrics.observe_replicas(self._replicas)
        dependencies.metrics.observe_queue(self._readings)
        dependencies.metrics.observe_unserved(self._unserved)

    async def run(self) -> None:
        """Runs until cancelled."""
        intervals = self._deps.intervals
        try:
            while True:
                keys = self._deps.cluster.keys()
                for key in keys:
                    # Spreads the routes, and lets the reconciler write first after a start.
                    self._queue.add(key, self._random() * min(1.0, intervals.check_seconds))
                for key in self._scalers.keys() - keys:
                    self._queue.enqueue(key)  # which forgets it
                await asyncio.sleep(intervals.roster_seconds)
        finally:
            self._deps.idle.clear()  # what is put on queues from now on is not noted
            await self._queue.stop()

    def note(self, report: Report) -> None:
        """Notes what ingest has put on queues."""
        for key, scaler in self._scalers.items():
            if scaler.note(report):
                self._queue.enqueue(key)

    async def _check(self, key: Key) -> float | None:
        """Checks a route; returns the seconds until the next check, None if it was deleted or is another installation's.

        A stop does not interrupt a check in the middle of a write, unless it hangs.
        """
        document = self._deps.cluster.route(key)
        if document is None:
            self._scalers.pop(key, None)
            self._deps.idle.discard(key)
            self._deps.metrics.forget_route(*key)
            return None
        scaler = self._scalers.get(key)
        if scaler is None:
            scaler = self._scalers[key] = RouteScaler(key, self._deps)
        check = asyncio.create_task(self._check_in_time(scaler, document))
        try:
            scalable = await asyncio.shield(check)
        except asyncio.CancelledError:
            await asyncio.wait([check], timeout=_GRACE_SECONDS)
            check.cancel()
            await asyncio.gather(check, return_exceptions=True)
            raise
        intervals = self._deps.intervals
        return intervals.check_seconds if scalable else min(intervals.roster_seconds, intervals.check_seconds)

    async def _check_in_time(self, scaler: RouteScaler, document: Document) -> bool:
        timeout = self._deps.intervals.timeout_seconds
        try:
            async with asyncio.timeout(timeout):
                return await scaler.check(document)
        except TimeoutError:
            _log.warning("%s/%s: autoscaler check timed out after %g s", *scaler.key, timeout)
        except (KubeApiError, LeaseLostError) as error:
            _log.warning("%s/%s: could not write the autoscaler's status: %s", *scaler.key, error)
        except Exception:  # noqa: BLE001 - no exception may end the checks of this route
            _log.exception("%s/%s: autoscaler check failed", *scaler.key)
        return True

    def _replicas(self) -> dict[tuple[str, ...], int]:
        values: dict[tuple[str, ...], int] = {}
        for scaler in self._scalers.values():
            values |= scaler.replicas()
        return values

    def _unserved(self) -> dict[tuple[str, ...], float]:
        values: dict[tuple[str, ...], float] = {}
        for key, scaler in self._scalers.items():
            for row, seconds in scaler.ages.unserved_seconds().items():
                labels = (*key, _queue_of(row))
                values[labels] = max(values.get(labels, 0.0), seconds)
        return values

    def _readings(self) -> Iterator[QueueReading]:
        for (namespace, route), scaler in self._scalers.items():
            by_queue: dict[str, list[QueueCounts]] = {}
            for row, counts in scaler.counts.items():
                by_queue.setdefault(_queue_of(row), []).append(counts)
            for queue, parts in by_queue.items():
                counts = QueueCounts.of(parts)
                yield QueueReading(namespace, route, queue, counts, None if counts.total else 0.0)


def _queue_of(row: str) -> str:
    return row.partition(".")[0]  # older generations count under the queue's name


@dataclass(frozen=True, slots=True)
class AutoscalerParts:
    """What the autoscaler shares with the other parts of the operator."""

    cluster: ClusterView
    loader: RouteLoader  # the reconciler's
    intervals: ReconcileIntervals
    metrics: OperatorMetrics
    clock: Clock
    idle: set[Key]  # kept up to date: the routes that have neither Pods nor messages, and get none unnoticed
    #: Makes what asks the Pods of ingest, with the function for its reports; None: they are not asked.
    follow_ingest: Callable[[Callable[[Report], None]], IngestActivity] | None


async def run_autoscaler(parts: AutoscalerParts) -> None:
    """Scales all routes until cancelled, with their queues on SQS and their Pods at their addresses.

    Raises:
        BackendRejectedError: `Configuration`; the AWS configuration is invalid.
    """

    def count(action: str, result: str) -> None:
        parts.metrics.aws_request("sqs", action, result)

    async with AsyncExitStack() as stack:
        backend = await open_backend(None, parts.clock, on_sqs_request=count)
        stack.push_async_callback(backend.close)
        await backend.measure_clock()
        scraper = Scraper()
        stack.push_async_callback(scraper.close)

        async def read_queue(url: str) -> Mapping[str, str]:
            return await backend.queue(url).attributes()

        await _run(parts, read_queue, scraper)


async def _run(
    parts: AutoscalerParts, read_queue: Callable[[str], Awaitable[Mapping[str, str]]], scraper: Scraper
) -> None:
    activity: IngestActivity | None = None
    intervals = ScalerIntervals(
        check_seconds=parts.intervals.scaling_seconds,
        idle_seconds=parts.intervals.idle_seconds,
        scaling=with_window(parts.intervals.down_window_seconds),
    )
    dependencies = ScalerDependencies(
        cluster=parts.cluster,
        loader=parts.loader,
        read_queue=read_queue,
        scrape_pods=scraper.scrape,
        metrics=parts.metrics,
        clock=parts.clock,
        idle=parts.idle,
        reported=lambda: activity is not None and activity.complete(),
        intervals=intervals,
    )
    loop = ScalerLoop(dependencies, system_random)
    async with asyncio.TaskGroup() as group:
        if parts.follow_ingest is not None:
            activity = parts.follow_ingest(loop.note)
            group.create_task(activity.run())
        group.create_task(loop.run())
