"""Attempts that can't be made for want of something of our own: the lane waits, and the message is not charged.

A lane waits where it is, with its hold kept by the heartbeat and without a slot. Where waiting lanes would keep others
from being received, it is put back instead: its head stays hidden for a while, which keeps its subject in order.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from chaski_worker.consumer.intake import IntakeLimiter
from chaski_worker.delivery.attempt import Attempted, Attempts
from chaski_worker.delivery.backoff import backoff_seconds
from chaski_worker.delivery.triage import Deliverable
from chaski_worker.shortage.classify import Shortage, ShortageError
from chaski_worker.shortage.reporting import Shortages

_MOST_SECONDS = 5.0  # between two tries of a lane that waits in place
_LEAST_HIDDEN_SECONDS = 5
_MOST_HIDDEN_SECONDS = 60


class PutBackError(Exception):
    """The lane is to be put back for so many seconds."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"put back for {seconds} s")
        self.seconds = seconds


class PatientAttempts:
    """The attempts of one consumer, each made as soon as it can be."""

    def __init__(
        self,
        attempts: Attempts,
        shortages: Shortages,
        room: IntakeLimiter,
        stopping: asyncio.Event,
        random: Callable[[], float],
    ) -> None:
        self._attempts = attempts
        self._shortages = shortages
        self._room = room
        self._stopping = stopping
        self._random = random
        self.target_of = attempts.target_of

    async def make(self, task: Deliverable, before_dialling: Callable[[], Awaitable[bool]]) -> Attempted | None:
        """Attempts a message once: as `Attempts.make`, but waits where that can't be done.

        Returns:
            None where `before_dialling` returned False, or the worker stops.

        Raises:
            SaturatedError: the lane should make room instead of waiting for a slot.
            PutBackError: the same, instead of waiting for a shortage to end.
            LaneLostError: the lane was lost meanwhile.
        """
        failures = 0
        while True:
            try:
                return await self._attempts.make(task, before_dialling)
            except ShortageError as error:
                shortage = error.shortage
            failures += 1
            lasted = self._shortages.met(shortage)
            if is_crowded(shortage, self._room.lanes, self._room.max_lanes, full=self._room.full):
                raise PutBackError(hidden_seconds(lasted))
            await self._pause(min(_MOST_SECONDS, backoff_seconds(failures, self._random())))
            if self._stopping.is_set():
                return None

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()


def is_crowded(shortage: Shortage, lanes: int, max_lanes: int, *, full: bool) -> bool:
    """Whether a lane that waits for a shortage to end should make room.

    Args:
        shortage: one of a single rule keeps at most half of the room from the others.
        lanes: held now.
        max_lanes: at which polling stops.
        full: polling has stopped.
    """
    return full or (shortage.of_one_target and lanes * 2 > max_lanes)


def hidden_seconds(lasted: float) -> int:
    """For how long a lane is put back while a shortage has lasted so many seconds: half of that, from 5 s to 60."""
    return round(min(_MOST_HIDDEN_SECONDS, max(_LEAST_HIDDEN_SECONDS, lasted / 2)))
