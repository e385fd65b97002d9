"""What the console does about dead letters: the same as `chaski dead-letters replay` and `discard`, by the same functions."""

from collections.abc import Mapping, Sequence

from chaski_cli.backends import OpenBackend
from chaski_cli.replay import engine
from chaski_cli.replay.command import allowed_by, new_run
from chaski_cli.replay.selection import Run
from chaski_cli.replay.spool import Spool
from chaski_core.dead_letter import DeadLetter, DeadLetterFilter
from chaski_core.ports import Clock

_PACE = engine.Throttle(retry_seconds=5.0)  # somebody waits for the page


class LetterActions:
    """Implements `chaski_console.data.views.Actions`; `opened` by the route of the letters."""

    def __init__(self, opened: Mapping[str, OpenBackend], clock: Clock) -> None:
        self._opened = opened
        self._clock = clock

    async def replay(self, letters: Sequence[DeadLetter]) -> str:
        """Sends them again, in order for each subject; what was sent before is left out."""
        told = [await self._replay(opened, picked) for opened, picked in self._by_place(letters)]
        return "; ".join(told) or "no route of these dead letters is here"

    async def discard(self, letters: Sequence[DeadLetter]) -> str:
        """Drops them for good."""
        dropped = 0
        for opened, picked in self._by_place(letters):
            await opened.dead_letters.discard([letter.key for letter in picked])
            dropped += len(picked)
        return f"{dropped} discarded"

    async def _replay(self, opened: OpenBackend, picked: Sequence[DeadLetter]) -> str:
        run = Run(new_run())
        ids = tuple(dict.fromkeys(letter.message_id for letter in picked))
        keys = frozenset(letter.key for letter in picked)
        chosen = engine.Selection(DeadLetterFilter(until=self._clock.now_ms()), ids, keys)
        with Spool() as spool:
            progress = await engine.choose(opened, chosen, run, allowed_by(opened.routes), spool, _quietly)
            if progress.ready:
                await engine.Replay(opened, run, _PACE, self._clock, _quietly).send(spool, progress)
        told = [f"{progress.sent} sent again"]
        told += [f"{count} left out ({skip.value})" for skip, count in progress.skipped.items() if count]
        told += [f"stopped early: {progress.failed}"] if progress.failed else []
        return ", ".join(told)

    def _by_place(self, letters: Sequence[DeadLetter]) -> list[tuple[OpenBackend, list[DeadLetter]]]:
        places: dict[int, tuple[OpenBackend, list[DeadLetter]]] = {}
        for letter in letters:
            opened = self._opened.get(letter.route)
            if opened is not None:
                places.setdefault(id(opened), (opened, []))[1].append(letter)
        return list(places.values())


def _quietly(_: engine.Progress) -> None:
    pass
