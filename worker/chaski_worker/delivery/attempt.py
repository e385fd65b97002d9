"""Makes one attempt: waits for a slot, makes sure of the hold, calls the target."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from chaski_core.message.envelope import HttpRequest, http_request
from chaski_core.message.labels import is_label
from chaski_core.retry.outcome import ErrorClass, Outcome
from chaski_core.values import message_value
from chaski_worker.consumer.workload import WorkloadStats
from chaski_worker.delivery.http_deliverer import LABEL, MESSAGE_ID, REPLAY_OF
from chaski_worker.delivery.slots import Slots
from chaski_worker.delivery.triage import Deliverable


class Deliverer(Protocol):
    """Calls targets. `delivery.Deliverer` is the real one."""

    async def deliver(self, request: HttpRequest, headers: Sequence[tuple[str, str]]) -> Outcome:
        """One HTTP request; its result is a value.

        Raises:
            ShortageError: it was not made, for want of something that is not the target's.
        """
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
        load: WorkloadStats,
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
            ShortageError: as in `Deliverer.deliver`.
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

    `Chaski-Message-Id` is the identity: the same for every attempt of a message and of no other message, so that a target
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
