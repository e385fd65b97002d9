"""The operator's process, from the first look to the end."""

import asyncio
import logging
import random
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

from chaski_aws.provision.clients import Aws, BotoAws
from chaski_aws.provision.drain import DrainRule
from chaski_aws.provision.settings import ProvisionSettings
from chaski_core.ports import Clock
from chaski_operator.autoscaling.runner import Autoscaling
from chaski_operator.installation import InstallationUnknownError, installation_of
from chaski_operator.kube.cache import OwnedObjects
from chaski_operator.kube.handlers import KopfThread, registry
from chaski_operator.kube.informers import Watching
from chaski_operator.kube.lease import Lease, LeaseLostError
from chaski_operator.kube.route_cache import Routes, key_of
from chaski_operator.kube.workqueue import WorkQueue
from chaski_operator.manifests.manifests import KINDS
from chaski_operator.replay.reconciler import Replays
from chaski_operator.route.aws_resources import AwsResources
from chaski_operator.route.metered_aws import MeteredAws
from chaski_operator.route.reconciler import Reconciler
from chaski_operator.settings import OperatorSettings, ReconcileIntervals
from chaski_runtime.kube.client import KubeApi, KubeApiError, KubeRefusedError
from chaski_runtime.kube.config import KubeAccess
from chaski_runtime.observability.metrics.operator_metrics import OperatorMetrics
from chaski_runtime.observability.tracing import Tracing, tracing_of
from chaski_runtime.process import health
from chaski_runtime.process.clock import SystemClock
from chaski_runtime.process.corrected_clock import CorrectedClock
from chaski_runtime.process.signals import stop_on_signals

_log = logging.getLogger(__name__)
_STALE_REFRESHES = 3.0  # full listings in a row that may fail before the process is called dead
_BACKOFF_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Listening:
    """Where health and metrics are served."""

    host: str
    port: int  # 0: any free one


async def serve(settings: OperatorSettings, access: KubeAccess, listening: Listening) -> None:
    """Works until SIGTERM or SIGINT.

    Raises:
        ProvisionError: the AWS configuration can't be used.
        OSError: the port can't be listened on.
    """
    logging.getLogger("botocore").setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(
        logging.ERROR
    )  # that more threads than connections are at work
    stop, clock, metrics = stop_on_signals(), CorrectedClock(SystemClock()), OperatorMetrics()
    metrics.observe_clock(clock.offset_seconds)
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(KubeApi(access, user_agent="chaski-operator"))
        aws = MeteredAws(BotoAws(clock=clock), metrics.aws_request)
        tracing = await stack.enter_async_context(tracing_of("chaski-operator"))
        operator = Operator(settings, access, api=api, aws=aws, metrics=metrics, clock=clock, tracing=tracing)
        stack.callback(operator.close)
        side = await health.start(
            listening.host, listening.port, metrics=metrics, live=operator.live, ready=operator.ready
        )
        stack.push_async_callback(side.close)
        url = f"http://{listening.host}:{side.port}/metrics"
        _log.info("started, metrics on %s", url, extra={"ecs": {"event.action": "ready", "chaski.metrics.url": url}})
        await operator.run(stop)
    _log.info("stopped")


class Operator:
    """All parts of the operator, put together. Call `run` once."""

    def __init__(  # noqa: PLR0913 - its parts, each given by its maker
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
        pace = settings.pace
        self._cloud = AwsResources(aws, threads=pace.aws_threads, rule=_rule(pace))
        self.routes, self.owned = Routes(), OwnedObjects()
        self._watching = Watching(api, self.routes, self.owned, settings.namespaces, clock)
        self._reconciler = Reconciler(
            api=api,
            cloud=self._cloud,
            routes=self.routes,
            owned=self.owned,
            settings=settings,
            metrics=metrics,
            clock=clock,
            tracing=tracing,
        )
        self._rounds = WorkQueue(self._reconciler.look, pace, random.random)
        self._watching.wake = self._rounds.wake
        self._autoscaling = Autoscaling(
            settings,
            api=api,
            routes=self.routes,
            owned=self.owned,
            reconciler=self._reconciler,
            rounds=self._rounds,
            metrics=metrics,
            clock=clock,
        )
        self._replays = Replays(api, self.routes, settings, clock)
        self._listed_at: float | None = None  # monotonic
        self._listed = asyncio.Event()
        self._kopf: KopfThread | None = None
        metrics.observe_watch(self._watching.age_seconds)
        metrics.observe_conditions(self._conditions)

    def live(self) -> str | None:
        """Why the process should be restarted."""
        if self._listed_at is None:
            return None  # waiting for the API server, the definition or the Lease is no reason
        age, most = self._clock.monotonic() - self._listed_at, _STALE_REFRESHES * self._settings.pace.resync_seconds
        return None if age <= most else f"the cluster was not listed for {age:.0f} s"

    def ready(self) -> str | None:
        """Why it does no work yet."""
        return None if self._listed_at is not None else "waiting for the Lease, or for the API server"

    async def run(self, stop: asyncio.Event) -> None:
        """Works until stopped; without the Lease it waits, and writes nothing."""
        lease = Lease(self._api, self._settings.lease, self._clock)
        while await lease.acquire(stop.is_set):
            try:
                await self._work(lease, stop)
            except LeaseLostError as error:
                self._listed_at = None
                _log.warning("%s: nothing is written until it is ours again", error)
        await lease.release()

    async def _work(self, lease: Lease, stop: asyncio.Event) -> None:
        """Works until stopped.

        Raises:
            LeaseLostError: nothing was written from then on.
        """
        jobs = [
            asyncio.create_task(lease.keep(), name="lease"),
            asyncio.create_task(self._watch(), name="watch"),
            asyncio.create_task(self._refresh_often(), name="refresh"),
            asyncio.create_task(self._autoscaling.run(), name="autoscaler"),
            asyncio.create_task(self._run_replays(), name="replays"),
        ]
        asked = asyncio.create_task(stop.wait(), name="stop")
        try:
            finished, _ = await asyncio.wait((*jobs, asked), return_when=asyncio.FIRST_COMPLETED)
            for job in finished - {asked}:
                job.result()
                raise RuntimeError(f"the {job.get_name()} ended by itself")
        finally:
            await self._rounds.stop()
            for job in (*jobs, asked):
                job.cancel()
            await asyncio.gather(*jobs, asked, return_exceptions=True)

    def close(self) -> None:
        """Ends the threads."""
        self._cloud.close()

    async def _identify(self) -> None:
        """Finds out whose queues and tables this process makes, once.

        Raises:
            InstallationUnknownError: not now.
        """
        if self._cloud.settings is None:
            owner = self._settings.installation or await installation_of(self._api)
            self._cloud.settings = ProvisionSettings(owner)
            _log.info("installation %s: queues and tables that carry this name as their owner are this one's", owner)

    async def _first_listing(self) -> None:
        """Waits until everything was listed once, and has every route looked at."""
        while True:
            try:
                await self._identify()
                await self._watching.refresh()
                break
            except InstallationUnknownError as error:
                _log.warning("%s", error)
            except KubeRefusedError as error:
                missing = error.status == 404
                _log.warning("%s", "the ChaskiRoute's definition is not installed yet" if missing else error)
            except KubeApiError as error:
                _log.warning("the cluster can't be listed yet: %s", error)
            await asyncio.sleep(_BACKOFF_SECONDS)
        self._listed_at = self._clock.monotonic()
        self._listed.set()
        for route in self.routes:
            self._rounds.wake(key_of(route))

    async def _watch(self) -> None:
        """Lists everything, then watches until cancelled; where the watches break for good they are begun anew."""
        await self._first_listing()
        tells = {kind: self._watching.on_kind(kind) for kind in KINDS}
        while True:
            made = registry(self._access, self._watching.on_route, tells)
            self._kopf = thread = KopfThread(made, self._settings.namespaces, list(KINDS))
            thread.start()
            try:
                why = await thread.ended()
            except asyncio.CancelledError:
                thread.stop()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_BACKOFF_SECONDS):
                        await thread.ended()
                raise
            _log.warning("the watches are begun anew: %s", why)
            await asyncio.sleep(_BACKOFF_SECONDS / 5)

    async def _refresh_often(self) -> None:
        while True:
            await asyncio.sleep(self._settings.pace.resync_seconds)
            try:
                silent = await self._watching.refresh()
            except KubeApiError as error:
                _log.warning("the cluster can't be listed: %s", error)
                continue
            self._listed_at = self._clock.monotonic()
            if silent and self._kopf is not None:
                _log.warning(
                    "changes of %s were listed that no watch told of: watching anew", ", ".join(sorted(silent))
                )
                self._kopf.stop()

    async def _run_replays(self) -> None:
        await self._listed.wait()  # a route that was not listed yet would be called missing
        await self._replays.run()

    def _conditions(self) -> dict[tuple[str, ...], bool]:
        return {
            (*key_of(route), each["type"]): each["status"] == "True"
            for route in self.routes
            for each in (route.get("status") or {}).get("conditions") or ()
            if each["status"] in ("True", "False")
        }


def _rule(pace: ReconcileIntervals) -> DrainRule:
    return DrainRule(pace.drained_looks, pace.drained_seconds, pace.fence_seconds)
