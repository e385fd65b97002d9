"""Hands messages on: to the next rung, or to the dead letters. Nothing is deleted before the next home has it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from chaski_core.dead_letter import DeadLetter
from chaski_core.errors import BackendError, BackendUnavailableError
from chaski_core.message.envelope import Metadata, write_envelope
from chaski_core.message.subject import group_id, hop_deduplication_id
from chaski_core.ports import Clock, DeadLetterStore, Failed, OutgoingMessage, Queue, Sent
from chaski_core.retry.ladder import Retry
from chaski_worker.delivery.backoff import backoff_seconds
from chaski_worker.delivery.triage import Deliverable
from chaski_worker.lanes.batcher import Batcher
from chaski_worker.lanes.lane import Lane

_log = logging.getLogger(__name__)
Result = TypeVar("Result")


class BackendRetry:
    """Tries something on a backend until it succeeds or the lane is lost; the lane waits meanwhile."""

    def __init__(
        self, clock: Clock, random: Callable[[], float], on_failure: Callable[[str], None] = lambda _: None
    ) -> None:
        """`on_failure`: told of every failure, by the `to` of `insist`."""
        self._clock = clock
        self._random = random
        self._on_failure = on_failure

    async def insist(self, lane: Lane, to: str, what: str, operation: Callable[[], Awaitable[Result]]) -> Result:
        """The operation's result. Raises LaneLostError; never a BackendError.

        Args:
            lane: whose messages wait meanwhile.
            to: where it goes, as the metrics call it.
            what: the same for people.
            operation: what is tried.
        """
        failures = 0
        while True:
            lane.check(self._clock.monotonic())
            try:
                return await operation()
            except BackendError as error:
                failures += 1
                self._on_failure(to)
                _log.warning("could not %s, trying again: %s", what, error)
                await asyncio.sleep(backoff_seconds(failures, self._random()))

    async def attempt_once(self, what: str, operation: Callable[[], Awaitable[None]]) -> None:
        """Tries something that may be left undone, because what it tidies up expires by itself."""
        try:
            await operation()
        except BackendError as error:
            _log.warning("could not %s, leaving it to expire: %s", what, error)


class Handoff:
    """The ways out of a queue, other than delivery."""

    def __init__(
        self,
        route: str,
        rungs: Mapping[str, Queue],
        store: DeadLetterStore,
        insistence: BackendRetry,
        clock: Clock,
        *,
        linger_seconds: float = 0.0,
    ) -> None:
        self._route = route
        self._clock = clock
        self._rungs: dict[str, Batcher[OutgoingMessage, Sent | Failed]] = {
            name: Batcher(queue.send, linger_seconds=linger_seconds) for name, queue in rungs.items()
        }
        self._store = store
        self._insistence = insistence

    async def to_rung(self, lane: Lane, task: Deliverable, retry: Retry) -> Failed | None:
        """Puts a message on its next rung's queue. A Failed is a refusal for good: the message can't lie there."""
        message = rung_message(self._route, task, retry)
        batcher = self._rungs[retry.rung.name]

        async def send() -> Failed | None:
            (result,) = await batcher.submit([message])
            if isinstance(result, Sent):
                return None
            if result.sender_fault:
                return result
            raise BackendUnavailableError(result.reason)

        return await self._insistence.insist(lane, "rung", f"hand a message over to rung {retry.rung.name}", send)

    async def to_dead_letters(self, lane: Lane, letter: DeadLetter) -> None:
        """Keeps a dead letter, with the wall clock of the put that succeeds."""

        async def put() -> None:
            await self._store.put(replace(letter, dead_lettered_at=self._clock.now_ms()))

        await self._insistence.insist(lane, "dead_letters", "keep a dead letter", put)


def rung_message(route: str, task: Deliverable, retry: Retry) -> OutgoingMessage:
    """What goes on the rung's queue: the same JSON, with how far the message has climbed."""
    envelope = task.envelope
    known = envelope.metadata or Metadata(route=route)
    metadata = replace(
        known,
        message_id=task.message_id,
        sequence_number=task.sequence_number,
        hops=known.hops + 1,
        ladder=retry.state,
    )
    return OutgoingMessage(
        body=write_envelope(envelope.document, metadata),
        group_id=group_id(envelope.subject),
        deduplication_id=hop_deduplication_id(task.message_id, retry.rung.name, retry.number, metadata.hops),
    )
