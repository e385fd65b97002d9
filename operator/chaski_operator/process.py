"""The operator's process."""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from chaski_aws.provision.clients import Aws, BotoAws
from chaski_aws.provision.desired import ProvisionSettings
from chaski_core.ports import Clock
from chaski_operator.autoscaling.cluster_view import ClusterView
from chaski_operator.autoscaling.loop import AutoscalerParts, run_autoscaler
from chaski_operator.aws_calls import MeteredAws, PacedAws
from chaski_operator.installation import Installation, InstallationUnknownError, installation_of
from chaski_operator.kube.cache import ObjectCache, key_of, route_of
from chaski_operator.kube.informers import Informer, ListingSlots
from chaski_operator.kube.lease import Lease, LeaseLostError
from chaski_operator.kube.workqueue import Key, WorkQueue
from chaski_operator.manifests.kinds import POD, REPLAY, ROUTE, Kind, Object
from chaski_operator.metrics import OperatorMetrics
from chaski_operator.pods.ingest_activity import IngestActivity, Report
from chaski_operator.policies.watch import ClusterPolicies
from chaski_operator.replay.reconciler import ReplayReconciler
from chaski_operator.route.aws_resources import AwsResources
from chaski_operator.route.loader import RouteLoader
from chaski_operator.route.reconciler import Reconciler
from chaski_operator.settings import OperatorSettings
from chaski_runtime.kube.client import KubeApi
from chaski_runtime.kube.config import KubeAccess
from chaski_runtime.kube.official import OfficialTransport
from chaski_runtime.observability.tracing import Tracing, tracing_of
from chaski_runtime.process import health
from chaski_runtime.process.clock import SystemClock
from chaski_runtime.process.corrected_clock import CorrectedClock
from chaski_runtime.process.lifecycle import handle_signals, stop_on_signals

_log = logging.getLogger(__name__)
_STALE_REFRESHES = 3.0  # resync intervals without a full list after which the process is not alive
_BACKOFF_SECONDS = 5.0
_FINISH_SECONDS = 10.0  # for calls to AWS in progress at the end, while the Lease is still kept
_CALL_SECONDS = 30.0  # longer than one attempt of a call to AWS


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
        metrics.observe_api_server(api.reachability.unreachable_seconds)
        lease = Lease(api.variant(timeout_seconds=settings.lease.call_seconds), settings.lease, clock)
        boto = BotoAws(clock=clock, admit=lease.check)
        aws = MeteredAws(PacedAws(boto, time.monotonic, time.sleep), metrics.aws_request)
        tracing = await stack.enter_async_context(tracing_of("chaski-operator"))
        operator = Operator(
            settings,
            api=api.variant(admit=lease.check),
            lease=lease,
            aws=aws,
            metrics=metrics,
            clock=clock,
            on_started=lambda: handle_signals(stop),
            tracing=tracing,
        )
        stack.push_async_callback(operator.close)
        server = await health.start(
            address.host, address.port, metrics=metrics, live=operator.live, ready=operator.ready
        )
        stack.push_async_callback(server.close)
        url = f"{server.url}/metrics"
        _log.info("started, metrics on %s", url, extra={"ecs": {"event.action": "ready", "chaski.metrics.url": url}})
        await operator.run(stop)
    _log.info("stopped")


class Operator:
    """The operator with all its parts. Call `run` once."""

    def __init__(  # noqa: PLR0913 - the process's parts
        self,
        settings: OperatorSettings,
        *,
        api: KubeApi,
        lease: Lease,
        aws: Aws,
        metrics: OperatorMetrics,
        clock: Clock,
        on_started: Callable[[], None],
        tracing: Tracing | None = None,
    ) -> None:
        """Makes no call yet; to be created in the event loop.

        Args:
            settings: of the process.
            api: the API server.
            lease: must admit each write of `api` and each call of `aws`.
            aws: the account.
            metrics: of the process.
            clock: time.
            on_started: called when kopf has replaced the process's signal handlers.
            tracing: spans of reconciliations; None: off.
        """
        self._settings, intervals = settings, settings.intervals
        self._api, self._lease, self._clock, self._metrics = api, lease, clock, metrics
        self._idle: set[Key] = set()  # routes without Pods and messages, which the autoscaler keeps
        self._aws = AwsResources(aws, intervals=intervals, clock=clock, idle=self._idle)
        self._cache, self._loader = ObjectCache(), RouteLoader()
        self._installation = Installation(api, self._cache, clock, settings.lease.identity)
        self._policies = ClusterPolicies(
            api, clock, random.random, on_change=self._on_policy_change, metrics=metrics, enabled=settings.policies
        )
        self._replays = ReplayReconciler(api, self._cache, self._installation, settings, clock)
        self._route_queue = WorkQueue(self._reconciler(tracing).reconcile, intervals, random.random)
        self._replay_queue = WorkQueue(self._replays.reconcile, intervals, random.random)
        slots = ListingSlots()
        self._informers = [self._informer(each, slots, on_started) for each in settings.namespaces or (None,)]
        self._is_leading = False
        self._observe(metrics)

    def _reconciler(self, tracing: Tracing | None) -> Reconciler:
        return Reconciler(
            api=self._api,
            aws=self._aws,
            cache=self._cache,
            loader=self._loader,
            installation=self._installation,
            settings=self._settings,
            metrics=self._metrics,
            clock=self._clock,
            policies=self._policies,
            tracing=tracing,
        )

    def _observe(self, metrics: OperatorMetrics) -> None:
        metrics.observe_watch(self._watch_age_seconds)
        metrics.observe_namespaces(self._unavailable)
        metrics.observe_conditions(self._conditions)
        metrics.observe_routes(lambda: self._cache.by_key(ROUTE))
        metrics.observe_left(self._installation.left)

    def _informer(self, namespace: str | None, slots: ListingSlots, on_started: Callable[[], None]) -> Informer:
        return Informer(
            self._api,
            self._cache,
            namespace,
            on_change=self._on_change,
            on_started=on_started,
            slots=slots,
            resync_seconds=self._settings.intervals.resync_seconds,
            clock=self._clock,
        )

    def live(self) -> str | None:
        """Why the process must be restarted; None if it is alive.

        A namespace that can't be listed does not count as long as another one can. A restart loses nothing: the state is in
        the cluster and on AWS. It is the last resort against connections or credentials that this process can't renew.
        """
        unreachable, longest = (
            self._api.reachability.unreachable_seconds(),
            self._settings.intervals.unreachable_seconds,
        )
        if unreachable > longest:
            reason = f"the Kubernetes API server was not reached for {unreachable:.0f} s (limit {longest:.0f} s)"
            _log.error("not alive: %s", reason)
            return reason
        times = [each.listed_at for each in self._informers if each.listed_at is not None]
        if not times:
            return None  # waiting for the API server, the CRD or the Lease is not a failure
        age = self._clock.monotonic() - max(times)
        limit = _STALE_REFRESHES * self._settings.intervals.resync_seconds
        return None if age <= limit else f"no successful list of the cluster for {age:.0f} s (limit {limit:.0f} s)"

    def ready(self) -> str | None:
        """Why the process does not reconcile yet; None if it does."""
        if any(each.listed_at is not None for each in self._informers):
            return None
        return "waiting for the Lease, or for the API server"

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until stopped; without the Lease it waits and writes nothing."""
        while await self._lease.acquire(stop.is_set):
            try:
                await self._run_with_lease(stop)
            except LeaseLostError as error:
                _log.warning("%s; pausing writes until it is reacquired", error)
            # Work of before must not go on beside new work, here or in the next holder of the Lease.
            while not await self._aws.ended(_CALL_SECONDS):
                if stop.is_set():
                    return
        await self._lease.release()

    async def _run_with_lease(self, stop: asyncio.Event) -> None:
        """Runs all tasks until stopped.

        Raises:
            LeaseLostError: the tasks were cancelled when it was lost.
        """
        self._is_leading = True
        keeping = asyncio.create_task(self._lease.keep(), name="lease")
        tasks = [
            asyncio.create_task(self._follow(), name="informers"),
            asyncio.create_task(self._scale(), name="autoscaler"),
        ]
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            finished, _ = await asyncio.wait((keeping, *tasks, stopping), return_when=asyncio.FIRST_COMPLETED)
            for task in finished - {stopping}:
                task.result()
                raise RuntimeError(f"the task {task.get_name()} ended unexpectedly")
        finally:
            self._is_leading = False  # what the watches still report is for the next holder of the Lease
            for task in (*tasks, stopping):
                task.cancel()
            queues = (self._route_queue.stop(), self._replay_queue.stop())
            await asyncio.gather(*queues, *tasks, stopping, return_exceptions=True)
            if not keeping.done():
                await self._aws.ended(_FINISH_SECONDS)
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    async def close(self) -> None:
        """Waits for calls to AWS in progress."""
        await self._replays.close()
        self._aws.close()

    async def _follow(self) -> None:
        """Follows all served namespaces, once it is known whose queues and tables the operator manages."""
        while self._aws.settings is None:
            try:
                owner = self._settings.installation or await installation_of(self._api)
            except InstallationUnknownError as error:
                _log.warning("%s", error)
                await asyncio.sleep(_BACKOFF_SECONDS)
                continue
            self._installation.name = owner
            self._aws.settings = ProvisionSettings(
                owner, self._settings.aws_tags, self._settings.aws_tag_labels, self._settings.kms_key
            )
            _log.info("installation %s: managing the queues and tables that are tagged with this owner", owner)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._policies.follow())
            await self._policies.first_read()
            for informer in self._informers:
                group.create_task(informer.run())

    async def _scale(self) -> None:
        identity = self._settings.lease.identity
        view = ClusterView(self._api, self._cache, self._installation, self._reconcile_fully, identity=identity)
        follow_ingest = None if self._settings.ingest is None else self._follow_ingest
        parts = (view, self._loader, self._settings.intervals, self._metrics, self._clock, self._idle, follow_ingest)
        await run_autoscaler(AutoscalerParts(*parts))

    def _follow_ingest(self, on_report: Callable[[Report], None]) -> IngestActivity:
        assert self._settings.ingest is not None  # noqa: S101 - checked by the caller
        return IngestActivity(self._api, self._settings.ingest, self._clock, random.random, on_report)

    def _on_change(self, kind: Kind, document: Object) -> None:
        if not self._is_leading:
            return
        if kind == REPLAY:
            self._replay_queue.enqueue(key_of(document))
        elif kind == ROUTE:
            self._route_queue.enqueue(key_of(document))
        elif kind != POD:  # which the autoscaler reads when it needs them
            self._route_queue.enqueue(route_of(document))

    def _on_policy_change(self, namespace: str | None) -> None:
        """Has the routes judged again: those of a namespace, or all."""
        if self._is_leading:
            for key in list(self._cache.by_key(ROUTE)):
                if namespace in (None, key[0]):
                    self._route_queue.enqueue(key)

    def _reconcile_fully(self, key: Key) -> None:
        self._aws.invalidate("/".join(key))
        if self._is_leading:
            self._route_queue.enqueue(key)

    def _watch_age_seconds(self) -> float | None:
        """Of the namespace whose watch is the oldest, also if it was refused."""
        ages = [age for each in self._informers if (age := each.age_seconds()) is not None]
        return max(ages, default=None)

    def _unavailable(self) -> dict[tuple[str, ...], int]:
        states = {(each.place,): each.is_available() for each in self._informers}
        return {key: int(not available) for key, available in states.items() if available is not None}

    def _conditions(self) -> dict[tuple[str, ...], bool]:
        return {
            (*key, each["type"]): each["status"] == "True"
            for key, route in list(self._cache.by_key(ROUTE).items())
            if not self._installation.leaves(route)
            for each in (route.get("status") or {}).get("conditions") or ()
            if each["status"] in ("True", "False")
        }
