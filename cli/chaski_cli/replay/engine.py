"""The two passes of a replay, without flags and output: for the command, a Job, and a console alike."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import islice

from chaski_cli.backends import OpenBackend
from chaski_cli.replay.selection import Allowed, Ready, Run, Skip, judge
from chaski_cli.replay.sending import Sending, send_window
from chaski_cli.replay.spool import Spool
from chaski_core import json_codec
from chaski_core.dead_letter import (
    CLAIM_MS,
    Claimed,
    DeadLetter,
    DeadLetterFilter,
    DeadLetterKey,
    ReplayClaim,
    ReplayMark,
)
from chaski_core.errors import BackendError, BackendUnavailableError
from chaski_core.ports import Clock

WINDOW = 50  # at most so many are sent without a mark when the process is killed
_CHUNK = 200
_CLAIM_SPARE_SECONDS = (
    60.0  # a claim is made anew before a batch that begins later: a call with its retries ends by then
)
_SKIPS: Mapping[Claimed, Skip] = {
    Claimed.SENT: Skip.REPLAYED,
    Claimed.DONE: Skip.DONE,
    Claimed.GONE: Skip.GONE,
}
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 8.0


@dataclass(slots=True)
class Progress:
    """How far a replay is."""

    found: int = 0  # dead letters that the filter finds
    skipped: Counter[Skip] = field(default_factory=Counter)
    ready: int = 0
    sent: int = 0
    failed: str = ""  # why it ended before its end


@dataclass(frozen=True, slots=True)
class Throttle:
    """How fast, and how patient."""

    rate: float | None = None  # messages a second
    retry_seconds: float = 60.0  # how long a queue may be away


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters."""

    wanted: DeadLetterFilter
    ids: tuple[str, ...] = ()  # only those of these identities or labels, and their replays
    keys: frozenset[DeadLetterKey] | None = None  # of these, only those


Tell = Callable[[Progress], None]


async def choose(
    opened: OpenBackend, chosen: Selection, run: Run, allowed: Allowed, spool: Spool, tell: Tell
) -> Progress:
    """The first pass: judges everything that the filter finds, and keeps what can be sent."""
    progress = Progress()
    ready: list[Ready] = []
    async with aclosing(letters_of(opened, chosen)) as letters:
        async for letter in letters:
            progress.found += 1
            judged = judge(letter, run, opened.routes, allowed)
            if isinstance(judged, Skip):
                progress.skipped[judged] += 1
                progress.found -= judged is Skip.OWN  # not there when the run began
            else:
                ready.append(judged)
            if len(ready) >= _CHUNK:
                spool.add(ready)
                ready.clear()
                tell(progress)
    spool.add(ready)
    progress.ready = len(spool)
    tell(progress)
    return progress


@dataclass(slots=True)
class Replay:
    """The second pass: sends what was kept, in its order, and marks each dead letter once its queue has the message."""

    opened: OpenBackend
    run: Run
    pace: Throttle
    clock: Clock
    tell: Tell
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, spool: Spool, progress: Progress) -> None:
        """Sends everything; ends early where `stop` is set or a queue is away for too long, and says so in `failed`.

        Raises:
            BackendRejectedError: a queue or the store refuses for good.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        entries = iter(spool)
        while window := list(islice(entries, self._window)):
            if self.stop.is_set():
                progress.failed = "stopped"
                return
            if not await self._send_all(window, progress):
                return
            self.tell(progress)
            if self.pace.rate is not None:
                await self._sleep(started + progress.sent / self.pace.rate - loop.time())

    @property
    def _window(self) -> int:
        return WINDOW if self.pace.rate is None else max(1, min(WINDOW, round(self.pace.rate / 2)))

    async def _send_all(self, window: list[Ready], progress: Progress) -> bool:
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + self.pace.retry_seconds, _FIRST_PAUSE_SECONDS
        unmarked: list[tuple[Ready, str]] = []
        while window or unmarked:
            window, sending = await self._send_claimed(window, progress)
            unmarked += sending.acknowledged
            reason = sending.failed
            try:
                await self._mark(unmarked)
            except BackendUnavailableError as error:
                reason = str(error)
            else:
                progress.sent += len(unmarked)
                unmarked = []
            if not reason:  # all is sent, or the time of the claims is over
                continue
            if loop.time() >= deadline or self.stop.is_set():
                progress.failed = reason
                await self._release(window)
                return False
            await self._sleep(pause)
            pause = min(_LONGEST_PAUSE_SECONDS, pause * 2)
        return True

    async def _send_claimed(self, window: list[Ready], progress: Progress) -> tuple[list[Ready], Sending]:
        """Claims what is to be sent and sends it; returns what is left to do."""
        loop = asyncio.get_running_loop()
        until = loop.time() + CLAIM_MS / 1000 - _CLAIM_SPARE_SECONDS
        claim = ReplayClaim(self.run.id, self.clock.now_ms())
        try:
            results = await self.opened.dead_letters.claim([(each.key, each.judged) for each in window], claim)
        except BackendUnavailableError as error:
            return window, Sending(failed=str(error))
        judged = list(zip(window, results, strict=True))
        for _, result in judged:
            if (skip := _SKIPS.get(result)) is not None:
                progress.skipped[skip] += 1
                progress.ready -= 1
        window = [each for each, result in judged if result not in _SKIPS]
        claimed, held = _sendable(judged)
        sending = await send_window(claimed, self.opened.queue, lambda: loop.time() < until)
        if held and not sending.failed:
            sending.failed = f"another replay is about to send {held} of these dead letters, or was killed while it did"
        sent = {each.key for each, _ in sending.acknowledged}
        return [each for each in window if each.key not in sent], sending

    async def _release(self, window: Sequence[Ready]) -> None:
        """Gives claims back, so that another run need not wait until they are over. Best effort: they end by themselves."""
        with contextlib.suppress(BackendError):
            await self.opened.dead_letters.claim(
                [(each.key, each.judged) for each in window], ReplayClaim(self.run.id, 0)
            )

    async def _mark(self, acknowledged: Sequence[tuple[Ready, str]]) -> None:
        now = self.clock.now_ms()
        await self.opened.dead_letters.mark(
            [(each.key, ReplayMark(self.run.id, each.epoch, now, identity)) for each, identity in acknowledged]
        )

    async def _sleep(self, seconds: float) -> None:
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self.stop.wait()


def _sendable(judged: Sequence[tuple[Ready, Claimed]]) -> tuple[list[Ready], int]:
    """What may be sent now, and how many another run holds: what comes after one of these in its subject waits."""
    waiting: set[tuple[str, str]] = set()
    claimed: list[Ready] = []
    held = 0
    for each, result in judged:
        subject = (each.url, each.message.group_id)
        if result is Claimed.HELD:
            held += 1
            waiting.add(subject)
        elif result is Claimed.YES and subject not in waiting:
            claimed.append(each)
    return claimed, held


async def letters_of(opened: OpenBackend, chosen: Selection) -> AsyncGenerator[DeadLetter, None]:
    """The dead letters that were asked for, oldest first, or of each id in turn; each once."""
    if not chosen.ids:
        async for letter in opened.dead_letters.find(chosen.wanted):
            yield letter
        return
    seen: set[DeadLetterKey] = set()  # a replay is found by its own identity and by that of its original
    for message_id in chosen.ids:
        for letter in await opened.dead_letters.get(message_id):
            exactly = chosen.keys is None or letter.key in chosen.keys
            if exactly and letter.key not in seen and chosen.wanted.keeps(letter, _document(letter)):
                seen.add(letter.key)
                yield letter


def _document(letter: DeadLetter) -> str:
    if letter.envelope is None:
        return (letter.raw or b"").decode("utf-8", "backslashreplace")
    return json_codec.dumps(letter.envelope).decode()
