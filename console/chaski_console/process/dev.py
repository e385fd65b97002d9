"""Sources of the console in `chaski dev`: the queues of its process, and its data folder."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from chaski_console.data.dead_letter_index import SingleStore
from chaski_console.data.route_status import CounterRates, RouteSnapshot, RouteStatusReader
from chaski_console.data.views import History, Sources
from chaski_console.process.actions import BackendActions
from chaski_core.ports import Clock
from chaski_core.route.resolved import ResolvedRoute
from chaski_embedded.backend import EmbeddedBackend
from chaski_embedded.storage.reader import open_reader
from chaski_replay.backends import OpenBackend
from chaski_replay.selection import AllowedBy
from chaski_runtime.observability.metrics.route_totals import RouteTotals


def dev_sources(
    routes: Mapping[str, ResolvedRoute],
    backend: EmbeddedBackend,
    totals: Callable[[], Mapping[str, RouteTotals]],
    data: Path,
    clock: Clock,
    allowed_by: AllowedBy,
) -> Sources:
    """The sources of one `chaski dev`. `routes`: by namespace/name; they may change meanwhile."""
    rates = CounterRates(totals, clock)
    status = RouteStatusReader(lambda: RouteSnapshot(tuple(routes.values())), backend, rates, clock)
    opened = OpenBackend(backend.dead_letters, backend.queue, routes)
    actions = BackendActions(_OneBackend(opened), clock, allowed_by)
    command = ("chaski", "dead-letters", "replay", "--data", str(data))
    dead_letters = SingleStore(backend.dead_letters)
    return Sources(status, dead_letters, FolderHistories(data), actions, replay_command=command)


class _OneBackend(Mapping[str, OpenBackend]):
    """The backend of every route that it has now."""

    def __init__(self, backend: OpenBackend) -> None:
        self._backend = backend

    def __getitem__(self, key: str) -> OpenBackend:
        if key not in self._backend.routes:
            raise KeyError(key)
        return self._backend

    def __iter__(self) -> Iterator[str]:
        return iter(self._backend.routes)

    def __len__(self) -> int:
        return len(self._backend.routes)


class FolderHistories:
    """Implements `views.Histories`: reads the data folder on another thread, beside its owner."""

    def __init__(self, data: Path) -> None:
        self._data = data

    async def histories(self, message_id: str) -> Sequence[History]:
        return await asyncio.to_thread(self._read, message_id)

    def _read(self, message_id: str) -> list[History]:
        with open_reader(self._data) as reader:
            traces = reader.traces(message_id)
        return [
            History(each.message_id, each.id, each.subject, each.state.value, each.attempts, each.replay_of)
            for each in traces
        ]
