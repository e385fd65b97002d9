"""The workers of `chaski dev`: one per route, both stages."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

from chaski_core.ports import Backend, Clock
from chaski_core.route.resolved import ResolvedRoute
from chaski_runtime.observability.logs import Logs
from chaski_runtime.observability.tracing import Tracing
from chaski_worker.consumer.factory import DelivererDependencies, make_deliverer, make_guard
from chaski_worker.consumer.worker import Worker
from chaski_worker.metrics import WorkerMetrics
from chaski_worker.settings import NO_OVERRIDES, WorkerOverrides, WorkerSettings, with_overrides

_log = logging.getLogger(__name__)

_STALE_POLL_SECONDS = 60.0  # three long polls
# The embedded broker's counts are exact, so one poll shows that an older generation is empty.
_SETTINGS = WorkerSettings(drained_polls=1, drained_over_seconds=0.0, observe_interval_seconds=2.0)


class Workers:
    """Delivers for several routes until they are drained."""

    def __init__(  # noqa: PLR0913 - the dependencies of a worker
        self,
        routes: Sequence[ResolvedRoute],
        backend: Backend,
        metrics: WorkerMetrics,
        logs: Logs,
        clock: Clock,
        *,
        overrides: WorkerOverrides = NO_OVERRIDES,
        secrets: Path | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        """Creates the workers.

        Args:
            routes: the routes to deliver.
            backend: their queues and stores.
            metrics: shared by all workers.
            logs: shared by all workers.
            clock: time.
            overrides: of settings, by flags of the command.
            secrets: folder with one folder per Secret; None: nothing is signed.
            tracing: creates a span per attempt; None disables it.

        Raises:
            InvalidInputError: a Secret that a route names can't be used.
        """
        settings = with_overrides(_SETTINGS, overrides)
        dependencies = DelivererDependencies(clock, permit_loopback=True, secrets=secrets, tracing=tracing)
        self._deliverers = [make_deliverer(each.route, metrics, dependencies) for each in routes]
        self._workers = {
            resolved.route.key: Worker(
                resolved,
                backend=backend,
                guard=make_guard(resolved.route),
                deliver=deliverer.deliver,
                metrics=metrics,
                logs=logs,
                clock=clock,
                settings=settings,
            )
            for resolved, deliverer in zip(routes, self._deliverers, strict=True)
        }
        self._running: dict[asyncio.Task[None], str] = {}

    def start(self) -> None:
        self._running = {asyncio.create_task(worker.run()): key for key, worker in self._workers.items()}

    async def run_until(self, stop: asyncio.Event) -> bool:
        """Waits for `stop`; True if a worker ended before it, which is an error."""
        stopping = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait([stopping, *self._running], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        failed = {task: key for task, key in self._running.items() if task in done}
        for task, key in failed.items():
            _log.critical("worker of %s stopped unexpectedly", key, exc_info=task.exception())
        return bool(failed)

    async def close(self) -> None:
        """Stops receiving, and waits until attempts in flight have finished or the drain timeout is reached."""
        for worker in self._workers.values():
            worker.stop()
        await asyncio.gather(*self._running, return_exceptions=True)
        for deliverer in self._deliverers:
            await deliverer.close()

    def live(self) -> str | None:
        """None while polls succeed; else the routes without a recent poll."""
        ages = {key: worker.last_poll_age() for key, worker in self._workers.items()}
        stale = [key for key, age in ages.items() if age is not None and age > _STALE_POLL_SECONDS]
        return f"no successful poll for {_STALE_POLL_SECONDS:g} s: {', '.join(stale)}" if stale else None
