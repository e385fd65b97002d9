"""Takes readings while somebody looks, keeps the last minutes of them, and tells every page that is open."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass

from chaski_console.data.views import Board, RouteView

INTERVAL_SECONDS = 2.0
KEPT_READINGS = 150  # five minutes
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reading:
    """Routes as they were at one time, and their backlogs before, oldest first."""

    routes: Sequence[RouteView]
    backlogs: Mapping[str, Sequence[int | None]]  # by route; None: unknown
    trouble: str | None = None  # why there may be other routes by now


class Live:
    """One for a process. `run` reads only while there are watchers: nobody pays for a page that nobody looks at."""

    def __init__(self, board: Board, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._board = board
        self._interval = interval_seconds
        self._backlogs: dict[str, deque[int | None]] = {}
        self._watchers = 0
        self._wanted = asyncio.Event()
        self._changed = asyncio.Condition()
        self._latest: Reading | None = None

    async def reading(self) -> Reading:
        """A reading of now."""
        routes = await self._board.routes()
        for view in routes:
            self._backlogs.setdefault(view.key, deque(maxlen=KEPT_READINGS)).append(view.backlog)
        for gone in set(self._backlogs) - {view.key for view in routes}:
            del self._backlogs[gone]
        backlogs = {key: tuple(backlog) for key, backlog in self._backlogs.items()}
        return Reading(routes, backlogs, self._board.trouble())

    async def run(self) -> None:
        """Reads until cancelled."""
        while True:
            await self._wanted.wait()
            try:
                latest = await self.reading()
            except Exception:  # noqa: BLE001 - a board that fails once must not end every open page
                _log.exception("the console could not read how the routes are")
            else:
                async with self._changed:
                    self._latest = latest
                    self._changed.notify_all()
            await asyncio.sleep(self._interval)

    async def readings(self) -> AsyncGenerator[Reading, None]:
        """Each new reading, for one page that is open."""
        with self._watching():
            while True:
                async with self._changed:
                    await self._changed.wait()
                    latest = self._latest
                if latest is not None:
                    yield latest

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        self._watchers += 1
        self._wanted.set()
        try:
            yield
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._wanted.clear()
