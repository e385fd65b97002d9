"""The autoscaler: a task for each route that looks at its queues and Pods every few seconds.

A look has a time limit, so a route whose queues hang or refuse delays no other. One GetQueueAttributes for each queue
brings the counts and the settings; where these are others than at the last look, the route is reconciled at once.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator

from chaski_core.ports import QueueCounts
from chaski_operator.autoscaling.scaler import Key, Parts, RouteScaler
from chaski_runtime.kube.client import KubeApiError
from chaski_runtime.observability.metrics.queue_gauges import QueueReading

_log = logging.getLogger(__name__)
_GRACE_SECONDS = 3.0  # that a look under way gets at the end


class Scaler:
    """Scales all routes. Call `run` once."""

    def __init__(self, parts: Parts, random: Callable[[], float]) -> None:
        self._parts = parts
        self._random = random
        self._slots = asyncio.Semaphore(parts.pace.routes_at_once)
        self._scalers: dict[Key, RouteScaler] = {}
        parts.metrics.observe_replicas(self._replicas)
        parts.metrics.observe_queue(self._readings)
        parts.metrics.observe_unserved(self._unserved)

    async def run(self) -> None:
        """Looks until cancelled."""
        tasks: dict[Key, asyncio.Task[None]] = {}
        try:
            while True:
                wanted = set(self._parts.cluster.routes())
                for key in tasks.keys() - wanted:
                    tasks.pop(key).cancel()
                    del self._scalers[key]
                for key in wanted - tasks.keys():
                    scaler = self._scalers[key] = RouteScaler(key, self._parts)
                    tasks[key] = asyncio.create_task(self._follow(scaler))
                await asyncio.sleep(self._parts.pace.roster_seconds)
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)

    async def _follow(self, scaler: RouteScaler) -> None:
        pace = self._parts.pace
        await asyncio.sleep(self._random() * min(1.0, pace.look_seconds))  # not all at the same moment
        while True:
            looked = await self._look_whole(scaler)
            seconds = pace.look_seconds if looked else min(pace.roster_seconds, pace.look_seconds)
            await asyncio.sleep(seconds * (0.95 + 0.1 * self._random()))

    async def _look_whole(self, scaler: RouteScaler) -> bool:
        """A look that a stop does not break off in the middle of a write, unless it hangs."""
        look = asyncio.create_task(self._look(scaler))
        try:
            return await asyncio.shield(look)
        except asyncio.CancelledError:
            await asyncio.wait([look], timeout=_GRACE_SECONDS)
            look.cancel()
            await asyncio.gather(look, return_exceptions=True)
            raise

    async def _look(self, scaler: RouteScaler) -> bool:
        document = self._parts.cluster.routes().get(scaler.key)
        if document is None:
            return False
        most = self._parts.pace.most_seconds
        try:
            async with self._slots, asyncio.timeout(most):
                return await scaler.look(document)
        except TimeoutError:
            _log.warning("%s/%s: a look at its queues took more than %g s", *scaler.key, most)
        except KubeApiError as error:
            _log.warning("%s/%s: its status could not be written: %s", *scaler.key, error)
        except Exception:  # noqa: BLE001 - whatever it is, it must not end the looks at this route
            _log.exception("%s/%s: a look at its queues failed", *scaler.key)
        return True

    def _replicas(self) -> dict[tuple[str, ...], int]:
        shown: dict[tuple[str, ...], int] = {}
        for scaler in self._scalers.values():
            shown |= scaler.replicas()
        return shown

    def _unserved(self) -> dict[tuple[str, ...], float]:
        shown: dict[tuple[str, ...], float] = {}
        for key, scaler in self._scalers.items():
            for row, seconds in scaler.ages.unserved_seconds().items():
                labels = (*key, row.partition(".")[0])  # older generations under the queue's name
                shown[labels] = max(shown.get(labels, 0.0), seconds)
        return shown

    def _readings(self) -> Iterator[QueueReading]:
        for (namespace, route), scaler in self._scalers.items():
            named: dict[str, list[QueueCounts]] = {}
            for row, counts in scaler.counts.items():
                named.setdefault(row.partition(".")[0], []).append(counts)  # older generations under the queue's name
            for queue, parts in named.items():
                counts = QueueCounts(
                    sum(each.visible for each in parts),
                    sum(each.in_flight for each in parts),
                    sum(each.delayed for each in parts),
                )
                yield QueueReading(namespace, route, queue, counts, None)
