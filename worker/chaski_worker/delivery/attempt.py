"""Makes one attempt: waits for a slot, checks that the message is still hidden, calls the target.

An attempt that a shortage of our own prevents is not charged to the message. Its lane waits in place, with its visibility
extended by the heartbeat and without a slot. Where waiting lanes would keep others from being received, it is parked
instead: its head stays hidden for a while, which keeps its subject in order, and the rest is released.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from chaski_core.message.envelope import HttpRequest, http_request
from chaski_core.message.identity import is_label
from chaski_core.retry.outcome import ErrorClass, Outcome
from chaski_core.values import message_value
from chaski_worker.delivery.backoff import backoff_seconds
from chaski_worker.delivery.http_deliverer import LABEL, MESSAGE_ID, REPLAY_OF
from chaski_worker.delivery.slots import Slots
from chaski_worker.delivery.triage import Deliverable
from chaski_worker.shortage.detection import Shortage, ShortageError
from chaski_worker.shortage.reporting import Shortages

_MAX_WAIT_SECONDS = 5.0  # between two tries of a lane that waits in place
_MIN_HIDDEN_SECONDS = 5
_MAX_HIDDEN_SECONDS = 60


class Deliverer(Protocol):
    """Calls targets. `HttpDeliverer` is the real one."""

    async def deliver(self, request: HttpRequest, headers: Sequence[tuple[str, str]]) -> Outcome:
        """Makes one HTTP request; its result is a value.

        Raises:
            ShortageError: it was not made, because something of our own was short.
        """
        ...

    def target_name(self, url: str) -> str:
        """Name of the first allow rule that matches, or "none"."""
        ...


class SaturatedError(Exception):
    """The target's share of the slots is taken, and no lane is free to wait for it."""


class ParkLaneError(Exception):
    """The lane must end: its head hidden for `seconds`, the rest released."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"parked for {seconds} s")
        self.seconds = seconds


@message_value
class AttemptResult:
    """An attempt that was made."""

    number: int  # from 1
    started_at: int  # epoch milliseconds
    outcome: Outcome


class Attempts:
    """Makes the attempts of one consumer.

    Args:
        deliverer: calls the targets.
        slots: limit the attempts at once.
        on_duration: called with the seconds of each attempt.
        now_ms: epoch milliseconds.
        is_full: whether the consumer can't receive because of the lanes that it holds.
    """

    def __init__(
        self,
        deliverer: Deliverer,
        slots: Slots,
        on_duration: Callable[[float], None],
        now_ms: Callable[[], int],
        is_full: Callable[[], bool],
    ) -> None:
        self._deliverer = deliverer
        self._slots = slots
        self._on_duration = on_duration
        self._now_ms = now_ms
        self._is_full = is_full

    async def make(self, task: Deliverable, before_dialling: Callable[[], Awaitable[bool]]) -> AttemptResult | None:
        """Attempts a message once.

        Args:
            task: the message.
            before_dialling: awaited once a slot is taken; returns False where the attempt must not be made any more,
                and raises where the lane is lost.

        Returns:
            None where `before_dialling` returned False.

        Raises:
            SaturatedError: the lane should be parked instead of waiting for a slot.
            ShortageError: as in `Deliverer.deliver`.
        """
        number = 1 if task.ladder is None else task.ladder.attempts + 1
        try:
            request = http_request(task.envelope.body)
        except ValueError as error:
            return AttemptResult(number, self._now_ms(), Outcome(ErrorClass.REFUSED, detail=str(error)))
        target = self._deliverer.target_name(request.url)
        if self._slots.crowds_out(target) and self._is_full():
            raise SaturatedError(target)
        if not self._slots.take_free(target):
            await self._slots.acquire(target)
        try:
            if not await before_dialling():
                return None
            started_at = self._now_ms()
            outcome = await self._deliverer.deliver(request, chaski_headers(task, request, number))
            self._on_duration(outcome.duration_seconds)
        finally:
            self._slots.release(target)
        return AttemptResult(number, started_at, outcome)

    def target_of(self, url: str) -> str:
        """Name of the rule that a URL falls under, or "none"."""
        return self._deliverer.target_name(url) if url else "none"


class ShortageRetry:
    """Makes attempts, and retries while a shortage of our own prevents them.

    Args:
        attempts: makes them.
        shortages: reports each shortage.
        is_crowded: whether a lane that waits for a shortage to end should be parked for the sake of others.
        stopping: is set when the worker stops.
        random: in [0, 1).
    """

    def __init__(
        self,
        attempts: Attempts,
        shortages: Shortages,
        is_crowded: Callable[[Shortage], bool],
        stopping: asyncio.Event,
        random: Callable[[], float],
    ) -> None:
        self._attempts = attempts
        self._shortages = shortages
        self._is_crowded = is_crowded
        self._stopping = stopping
        self._random = random
        self.target_of = attempts.target_of

    async def make(self, task: Deliverable, before_dialling: Callable[[], Awaitable[bool]]) -> AttemptResult | None:
        """Attempts a message once: as `Attempts.make`, but waits for a shortage to end.

        Returns:
            None where `before_dialling` returned False, or the worker stops.

        Raises:
            SaturatedError: the lane should be parked instead of waiting for a slot.
            ParkLaneError: the lane should be parked instead of waiting for a shortage to end.
            LaneLostError: the lane was lost meanwhile.
        """
        failures = 0
        while True:
            try:
                return await self._attempts.make(task, before_dialling)
            except ShortageError as error:
                shortage = error.shortage
            failures += 1
            lasted = self._shortages.observe(shortage)
            if self._is_crowded(shortage):
                raise ParkLaneError(hidden_seconds(lasted))
            await self._pause(min(_MAX_WAIT_SECONDS, backoff_seconds(failures, self._random())))
            if self._stopping.is_set():
                return None

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()


def hidden_seconds(lasted: float) -> int:
    """For how long a lane is parked when a shortage has lasted `lasted` seconds: half of that, from 5 s to 60 s."""
    return round(min(_MAX_HIDDEN_SECONDS, max(_MIN_HIDDEN_SECONDS, lasted / 2)))


def chaski_headers(task: Deliverable, request: HttpRequest, number: int) -> list[tuple[str, str]]:
    """Chaski's own headers, sent beside the producer's.

    `Chaski-Message-Id` is the identity: the same for every attempt of a message and for no other message, so that a target
    can drop repeats. `Chaski-Id` is the label, `Chaski-Replay-Of` the identity of the message that a replay comes from.
    """
    headers = [(MESSAGE_ID, task.message_id), ("Chaski-Attempt", str(number))]
    metadata = task.envelope.metadata
    if metadata is None:
        return headers
    if metadata.id is not None and is_label(metadata.id):  # queue content is not trusted
        headers.append((LABEL, metadata.id))
    if metadata.replay_of is not None:
        headers.append((REPLAY_OF, metadata.replay_of))
    traceparent = metadata.traceparent
    if traceparent and not any(name.lower() == "traceparent" for name, _ in request.headers):
        headers.append(("traceparent", traceparent))
    return headers
