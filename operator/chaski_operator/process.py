"""The operator's process."""

import asyncio
import logging
import random
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

from chaski_aws.provision.clients import Aws, BotoAws
from chaski_aws.provision.desired import ProvisionSettings
from chaski_aws.provision.plan import DrainRule
from chaski_core.ports import Clock
from chaski_operator.autoscaling.loop import Autoscaler
from chaski_operator.installation import InstallationUnknownError, installation_of
from chaski_operator.kube.cache import ObjectCache, RouteCache, key_of
from chaski_operator.kube.handlers import KopfThread, event_registry
from chaski_operator.kube.informers import Informers
from chaski_operator.kube.lease import Lease, LeaseLostError
from chaski_operator.kube.workqueue import WorkQueue
from chaski_operator.manifests.kinds import KINDS
from chaski_operator.metrics import OperatorMetrics
from chaski_operator.replay.reconciler import ReplayReconciler
from chaski_operator.route.aws_resources import AwsResources, MeteredAws
from chaski_operator.route.reconciler import Reconciler
from chaski_operator.settings import OperatorSettings, ReconcileIntervals
from chaski_runtime.kube.client import KubeApi, KubeApiError, KubeRefusedError
from chaski_runtime.kube.config import KubeAccess
from chaski_runtime.kube.official import OfficialTransport
from chaski_runtime.observability.tracing import Tracing, tracing_of
from chaski_runtime.process import health
from chaski_runtime.process.clock import SystemClock
from chaski_runtime.process.corrected_clock import CorrectedClock
from chaski_runtime.process.lifecycle import stop_on_signals

_log = logging.getLogger(__name__)
_STALE_REFRESHES = 3.0  # resync intervals without a full list after which the process is not alive
_BACKOFF_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """The address of the health and metrics endpoints."""

    host: str
    port: int  # 0: any free port


async def serve(settings: OperatorSettings, access: KubeAccess, address: ListenAddress) -> None:
    """Runs until SIGTERM or SIGINT.

    Raises:
        ProvisionError: the AWS configuration is invalid.
        OSError: the port can't be bound.
    """
    logging.getLogger("botocore").setLevel(logging.WARNING)
    # It warns when more threads than pooled connections are in use.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    stop, clock, metrics = stop_on_signals(), CorrectedClock(SystemClock()), OperatorMetrics()
    metrics.observe_clock(clock.offset_seconds)
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(
            KubeApi(access, user_agent="chaski-operator", transport=OfficialTransport)
        )
        aws = MeteredAws(BotoAws(clock=clock), metrics.aws_request)
        tracing = await stack.enter_async_context(tracing_of("chaski-operator"))
        operator = Operator(settings, access, api=api, aws=aws, metrics=metrics, clock=clock, tracing=tracing)
        stack.callback(operator.close)
        server = await health.start(
            address.host, address.port, metrics=metrics, live=operator.live, ready=operator.ready
        )
        stack.push_async_callback(server.close)
        url = f"http://{address.host}:{server.port}/metrics"
        _log.info("started, metrics on %s", url, extra={"ecs": {"event.action": "ready", "chaski.metrics.url": url}})
        await operator.run(stop)
    _log.info("stopped")


class Operator:
    """The operator with all its parts. Call `run` once."""

    def __init__(  # noqa: PLR0913 - what a test replaces
        self,
        settings: OperatorSettings,
        access: KubeAccess,
        *,
        api: KubeApi,
        aws: Aws,
        metrics: OperatorMetrics,
        clock: Clock,
        tracing: Tracing | None = None,
    ) -> None:
        self._settings = settings
        self._access = access
        self._api = api
        self._clock = clock
        intervals = settings.intervals
        self._aws = AwsResources(aws, threads=intervals.aws_threads, rule=_drain_rule(intervals))
        self.routes, self.objects = RouteCache(), ObjectCache()
        self._informers = Informers(api, self.routes, self.objects, settings.namespaces, clock)
        self._reconciler = Reconciler(
            api=api,
            aws=self._aws,
            routes=self.routes,
            objects=self.objects,
            settings=settings,
            metrics=metrics,
            clock=clock,
            tracing=tracing,
        )
        self._queue = WorkQueue(self._reconciler.reconcile, intervals, random.random)
        self._informers.enqueue = self._queue.enqueue
        self._autoscaler = Autoscaler(
            settings,
            api=api,
            routes=self.routes,
            objects=self.objects,
            reconciler=self._reconciler,
            queue=self._queue,
            metrics=metrics,
            clock=clock,
        )
        self._replays = ReplayReconciler(api, self.routes, settings, clock)
        self._listed_at: float | None = None  # monotonic
        self._listed = asyncio.Event()
        self._kopf: KopfThread | None = None
        metrics.observe_watch(self._informers.age_seconds)
        metrics.observe_conditions(self._conditions)

    def live(self) -> str | None:
        """Why the process must be restarted; None if it is alive."""
        if self._listed_at is None:
            return None  # waiting for the API server, the CRD or the Lease is not a failure
        age = self._clock.monotonic() - self._listed_at
        limit = _STALE_REFRESHES * self._settings.intervals.resync_seconds
        return None if age <= limit else f"no successful list of the cluster for {age:.0f} s (limit {limit:.0f} s)"

    def ready(self) -> str | None:
        """Why the process does not reconcile yet; None if it does."""
        return None if self._listed_at is not None else "waiting for the Lease, or for the API server"

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until stopped; without the Lease it waits and writes nothing."""
        lease = Lease(self._api, self._settings.lease, self._clock)
        while await lease.acquire(stop.is_set):
            try:
                await self._run_with_lease(lease, stop)
            except LeaseLostError as error:
                self._listed_at = None
                _log.warning("%s; pausing writes until it is reacquired", error)
        await lease.release()

    async def _run_with_lease(self, lease: Lease, stop: asyncio.Event) -> None:
        """Runs all tasks until stopped.

        Raises:
            LeaseLostError: the tasks were cancelled when it was lost.
        """
        tasks = [
            asyncio.create_task(lease.keep(), name="lease"),
            asyncio.create_task(self._watch(), name="watch"),
            asyncio.create_task(self._refresh_periodically(), name="refresh"),
            asyncio.create_task(self._autoscaler.run(), name="autoscaler"),
            asyncio.create_task(self._run_replays(), name="replays"),
        ]
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            finished, _ = await asyncio.wait((*tasks, stopping), return_when=asyncio.FIRST_COMPLETED)
            for task in finished - {stopping}:
                task.result()
                raise RuntimeError(f"the task {task.get_name()} ended unexpectedly")
        finally:
            await self._queue.stop()
            for task in (*tasks, stopping):
                task.cancel()
            await asyncio.gather(*tasks, stopping, return_exceptions=True)

    def close(self) -> None:
        """Waits for calls to AWS in progress."""
        self._aws.close()

    async def _identify(self) -> None:
        """Determines the installation, which owns all queues and tables of this process, once.

        Raises:
            InstallationUnknownError: it can't be determined at the moment.
        """
        if self._aws.settings is None:
            owner = self._settings.installation or await installation_of(self._api)
            self._aws.settings = ProvisionSettings(owner)
            _log.info("installation %s: managing the queues and tables that are tagged with this owner", owner)

    async def _first_listing(self) -> None:
        """Waits until everything was listed once, then enqueues every route."""
        while True:
            try:
                await self._identify()
                await self._informers.refresh()
                break
            except InstallationUnknownError as error:
                _log.warning("%s", error)
            except KubeRefusedError as error:
                missing = error.status == 404
                _log.warning("%s", "the CRD of ChaskiRoute is not installed yet" if missing else error)
            except KubeApiError as error:
                _log.warning("can't list the cluster's objects yet: %s", error)
            await asyncio.sleep(_BACKOFF_SECONDS)
        self._listed_at = self._clock.monotonic()
        self._listed.set()
        for route in self.routes:
            self._queue.enqueue(key_of(route))

    async def _watch(self) -> None:
        """Lists everything, then watches until cancelled; watches that end are restarted."""
        await self._first_listing()
        handlers = {kind: self._informers.handler_for(kind) for kind in KINDS}
        while True:
            registry = event_registry(self._access, self._informers.on_route, handlers)
            self._kopf = thread = KopfThread(registry, self._settings.namespaces, list(KINDS))
            thread.start()
            try:
                cause = await thread.ended()
            except asyncio.CancelledError:
                thread.stop()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_BACKOFF_SECONDS):
                        await thread.ended()
                raise
            _log.warning("restarting the watches: %s", cause)
            await asyncio.sleep(_BACKOFF_SECONDS / 5)

    async def _refresh_periodically(self) -> None:
        while True:
            await asyncio.sleep(self._settings.intervals.resync_seconds)
            try:
                stale = await self._informers.refresh()
            except KubeApiError as error:
                _log.warning("can't list the cluster's objects: %s", error)
                continue
            self._listed_at = self._clock.monotonic()
            if stale and self._kopf is not None:
                _log.warning("watch missed changes of %s; restarting the watches", ", ".join(sorted(stale)))
                self._kopf.stop()

    async def _run_replays(self) -> None:
        await self._listed.wait()  # a route that was not listed yet would be reported as missing
        await self._replays.run()

    def _conditions(self) -> dict[tuple[str, ...], bool]:
        return {
            (*key_of(route), each["type"]): each["status"] == "True"
            for route in self.routes
            for each in (route.get("status") or {}).get("conditions") or ()
            if each["status"] in ("True", "False")
        }


def _drain_rule(intervals: ReconcileIntervals) -> DrainRule:
    return DrainRule(intervals.drained_checks, intervals.drained_seconds, intervals.fence_seconds)
