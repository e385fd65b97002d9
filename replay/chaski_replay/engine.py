"""The two passes of a replay, without flags or output: shared by the command, the Job and the console."""

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import islice

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
from chaski_core.retry.backoff import Backoff
from chaski_replay.backends import OpenBackend
from chaski_replay.selection import IsAllowed, Ready, Run, SkipReason, judge
from chaski_replay.sending import WindowResult, send_window
from chaski_replay.spool import Spool

WINDOW = 50  # the most messages that are sent but not marked when the process is killed
_CHUNK = 200
_CLAIM_SPARE_SECONDS = 60.0  # no batch starts this late in a claim: a call with its retries takes less
_SKIPS: Mapping[Claimed, SkipReason] = {
    Claimed.SENT: SkipReason.REPLAYED,
    Claimed.DONE: SkipReason.DONE,
    Claimed.GONE: SkipReason.GONE,
}
_BACKOFF = Backoff(first_seconds=0.5, longest_seconds=8.0)


@dataclass(slots=True)
class Progress:
    """Counts of a replay so far."""

    found: int = 0  # dead letters that match the filter
    skipped: Counter[SkipReason] = field(default_factory=Counter)
    ready: int = 0
    sent: int = 0
    failed: str = ""  # why the run ended early


@dataclass(frozen=True, slots=True)
class Throttle:
    """Rate of sending, and how long to retry."""

    rate: float | None = None  # messages per second
    retry_seconds: float = 60.0  # how long a queue may be unavailable


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters to send."""

    filter: DeadLetterFilter
    ids: tuple[str, ...] = ()  # only those of these identities or labels, and their replays
    keys: frozenset[DeadLetterKey] | None = None  # only these of those


OnProgress = Callable[[Progress], None]


def new_run_id() -> str:
    """A random id."""
    return f"replay-{os.urandom(4).hex()}"


async def prepare(
    backend: OpenBackend,
    selection: Selection,
    run: Run,
    is_allowed: IsAllowed,
    spool: Spool,
    on_progress: OnProgress,
) -> Progress:
    """The first pass: judges every dead letter that matches, and spools the messages to send."""
    progress = Progress()
    ready: list[Ready] = []
    async with aclosing(dead_letters_of(backend, selection)) as dead_letters:
        async for dead_letter in dead_letters:
            progress.found += 1
            judged = judge(dead_letter, run, backend.routes, is_allowed)
            if isinstance(judged, SkipReason):
                progress.skipped[judged] += 1
                progress.found -= judged is SkipReason.OWN  # it did not exist when the run began
            else:
                ready.append(judged)
            if len(ready) >= _CHUNK:
                spool.add(ready)
                ready.clear()
                on_progress(progress)
    spool.add(ready)
    progress.ready = len(spool)
    on_progress(progress)
    return progress


@dataclass(slots=True)
class Replay:
    """The second pass: sends the spooled messages in order, and marks each dead letter once its queue has the message."""

    backend: OpenBackend
    run: Run
    throttle: Throttle
    clock: Clock
    on_progress: OnProgress
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, spool: Spool, progress: Progress) -> None:
        """Sends everything. Sets `progress.failed` if `stop` is set or a queue is unavailable for too long.

        Raises:
            BackendRejectedError: a queue or the store rejects the call permanently.
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
            self.on_progress(progress)
            if self.throttle.rate is not None:
                await self._sleep(started + progress.sent / self.throttle.rate - loop.time())

    @property
    def _window(self) -> int:
        return WINDOW if self.throttle.rate is None else max(1, min(WINDOW, round(self.throttle.rate / 2)))

    async def _send_all(self, window: list[Ready], progress: Progress) -> bool:
        loop = asyncio.get_running_loop()
        deadline, failures = loop.time() + self.throttle.retry_seconds, 0
        unmarked: list[tuple[Ready, str]] = []
        while window or unmarked:
            window, result = await self._send_claimed(window, progress)
            unmarked += result.acknowledged
            reason = result.failed
            try:
                await self._mark(unmarked)
            except BackendUnavailableError as error:
                reason = str(error)
            else:
                progress.sent += len(unmarked)
                unmarked = []
            if not reason:  # everything was sent, or the claims are about to expire
                continue
            if loop.time() >= deadline or self.stop.is_set():
                progress.failed = reason
                await self._release(window)
                return False
            failures += 1
            await self._sleep(_BACKOFF.seconds(failures))
        return True

    async def _send_claimed(self, window: list[Ready], progress: Progress) -> tuple[list[Ready], WindowResult]:
        """Claims a window and sends what it may; returns the messages that remain."""
        loop = asyncio.get_running_loop()
        until = loop.time() + CLAIM_MS / 1000 - _CLAIM_SPARE_SECONDS
        claim = ReplayClaim(self.run.id, self.clock.now_ms())
        try:
            claimed = await self.backend.dead_letters.claim([(each.key, each.mark) for each in window], claim)
        except BackendUnavailableError as error:
            return window, WindowResult(failed=str(error))
        claims = list(zip(window, claimed, strict=True))
        for _, outcome in claims:
            if (skip := _SKIPS.get(outcome)) is not None:
                progress.skipped[skip] += 1
                progress.ready -= 1
        window = [each for each, outcome in claims if outcome not in _SKIPS]
        sendable, held = _sendable(claims)
        result = await send_window(sendable, self.backend.queue, lambda: loop.time() < until)
        if held and not result.failed:
            result.failed = (
                f"{held} of these dead letters are held by another replay, which is sending them or was killed"
            )
        sent = {each.key for each, _ in result.acknowledged}
        return [each for each in window if each.key not in sent], result

    async def _release(self, window: Sequence[Ready]) -> None:
        """Releases claims, so that another run need not wait until they expire. Best effort."""
        with contextlib.suppress(BackendError):
            await self.backend.dead_letters.claim(
                [(each.key, each.mark) for each in window], ReplayClaim(self.run.id, 0)
            )

    async def _mark(self, acknowledged: Sequence[tuple[Ready, str]]) -> None:
        now = self.clock.now_ms()
        await self.backend.dead_letters.mark(
            [(each.key, ReplayMark(self.run.id, each.epoch, now, identity)) for each, identity in acknowledged]
        )

    async def _sleep(self, seconds: float) -> None:
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self.stop.wait()


def _sendable(claims: Sequence[tuple[Ready, Claimed]]) -> tuple[list[Ready], int]:
    """The messages to send now, and how many another run holds; later messages of a held one's subject wait."""
    waiting: set[tuple[str, str]] = set()
    sendable: list[Ready] = []
    held = 0
    for each, outcome in claims:
        subject = (each.queue_url, each.message.group_id)
        if outcome is Claimed.HELD:
            held += 1
            waiting.add(subject)
        elif outcome is Claimed.YES and subject not in waiting:
            sendable.append(each)
    return sendable, held


async def dead_letters_of(backend: OpenBackend, selection: Selection) -> AsyncGenerator[DeadLetter, None]:
    """The selected dead letters, each once: oldest first, or id by id."""
    if not selection.ids:
        async for dead_letter in backend.dead_letters.find(selection.filter):
            yield dead_letter
        return
    seen: set[DeadLetterKey] = set()  # a replay is found by its own identity and by that of its original
    for message_id in selection.ids:
        for dead_letter in await backend.dead_letters.get(message_id):
            is_wanted = selection.keys is None or dead_letter.key in selection.keys
            is_new = dead_letter.key not in seen
            if is_wanted and is_new and selection.filter.matches(dead_letter):
                seen.add(dead_letter.key)
                yield dead_letter
