"""Replay and discard from the console, by the functions of `chaski dead-letters replay` and `discard`."""

from collections.abc import Mapping, Sequence

from chaski_core.dead_letter import DeadLetter, DeadLetterFilter
from chaski_core.ports import Clock
from chaski_replay import engine
from chaski_replay.backends import OpenBackend
from chaski_replay.selection import AllowedBy, Run
from chaski_replay.spool import Spool

_THROTTLE = engine.Throttle(retry_seconds=5.0)  # a user is waiting for the page


class BackendActions:
    """Implements `views.DeadLetterActions`. `backends`: by route."""

    def __init__(self, backends: Mapping[str, OpenBackend], clock: Clock, allowed_by: AllowedBy) -> None:
        self._backends = backends
        self._clock = clock
        self._allowed_by = allowed_by

    async def replay(self, dead_letters: Sequence[DeadLetter]) -> str:
        """Skips dead letters that were replayed before."""
        summaries = [await self._replay(backend, group) for backend, group in self._by_backend(dead_letters)]
        return "; ".join(summaries) or "The routes of these dead letters are not shown here any more."

    async def discard(self, dead_letters: Sequence[DeadLetter]) -> str:
        discarded = 0
        for backend, group in self._by_backend(dead_letters):
            await backend.dead_letters.discard([each.key for each in group])
            discarded += len(group)
        return f"{discarded} discarded"

    async def _replay(self, backend: OpenBackend, dead_letters: Sequence[DeadLetter]) -> str:
        run = Run(engine.new_run_id())
        ids = tuple(dict.fromkeys(each.message_id for each in dead_letters))
        keys = frozenset(each.key for each in dead_letters)
        selection = engine.Selection(DeadLetterFilter(until=self._clock.now_ms()), ids, keys)
        with Spool() as spool:
            is_allowed = self._allowed_by(backend.routes)
            progress = await engine.prepare(backend, selection, run, is_allowed, spool, _ignore)
            if progress.ready:
                await engine.Replay(backend, run, _THROTTLE, self._clock, _ignore).send(spool, progress)
        parts = [f"{progress.sent} replayed"]
        parts += [f"{count} skipped ({reason.description})" for reason, count in progress.skipped.items() if count]
        parts += [f"stopped early: {progress.failed}"] if progress.failed else []
        return ", ".join(parts)

    def _by_backend(self, dead_letters: Sequence[DeadLetter]) -> list[tuple[OpenBackend, list[DeadLetter]]]:
        groups: dict[int, tuple[OpenBackend, list[DeadLetter]]] = {}
        for each in dead_letters:
            backend = self._backends.get(each.route)
            if backend is not None:
                groups.setdefault(id(backend), (backend, []))[1].append(each)
        return list(groups.values())


def _ignore(_: engine.Progress) -> None:
    pass
