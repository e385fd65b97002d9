"""A queue of keys to reconcile: at once after a change, periodically otherwise, with exponential backoff after failures.

Each key has a task of its own, so one that hangs or fails delays no other. Changes that follow each other closely are
reconciled at a growing interval, so that another writer who answers each of the operator's writes with one of its own (an
admission webhook, another field manager) causes no hot loop.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from chaski_core.errors import ChaskiError
from chaski_core.retry.backoff import Backoff
from chaski_operator.settings import ReconcileIntervals

_log = logging.getLogger(__name__)

Key = tuple[str, str]  # namespace, name
Reconcile = Callable[
    [Key], Awaitable[float | None]
]  # seconds until the next reconciliation; None: the object is deleted


_BURST = 5.0  # a new route, its Deployments and their Pods cause this many changes within seconds
_RECOVERY_SECONDS = 10.0
_PACE = Backoff(first_seconds=1.0, longest_seconds=60.0)


@dataclass(slots=True)
class EventPace:
    """The least interval between two reconciliations of one key that changes caused. Pure: times are arguments.

    Five may follow each other at once; then 1 s, 2 s, 4 s and so on lie between two. Every ten seconds one is forgotten, so
    that a key whose changes never end is reconciled about every ten seconds.
    """

    _level: float = 0.0  # reconciliations that count
    _at: float = 0.0  # of the last one

    def next_delay(self, now: float) -> float:
        """Seconds that the reconciliation caused by a change at `now` (seconds, monotonic) must wait; counts it."""
        self._level = max(0.0, self._level - (now - self._at) / _RECOVERY_SECONDS)
        surplus = self._level - _BURST
        delay = 0.0 if surplus < 0 else _PACE.seconds(1 + int(surplus))
        self._level, self._at = self._level + 1.0, now
        return delay


class WorkQueue:
    """Calls `reconcile` for every key that was enqueued, never concurrently for the same key."""

    def __init__(self, reconcile: Reconcile, intervals: ReconcileIntervals, random: Callable[[], float]) -> None:
        self._reconcile = reconcile
        self._intervals = intervals
        self._random = random
        self._slots = asyncio.Semaphore(intervals.routes_at_once)
        self._enqueued: dict[Key, asyncio.Event] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}

    def enqueue(self, key: Key) -> None:
        """Schedules a reconciliation as soon as possible."""
        if key in self._enqueued:
            self._enqueued[key].set()
        else:
            self.add(key)

    def add(self, key: Key, seconds: float = 0.0) -> None:
        """Schedules the first reconciliation of a key in some seconds; nothing if it is reconciled already."""
        if key in self._enqueued:
            return
        self._enqueued[key] = asyncio.Event()
        self._tasks[key] = asyncio.create_task(self._run(key, self._enqueued[key], seconds))

    async def stop(self) -> None:
        """Cancels all tasks and waits for their end."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._enqueued.clear()
        self._tasks.clear()

    async def _run(self, key: Key, enqueued: asyncio.Event, seconds: float) -> None:
        failures, pace, loop = 0, EventPace(), asyncio.get_running_loop()
        if seconds:
            await _wait(enqueued, seconds)
        while True:
            if enqueued.is_set():
                await asyncio.sleep(pace.next_delay(loop.time()))
            enqueued.clear()
            try:
                async with self._slots:
                    delay = await self._reconcile(key)
                failures = 0
            except Exception as error:  # noqa: BLE001 - no exception may end the reconciliation of this key
                failures += 1
                intervals = self._intervals
                delay = Backoff(intervals.retry_seconds, intervals.max_retry_seconds).seconds(failures)
                known = isinstance(error, ChaskiError)  # API server unavailable, or a conflicting write
                _log.warning("%s/%s: %s; retrying in %.0f s", *key, error, delay, exc_info=not known)
            if delay is None and not enqueued.is_set():
                break
            # Jitter: all keys were enqueued together at the start.
            await _wait(enqueued, (delay or 0.0) * (0.9 + 0.2 * self._random()))
        del self._enqueued[key], self._tasks[key]


async def _wait(enqueued: asyncio.Event, seconds: float) -> None:
    # Not wait_for: before Python 3.12 it can swallow a cancellation that arrives together with the result.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await enqueued.wait()
