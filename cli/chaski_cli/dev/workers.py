"""The workers of `chaski dev`: one per route, both stages. A route that changes gets a new worker."""

import asyncio
import logging
from dataclasses import dataclass, replace
from pathlib import Path

from chaski_core.ports import Backend, Clock
from chaski_core.route.resolved import ResolvedRoute
from chaski_runtime.observability.logs import Logs
from chaski_runtime.observability.tracing import Tracing
from chaski_worker.consumer.factory import DelivererDependencies, make_deliverer, make_guard
from chaski_worker.consumer.worker import Worker
from chaski_worker.delivery.http_deliverer import HttpDeliverer
from chaski_worker.metrics import WorkerMetrics
from chaski_worker.settings import NO_OVERRIDES, WorkerOverrides, WorkerSettings, with_overrides

_log = logging.getLogger(__name__)

_STALE_POLL_SECONDS = 60.0  # three long polls
# The embedded broker's counts are exact, so one poll shows that an older generation is empty, unless ingest has still to send
# a message that it began to read before the route changed. Its calls cost little.
_SETTINGS = WorkerSettings(
    drained_polls=1,
    drained_over_seconds=0.0,
    observe_interval_seconds=2.0,
    control_interval_seconds=0.5,
    subject_step_seconds=1,
)
_SENDING_SECONDS = 30.0  # a request may take: 15 to read its body, 10 to send it


@dataclass(slots=True)
class _RouteWorker:
    worker: Worker
    deliverer: HttpDeliverer
    is_stopping: bool = False

    async def run(self) -> None:
        try:
            await self.worker.run()
        finally:
            await self.deliverer.close()

    def stop(self) -> None:
        self.is_stopping = True
        self.worker.stop()


class Workers:
    """Delivers for several routes until they are drained."""

    def __init__(  # noqa: PLR0913 - the dependencies of a worker
        self,
        backend: Backend,
        metrics: WorkerMetrics,
        logs: Logs,
        clock: Clock,
        *,
        overrides: WorkerOverrides = NO_OVERRIDES,
        secrets: Path | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        """Creates no worker yet.

        Args:
            backend: queues and stores of the routes.
            metrics: shared by all workers.
            logs: shared by all workers.
            clock: time.
            overrides: of settings, by flags of the command.
            secrets: folder with one folder per Secret; None: nothing is signed.
            tracing: creates a span per attempt; None disables it.
        """
        self._backend = backend
        self._metrics = metrics
        self._logs = logs
        self._clock = clock
        self._settings = with_overrides(_SETTINGS, overrides)
        self._dependencies = DelivererDependencies(clock, permit_loopback=True, secrets=secrets, tracing=tracing)
        self._workers: dict[str, _RouteWorker] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # those of replaced workers too, until they are drained
        self._failed = asyncio.Event()
        self._is_started = False

    def use(self, resolved: ResolvedRoute) -> None:
        """Adds a route, or replaces its worker by one for its new form.

        The old worker receives nothing from now on. It finishes its attempts in flight, and the messages of their subjects
        stay hidden until then, so order holds.

        Raises:
            InvalidInputError: a Secret that the route names can't be used; its old worker goes on.
        """
        added = self._make(resolved)
        self.remove(resolved.route.key)
        self._workers[resolved.route.key] = added
        if self._is_started:
            self._run(resolved.route.key, added)

    def remove(self, key: str) -> None:
        """Stops the worker of a route, if it has one."""
        if (removed := self._workers.pop(key, None)) is not None:
            removed.stop()

    def start(self) -> None:
        """Starts every worker; those added later start at once."""
        self._is_started = True
        for key, worker in self._workers.items():
            self._run(key, worker)

    async def run_until(self, stop: asyncio.Event) -> bool:
        """Waits for `stop`; True if a worker ended before it, which is an error."""
        waiting = [asyncio.create_task(stop.wait()), asyncio.create_task(self._failed.wait())]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        return self._failed.is_set()

    async def close(self) -> None:
        """Stops receiving, and waits until attempts in flight have finished or the drain timeout is reached."""
        for each in self._workers.values():
            each.stop()
            if not self._is_started:
                await each.deliverer.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def live(self) -> str | None:
        """None while polls succeed; else the routes without a recent poll."""
        ages = {key: each.worker.last_poll_age() for key, each in self._workers.items()}
        stale = [key for key, age in ages.items() if age is not None and age > _STALE_POLL_SECONDS]
        return f"no successful poll for {_STALE_POLL_SECONDS:g} s: {', '.join(stale)}" if stale else None

    def _make(self, resolved: ResolvedRoute) -> _RouteWorker:
        deliverer = make_deliverer(resolved.route, self._metrics, self._dependencies)
        settings = self._settings
        if self._is_started:
            settings = replace(settings, drained_polls=2, drained_over_seconds=_SENDING_SECONDS)
        worker = Worker(
            resolved,
            backend=self._backend,
            guard=make_guard(resolved.route),
            deliver=deliverer.deliver,
            metrics=self._metrics,
            logs=self._logs,
            clock=self._clock,
            settings=settings,
        )
        return _RouteWorker(worker, deliverer)

    def _run(self, key: str, worker: _RouteWorker) -> None:
        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            error = None if task.cancelled() else task.exception()
            if error is not None or not worker.is_stopping:
                _log.critical("worker of %s stopped unexpectedly", key, exc_info=error)
                self._failed.set()

        task = asyncio.create_task(worker.run())
        self._tasks.add(task)
        task.add_done_callback(ended)
