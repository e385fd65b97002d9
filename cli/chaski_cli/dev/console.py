"""What the console of `chaski dev` reads from: the queues of this process, and the data folder beside it."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from chaski_cli.backends import OpenBackend
from chaski_cli.console.actions import LetterActions
from chaski_console.data.dead_letter_index import SingleStore
from chaski_console.data.route_status import CounterRates, RouteSnapshot, RouteStatusReader
from chaski_console.data.views import History, Sources
from chaski_core.ports import Clock
from chaski_core.route.resolved import ResolvedRoute
from chaski_embedded.backend import EmbeddedBackend
from chaski_embedded.storage.reader import open_reader
from chaski_runtime.observability.metrics.instruments import Metrics


def dev_sources(
    routes: Sequence[ResolvedRoute], backend: EmbeddedBackend, metrics: Metrics, data: Path, clock: Clock
) -> Sources:
    """The sources of one `chaski dev`."""
    rates = CounterRates(metrics.totals_by_route, clock)
    board = RouteStatusReader(lambda: RouteSnapshot(routes), backend, rates, clock)
    opened = OpenBackend(backend.dead_letters, backend.queue, {each.route.key: each for each in routes})
    actions = LetterActions(dict.fromkeys(opened.routes, opened), clock)
    command = ("chaski", "dead-letters", "replay", "--data", str(data))
    return Sources(board, SingleStore(backend.dead_letters), FolderHistories(data), actions, command=command)


class FolderHistories:
    """Implements `chaski_console.data.views.Histories`: reads the folder on another thread, beside its owner."""

    def __init__(self, data: Path) -> None:
        self._data = data

    async def histories(self, message_id: str) -> Sequence[History]:
        """Those of every message of an identity or of a label, and of their replays, oldest first."""
        return await asyncio.to_thread(self._read, message_id)

    def _read(self, message_id: str) -> list[History]:
        with open_reader(self._data) as reader:
            traces = reader.traces(message_id)
        return [
            History(each.message_id, each.id, each.subject, each.state.value, each.attempts, each.replay_of)
            for each in traces
        ]
