"""The autoscaler: a task for each route checks its queues and Pods every few seconds.

A check has a timeout, so a route whose queues hang or refuse delays no other. One GetQueueAttributes for each queue returns
counts and settings; if the settings have changed since the last check, the route is reconciled at once.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from random import random as system_random

from chaski_aws.backend import open_backend
from chaski_core.ports import Clock, QueueCounts
from chaski_operator.autoscaling.cluster_view import KubeCluster, WorkerPodWatcher
from chaski_operator.autoscaling.dependencies import ScalerDependencies, ScalerIntervals
from chaski_operator.autoscaling.policy import with_window
from chaski_operator.autoscaling.scaler import RouteScaler
from chaski_operator.kube.cache import ObjectCache, RouteCache
from chaski_operator.kube.workqueue import Key, WorkQueue
from chaski_operator.manifests.kinds import DEPLOYMENT
from chaski_operator.manifests.worker_pod import sweeper_of, worker_deployments
from chaski_operator.metrics import OperatorMetrics
from chaski_operator.pods.metrics_client import Scraper
from chaski_operator.route.reconciler import Reconciler
from chaski_operator.settings import OperatorSettings
from chaski_runtime.kube.client import KubeApi, KubeApiError
from chaski_runtime.observability.metrics.queue_gauges import QueueReading

_log = logging.getLogger(__name__)
_GRACE_SECONDS = 3.0  # for a check in progress at the end


class ScalerLoop:
    """Scales all routes. Call `run` once."""

    def __init__(self, dependencies: ScalerDependencies, random: Callable[[], float]) -> None:
        self._deps = dependencies
        self._random = random
        self._slots = asyncio.Semaphore(dependencies.intervals.routes_at_once)
        self._scalers: dict[Key, RouteScaler] = {}
        dependencies.metrics.observe_replicas(self._replicas)
        dependencies.metrics.observe_queue(self._readings)
        dependencies.metrics.observe_unserved(self._unserved)

    async def run(self) -> None:
        """Runs until cancelled."""
        tasks: dict[Key, asyncio.Task[None]] = {}
        try:
            while True:
                wanted = set(self._deps.cluster.routes())
                for key in tasks.keys() - wanted:
                    tasks.pop(key).cancel()
                    del self._scalers[key]
                for key in wanted - tasks.keys():
                    scaler = self._scalers[key] = RouteScaler(key, self._deps)
                    tasks[key] = asyncio.create_task(self._run_route(scaler))
                await asyncio.sleep(self._deps.intervals.roster_seconds)
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)

    async def _run_route(self, scaler: RouteScaler) -> None:
        intervals = self._deps.intervals
        await asyncio.sleep(self._random() * min(1.0, intervals.check_seconds))  # spreads the routes
        while True:
            scalable = await self._check_unbroken(scaler)
            seconds = intervals.check_seconds if scalable else min(intervals.roster_seconds, intervals.check_seconds)
            await asyncio.sleep(seconds * (0.95 + 0.1 * self._random()))

    async def _check_unbroken(self, scaler: RouteScaler) -> bool:
        """A check that a stop does not interrupt in the middle of a write, unless it hangs."""
        check = asyncio.create_task(self._check(scaler))
        try:
            return await asyncio.shield(check)
        except asyncio.CancelledError:
            await asyncio.wait([check], timeout=_GRACE_SECONDS)
            check.cancel()
            await asyncio.gather(check, return_exceptions=True)
            raise

    async def _check(self, scaler: RouteScaler) -> bool:
        document = self._deps.cluster.routes().get(scaler.key)
        if document is None:
            return False
        timeout = self._deps.intervals.timeout_seconds
        try:
            async with self._slots, asyncio.timeout(timeout):
                return await scaler.check(document)
        except TimeoutError:
            _log.warning("%s/%s: autoscaler check timed out after %g s", *scaler.key, timeout)
        except KubeApiError as error:
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
                yield QueueReading(namespace, route, queue, QueueCounts.of(parts), None)


def _queue_of(row: str) -> str:
    return row.partition(".")[0]  # older generations count under the queue's name


class Autoscaler:
    """The scaler loop with its real dependencies: SQS by its own client, Pods by a watch, the rest from the caches.

    Call `run` once, while the Lease is held.
    """

    def __init__(  # noqa: PLR0913 - the operator's parts that it uses
        self,
        settings: OperatorSettings,
        *,
        api: KubeApi,
        routes: RouteCache,
        objects: ObjectCache,
        reconciler: Reconciler,
        queue: WorkQueue,
        metrics: OperatorMetrics,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._api = api
        self._routes = routes
        self._objects = objects
        self._reconciler = reconciler
        self._queue = queue
        self._metrics = metrics
        self._clock = clock

    async def run(self) -> None:
        """Runs until cancelled.

        Raises:
            BackendRejectedError: `Configuration`; the AWS configuration is invalid.
        """

        def count(action: str, result: str) -> None:
            self._metrics.aws_request("sqs", action, result)

        async with AsyncExitStack() as stack:
            backend = await open_backend(None, self._clock, on_sqs_request=count)
            stack.push_async_callback(backend.close)
            await backend.measure_clock()
            scraper = Scraper()
            stack.push_async_callback(scraper.close)

            async def read_queue(url: str) -> Mapping[str, str]:
                return await backend.queue(url).attributes()

            pods = [
                WorkerPodWatcher(self._api, namespace, self._clock, system_random)
                for namespace in self._settings.namespaces or (None,)
            ]
            dependencies = ScalerDependencies(
                cluster=self._cluster(pods),
                read_queue=read_queue,
                scrape_pods=scraper.scrape,
                workers_of=worker_deployments,
                sweeper_of=sweeper_of,
                metrics=self._metrics,
                clock=self._clock,
                intervals=self._intervals(),
            )
            async with asyncio.TaskGroup() as tasks:
                for each in pods:
                    tasks.create_task(each.informer.run())
                tasks.create_task(ScalerLoop(dependencies, system_random).run())

    def _intervals(self) -> ScalerIntervals:
        intervals = self._settings.intervals
        return ScalerIntervals(
            check_seconds=intervals.scaling_seconds, scaling=with_window(intervals.down_window_seconds)
        )

    def _cluster(self, pods: list[WorkerPodWatcher]) -> KubeCluster:
        return KubeCluster(
            self._api,
            routes=self._routes.by_key,
            deployment=lambda namespace, name: self._objects.get(DEPLOYMENT, namespace, name),
            pods=pods,
            reconcile=self._reconcile,
            on_written=self._routes.put,
            identity=self._settings.lease.identity,
        )

    def _reconcile(self, key: Key) -> None:
        self._reconciler.invalidate(key)
        self._queue.enqueue(key)
