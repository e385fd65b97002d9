"""Hands messages over to the next rung or to the dead letters. Nothing is deleted before its next home has stored it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from chaski_core.dead_letter import DeadLetter
from chaski_core.errors import BackendError, BackendUnavailableError
from chaski_core.message.envelope import Metadata, write_envelope
from chaski_core.message.subject import group_id, hop_deduplication_id
from chaski_core.ports import Clock, DeadLetterStore, Failed, OutgoingMessage, Queue, ReceivedMessage, Sent
from chaski_core.redaction import NOTHING, Redaction
from chaski_core.retry.ladder import GiveUp, LadderState, Retry
from chaski_worker.delivery.triage import Deliverable, Undeliverable, url_of
from chaski_worker.lanes.batcher import Batcher
from chaski_worker.lanes.lane import Lane, LaneLostError
from chaski_worker.settings import BACKEND_BACKOFF

_log = logging.getLogger(__name__)
Result = TypeVar("Result")
_Handover = tuple[Lane, OutgoingMessage]


class BackendRetry:
    """Retries a backend operation until it succeeds or the lane is lost; the lane waits meanwhile.

    `on_failure` is called at each failure with the `to` of `run`.
    """

    def __init__(
        self, clock: Clock, random: Callable[[], float], on_failure: Callable[[str], None] = lambda _: None
    ) -> None:
        self._clock = clock
        self._random = random
        self._on_failure = on_failure

    async def run(self, lane: Lane, to: str, what: str, operation: Callable[[], Awaitable[Result]]) -> Result:
        """The operation's result. Raises LaneLostError; never a BackendError.

        Args:
            lane: whose messages wait meanwhile.
            to: the destination, as the metric label `to` names it.
            what: the operation as a verb phrase, for the log.
            operation: is called until it succeeds.
        """
        failures = 0
        while True:
            lane.check(self._clock.monotonic())
            try:
                return await operation()
            except BackendError as error:
                failures += 1
                self._on_failure(to)
                _log.warning("could not %s, will retry: %s", what, error)
                await asyncio.sleep(BACKEND_BACKOFF.equal_jitter(failures, self._random()))

    async def try_once(self, what: str, operation: Callable[[], Awaitable[None]]) -> None:
        """Runs a cleanup that may fail, because the thing it removes expires by itself."""
        try:
            await operation()
        except BackendError as error:
            _log.warning("could not %s, leaving it to expire: %s", what, error)


class Handoff:
    """The ways out of a queue other than delivery."""

    def __init__(  # noqa: PLR0913 - where messages go, and how
        self,
        route: str,
        rungs: Mapping[str, Queue],
        store: DeadLetterStore,
        backend_retry: BackendRetry,
        clock: Clock,
        *,
        linger_seconds: float = 0.0,
        redaction: Redaction = NOTHING,
    ) -> None:
        self._route = route
        self._redaction = redaction
        self._clock = clock
        self._rungs: dict[str, Batcher[_Handover, Sent | Failed | None]] = {
            name: Batcher(partial(self._send, queue), linger_seconds=linger_seconds) for name, queue in rungs.items()
        }
        self._store = store
        self._backend_retry = backend_retry

    async def to_rung(self, lane: Lane, task: Deliverable, retry: Retry) -> Failed | None:
        """Sends a message to its next rung's queue. A Failed is permanent: the queue can't store this message."""
        message = rung_message(self._route, task, retry, self._clock.now_ms())
        batcher = self._rungs[retry.rung.name]

        async def send() -> Failed | None:
            (result,) = await batcher.submit([(lane, message)])
            if result is None:
                raise LaneLostError(lane.lost)
            if isinstance(result, Sent):
                return None
            if result.sender_fault:
                return result
            raise BackendUnavailableError(result.reason)

        return await self._backend_retry.run(lane, "rung", f"hand a message over to rung {retry.rung.name}", send)

    async def _send(self, queue: Queue, handovers: Sequence[_Handover]) -> Sequence[Sent | Failed | None]:
        """Sends the messages of those lanes that are still hidden; None for the others.

        Checked here once more, since the process may have been paused while the message waited for its batch. Another
        worker may have delivered it since, and on the rung it would be retried after messages that came behind it.
        """
        now = self._clock.monotonic()
        hidden = [lane.is_hidden(now) for lane, _ in handovers]
        messages = [message for (_, message), kept in zip(handovers, hidden, strict=True) if kept]
        results = iter(await queue.send(messages) if messages else ())
        return [next(results) if kept else None for kept in hidden]

    async def to_dead_letters(self, lane: Lane, dead_letter: DeadLetter) -> None:
        """Stores a dead letter, with the wall clock of the put that succeeds."""

        async def put() -> None:
            dated = replace(dead_letter, dead_lettered_at=self._clock.now_ms(), redaction=self._redaction)
            await self._store.put(dated.to_store())

        await self._backend_retry.run(lane, "dead_letters", "store a dead letter", put)


def rung_message(route: str, task: Deliverable, retry: Retry, now_ms: int) -> OutgoingMessage:
    """The message for the rung's queue: the same JSON, with the ladder's state in its metadata.

    The time at which it is due is there only if its queue's delay ends before.
    """
    queue_delay_ends = now_ms + retry.rung.queue_delay_seconds * 1000
    due_at = retry.due_at if retry.due_at > queue_delay_ends else None
    envelope = task.envelope
    known = envelope.metadata or Metadata(route=route)
    metadata = replace(
        known,
        message_id=task.message_id,
        sequence_number=task.sequence_number,
        generation=task.generation,
        queued_at=task.queued_at,
        due_at=due_at,
        hops=known.hops + 1,
        ladder=retry.state,
    )
    return OutgoingMessage(
        body=write_envelope(envelope.document, metadata),
        group_id=group_id(envelope.subject),
        deduplication_id=hop_deduplication_id(task.message_id, retry.rung.name, retry.number, metadata.hops),
    )


def dead_letter_of_undeliverable(
    route: str, message: ReceivedMessage, undeliverable: Undeliverable, target: str, at_ms: int
) -> DeadLetter:
    """The dead letter of a message that was not attempted. `at_ms`: epoch milliseconds of the put."""
    ladder, envelope = undeliverable.ladder, undeliverable.envelope
    return DeadLetter(
        route=route,
        message_id=undeliverable.message_id,
        id=undeliverable.id,
        subject=envelope.subject if envelope else message.group_id,
        dead_lettered_at=at_ms,
        reason=undeliverable.reason,
        error_class=ladder.key if ladder else "",
        target=target,
        url=url_of(envelope),
        attempts=ladder.attempts if ladder else 0,
        errors=ladder.errors if ladder else (),
        envelope=envelope.document if envelope else None,
        raw=None if envelope else message.body,
        detail=undeliverable.detail,
        sequence_number=_sequence_number(message, undeliverable),
    )


def dead_letter_of_give_up(route: str, task: Deliverable, decision: GiveUp, target: str, at_ms: int) -> DeadLetter:
    """The dead letter of a message whose ladder has ended. `at_ms`: epoch milliseconds of the put."""
    state: LadderState = decision.state
    return DeadLetter(
        route=route,
        message_id=task.message_id,
        id=task.id,
        subject=task.envelope.subject,
        dead_lettered_at=at_ms,
        reason=decision.reason,
        error_class=state.key,
        target=target,
        url=url_of(task.envelope),
        attempts=state.attempts,
        errors=state.errors,
        envelope=task.envelope.document,
        detail=state.errors[-1].detail if state.errors else "",
        sequence_number=task.sequence_number or None,
    )


def _sequence_number(message: ReceivedMessage, undeliverable: Undeliverable) -> int | None:
    if message.message_id == undeliverable.message_id:
        return message.sequence_number
    metadata = undeliverable.envelope.metadata if undeliverable.envelope else None
    return metadata.sequence_number if metadata else None
