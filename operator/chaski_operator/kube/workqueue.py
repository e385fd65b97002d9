"""When each route is looked at: at once when something happened, again after a while, later and later while it fails.

Each route has a task of its own, so that one that hangs or fails delays no other.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from chaski_core.errors import ChaskiError
from chaski_operator.settings import ReconcileIntervals

_log = logging.getLogger(__name__)

Key = tuple[str, str]  # namespace, name
Reconcile = Callable[[Key], Awaitable[float | None]]  # seconds until the next look; None: the route is gone


class WorkQueue:
    """Calls `look` for every route that was woken, never twice at a time for one."""

    def __init__(self, look: Reconcile, pace: ReconcileIntervals, random: Callable[[], float]) -> None:
        self._look = look
        self._pace = pace
        self._random = random
        self._slots = asyncio.Semaphore(pace.routes_at_once)
        self._woken: dict[Key, asyncio.Event] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}

    def wake(self, key: Key) -> None:
        """Has a route looked at as soon as possible."""
        if key in self._woken:
            self._woken[key].set()
            return
        self._woken[key] = asyncio.Event()
        self._tasks[key] = asyncio.create_task(self._follow(key, self._woken[key]))

    async def stop(self) -> None:
        """Cancels everything and waits for it."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._woken.clear()
        self._tasks.clear()

    async def _follow(self, key: Key, woken: asyncio.Event) -> None:
        failures = 0
        while True:
            woken.clear()
            try:
                async with self._slots:
                    delay = await self._look(key)
                failures = 0
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not end the looks at this route
                failures += 1
                delay = min(self._pace.retry_most_seconds, self._pace.retry_seconds * 2.0 ** min(failures, 30))
                known = isinstance(error, ChaskiError)  # the API server away, the route changed meanwhile
                _log.warning("%s/%s: %s; tried again in %.0f s", *key, error, delay, exc_info=not known)
            if delay is None and not woken.is_set():
                break
            # Not all routes at the same moment, though they were all first seen at the same one.
            pause = (delay or 0.0) * (0.9 + 0.2 * self._random())
            # Not wait_for: before Python 3.12 it takes a cancellation for an answer that comes at the same moment.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await woken.wait()
        del self._woken[key], self._tasks[key]
