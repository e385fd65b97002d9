"""The workers of `chaski dev`: one for each route, both stages."""

import asyncio
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from chaski_core.ports import Backend, Clock
from chaski_core.route.resolved import ResolvedRoute
from chaski_runtime.observability.logs import Logs
from chaski_runtime.observability.metrics.instruments import Metrics
from chaski_runtime.observability.tracing import Tracing
from chaski_worker.consumer.factory import DelivererDependencies, make_deliverer
from chaski_worker.consumer.worker import Worker
from chaski_worker.observability.tracing import TracedDeliverer
from chaski_worker.settings import WorkerSettings, from_environment

_log = logging.getLogger(__name__)

_STALE_POLL_SECONDS = 60.0  # three long polls
# The embedded broker's counts are exact, so one look is enough to know that an older generation is empty.
_SETTINGS = WorkerSettings(drained_polls=1, drained_over_seconds=0.0, observe_interval_seconds=2.0)


class Workers:
    """Delivers for several routes, from start to drained."""

    def __init__(  # noqa: PLR0913 - the parts of the workers, each given by its maker
        self,
        routes: Sequence[ResolvedRoute],
        backend: Backend,
        metrics: Metrics,
        logs: Logs,
        clock: Clock,
        *,
        secrets: Path | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        """Puts the workers together.

        Args:
            routes: what to deliver.
            backend: where the messages are.
            metrics: told of what happens.
            logs: the same.
            clock: time.
            tracing: makes a span for each attempt; None: none.
            secrets: folder with one folder for each Secret; without it nothing is signed.

        Raises:
            InvalidInputError: a Secret that a route names, or a variable of the environment, can't be used.
        """
        settings = from_environment(os.environ, _SETTINGS)
        outside = DelivererDependencies(clock, permit_loopback=True, secrets=secrets)
        self._deliverers = [make_deliverer(each.route, metrics, outside) for each in routes]
        self._workers = {
            resolved.route.key: Worker(
                resolved,
                backend=backend,
                deliverer=TracedDeliverer(deliverer, tracing, resolved.route) if tracing else deliverer,
                metrics=metrics,
                logs=logs,
                clock=clock,
                settings=settings,
            )
            for resolved, deliverer in zip(routes, self._deliverers, strict=True)
        }
        self._running: dict[asyncio.Task[None], str] = {}

    def start(self) -> None:
        """Starts to deliver."""
        self._running = {asyncio.create_task(worker.run()): key for key, worker in self._workers.items()}

    async def run_until(self, stop: asyncio.Event) -> bool:
        """Waits for the stop; True if a worker ended before it, which none ever should."""
        stopping = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait([stopping, *self._running], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        failed = {task: key for task, key in self._running.items() if task in done}
        for task, key in failed.items():
            _log.critical("the worker of %s ended", key, exc_info=task.exception())
        return bool(failed)

    async def close(self) -> None:
        """Takes nothing more, and waits until what is in flight has finished or its drain time is over."""
        for worker in self._workers.values():
            worker.stop()
        await asyncio.gather(*self._running, return_exceptions=True)
        for deliverer in self._deliverers:
            await deliverer.close()

    def live(self) -> str | None:
        """None while polls succeed; else which route has had none for long."""
        ages = {key: worker.last_poll_age() for key, worker in self._workers.items()}
        stale = [key for key, age in ages.items() if age is not None and age > _STALE_POLL_SECONDS]
        return f"no successful poll for {_STALE_POLL_SECONDS:g} s: {', '.join(stale)}" if stale else None
