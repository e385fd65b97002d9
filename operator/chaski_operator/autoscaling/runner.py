"""The autoscaler, put together: SQS by its own client, the worker Pods by a watch, the rest from what the operator saw."""

import asyncio
import random
from collections.abc import Mapping
from contextlib import AsyncExitStack

from chaski_aws.backend import open_backend
from chaski_core.ports import Clock
from chaski_operator.autoscaling.cluster_view import KubeCluster, WorkerPodWatcher
from chaski_operator.autoscaling.loop import Scaler
from chaski_operator.autoscaling.policy import paced
from chaski_operator.autoscaling.scaler import Parts, ScalerIntervals
from chaski_operator.kube.cache import OwnedObjects
from chaski_operator.kube.route_cache import Routes
from chaski_operator.kube.workqueue import Key, WorkQueue
from chaski_operator.manifests.manifests import DEPLOYMENT, jobs_of, sweeper_of
from chaski_operator.pods.metrics_client import Scraper
from chaski_operator.route.reconciler import Reconciler
from chaski_operator.settings import OperatorSettings
from chaski_runtime.kube.client import KubeApi
from chaski_runtime.observability.metrics.operator_metrics import OperatorMetrics


class Autoscaling:
    """Scales while it runs. Call `run` once, while the Lease is held."""

    def __init__(  # noqa: PLR0913 - the parts of the operator that it goes by
        self,
        settings: OperatorSettings,
        *,
        api: KubeApi,
        routes: Routes,
        owned: OwnedObjects,
        reconciler: Reconciler,
        rounds: WorkQueue,
        metrics: OperatorMetrics,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._api = api
        self._routes = routes
        self._owned = owned
        self._reconciler = reconciler
        self._rounds = rounds
        self._metrics = metrics
        self._clock = clock

    async def run(self) -> None:
        """Looks until cancelled.

        Raises:
            BackendRejectedError: `Configuration`; the AWS configuration can't be used.
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
                WorkerPodWatcher(self._api, namespace, self._clock, random.random)
                for namespace in self._settings.namespaces or (None,)
            ]
            parts = Parts(
                cluster=self._cluster(pods),
                read_queue=read_queue,
                ask_pods=scraper.ask,
                workers_of=jobs_of,
                sweeper_of=sweeper_of,
                metrics=self._metrics,
                clock=self._clock,
                pace=self._pace(),
            )
            async with asyncio.TaskGroup() as tasks:
                for each in pods:
                    tasks.create_task(each.mirror.run())
                tasks.create_task(Scaler(parts, random.random).run())

    def _pace(self) -> ScalerIntervals:
        pace = self._settings.pace
        return ScalerIntervals(look_seconds=pace.scaling_seconds, scaling=paced(pace.down_window_seconds))

    def _cluster(self, pods: list[WorkerPodWatcher]) -> KubeCluster:
        return KubeCluster(
            self._api,
            routes=self._routes.by_key,
            deployment=lambda namespace, name: self._owned.get(DEPLOYMENT, namespace, name),
            pods=pods,
            reconcile=self._reconcile,
            noted=self._routes.put,
            identity=self._settings.lease.identity,
        )

    def _reconcile(self, key: Key) -> None:
        self._reconciler.doubt(key)
        self._rounds.wake(key)
