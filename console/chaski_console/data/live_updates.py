"""Reads the status of the routes while pages are open, keeps the last five minutes, and pushes updates to the pages."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass

from chaski_console.data.views import RouteStatusSource, RouteView

INTERVAL_SECONDS = 2.0
KEPT_UPDATES = 150  # five minutes
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """The status of the routes at one time, and their earlier backlogs, oldest first."""

    routes: Sequence[RouteView]
    backlogs: Mapping[str, Sequence[int | None]]  # by route; None: unknown
    stale_reason: str | None = None  # why the list of routes may be outdated


class LiveUpdates:
    """One per process. `run` reads only while there are subscribers, so a console without open pages costs nothing."""

    def __init__(self, source: RouteStatusSource, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._source = source
        self._interval = interval_seconds
        self._backlogs: dict[str, deque[int | None]] = {}
        self._subscribers = 0
        self._wanted = asyncio.Event()
        self._changed = asyncio.Condition()
        self._latest: StatusUpdate | None = None

    async def read_now(self) -> StatusUpdate:
        """Reads the current status."""
        routes = await self._source.routes()
        for view in routes:
            self._backlogs.setdefault(view.key, deque(maxlen=KEPT_UPDATES)).append(view.backlog)
        for removed in set(self._backlogs) - {view.key for view in routes}:
            del self._backlogs[removed]
        backlogs = {key: tuple(backlog) for key, backlog in self._backlogs.items()}
        return StatusUpdate(routes, backlogs, self._source.stale_reason())

    async def run(self) -> None:
        """Reads until cancelled."""
        while True:
            await self._wanted.wait()
            try:
                latest = await self.read_now()
            except Exception:  # noqa: BLE001 - one failed read must not end every open page
                _log.exception("could not read the status of the routes")
            else:
                async with self._changed:
                    self._latest = latest
                    self._changed.notify_all()
            await asyncio.sleep(self._interval)

    async def subscribe(self) -> AsyncGenerator[StatusUpdate, None]:
        """Yields each new update, for one open page."""
        with self._subscribed():
            while True:
                async with self._changed:
                    await self._changed.wait()
                    latest = self._latest
                if latest is not None:
                    yield latest

    @contextlib.contextmanager
    def _subscribed(self) -> Iterator[None]:
        self._subscribers += 1
        self._wanted.set()
        try:
            yield
        finally:
            self._subscribers -= 1
            if not self._subscribers:
                self._wanted.clear()
