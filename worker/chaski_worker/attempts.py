"""Makes one attempt: waits for a slot, makes sure of the hold, calls the target."""

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from chaski_core.envelope import HttpRequest, http_request
from chaski_core.outcome import ErrorClass, Outcome
from chaski_core.values import message_value
from chaski_worker.delivery import MESSAGE_ID
from chaski_worker.load import Load
from chaski_worker.slots import Slots
from chaski_worker.triage import Deliverable

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]*)?")  # W3C Trace Context §3.2


class Deliverer(Protocol):
    """Calls targets. `delivery.Deliverer` is the real one."""

    async def deliver(self, request: HttpRequest, headers: Sequence[tuple[str, str]]) -> Outcome:
        """One HTTP request; its result is a value, never an exception."""
        ...

    def target_name(self, url: str) -> str:
        """Name of the first allow rule that matches, or "none"."""
        ...


class SaturatedError(Exception):
    """The target's share of the slots is taken, and no lane is free to wait for it."""


@message_value
class Attempted:
    """An attempt that was made."""

    number: int  # from 1
    started_at: int  # epoch milliseconds
    outcome: Outcome


class Attempts:
    """The attempts of one consumer."""

    def __init__(
        self,
        deliverer: Deliverer,
        slots: Slots,
        load: Load,
        now_ms: Callable[[], int],
        crowded: Callable[[], bool],
    ) -> None:
        self._deliverer = deliverer
        self._slots = slots
        self._load = load
        self._now_ms = now_ms
        self._crowded = crowded

    async def make(self, task: Deliverable, before_dialling: Callable[[], Awaitable[bool]]) -> Attempted | None:
        """Attempts a message once.

        Args:
            task: the message.
            before_dialling: awaited once there is a slot; returns False where the attempt must not be made any more,
                and raises where the lane is lost.

        Returns:
            None where `before_dialling` said no.

        Raises:
            SaturatedError: the lane should make room instead of waiting.
        """
        number = 1 if task.ladder is None else task.ladder.attempts + 1
        try:
            request = http_request(task.envelope.body)
        except ValueError as error:
            return Attempted(number, self._now_ms(), Outcome(ErrorClass.REFUSED, detail=str(error)))
        target = self._deliverer.target_name(request.url)
        if self._slots.crowds_out(target) and self._crowded():
            raise SaturatedError(target)
        if not self._slots.take_free(target):
            await self._slots.acquire(target)
        try:
            if not await before_dialling():
                return None
            started_at = self._now_ms()
            outcome = await self._deliverer.deliver(request, extra_headers(task, request, number))
            self._load.attempted(outcome.duration_seconds)
        finally:
            self._slots.release(target)
        return Attempted(number, started_at, outcome)

    def target_of(self, url: str) -> str:
        """Name of the rule that a URL falls under, or "none"."""
        return self._deliverer.target_name(url) if url else "none"


def extra_headers(task: Deliverable, request: HttpRequest, number: int) -> list[tuple[str, str]]:
    """What Chaski says to the target beside the producer's own headers.

    `Chaski-Message-Id` is the same for every attempt of a message, so a target can tell a repeat.
    """
    headers = [(MESSAGE_ID, task.id), ("Chaski-Attempt", str(number))]
    traceparent = task.envelope.metadata.traceparent if task.envelope.metadata else None
    if not traceparent or not _TRACEPARENT.fullmatch(traceparent):  # queue content is not trusted
        return headers
    if not any(name.lower() == "traceparent" for name, _ in request.headers):
        headers.append(("traceparent", traceparent))
    return headers
