"""Strict ordering: a failing message stays at the head of its subject, and the later ones wait behind it.

A message is attempted once every earlier one was delivered, or is stored as a dead letter. The acknowledgement of their
deletes is not awaited: after a crash a message that was delivered is repeated, and one that is a dead letter is not
attempted again, because its record says that its ladder had ended; only the put is repeated, which changes nothing.

The ladder's state is kept in an attempt record, because an SQS message can't be changed in place. A message that is
received for the first time has no record and costs no read.
"""

from dataclasses import replace

from chaski_core.ports import AttemptRecord, AttemptRecords, ReceivedMessage
from chaski_core.retry.ladder import GiveUp, LadderState, Retry
from chaski_worker.delivery.triage import Undeliverable
from chaski_worker.lanes.base import (
    AlreadyExhausted,
    AttemptMade,
    Disposition,
    LaneContext,
    LaneRunner,
    Stays,
    Step,
)
from chaski_worker.lanes.handoff import BackendRetry
from chaski_worker.lanes.lane import Lane
from chaski_worker.lanes.visibility import VisibilityManager


class StrictRunner(LaneRunner):
    """Backs off in place: the head stays hidden for its rung's delay."""

    def __init__(
        self, context: LaneContext, visibility: VisibilityManager, records: AttemptRecords, backend_retry: BackendRetry
    ) -> None:
        super().__init__(context, visibility)
        self._records = records
        self._backend_retry = backend_retry

    async def _process_head(self, lane: Lane, message: ReceivedMessage) -> Step:
        task = self._triage(message)
        record = await self._read(lane, message)
        if message.message_id == lane.ids[0]:
            lane.repeats = message.receive_count > _expected_receives(record)
        if isinstance(task, Undeliverable):
            return replace(task, ladder=record.state) if record else task
        if record is not None:
            task = replace(task, ladder=record.state)
            if record.exhausted_at is not None:
                return AlreadyExhausted(task, record.state)
            if (not_due := self._wait_until(record.due_at)) is not None:
                # Hidden again, not attempted: the next receive is expected.
                await self._write(lane, message, replace(record, receives=message.receive_count))
                return not_due
        # An earlier attempt may have ended without a recorded outcome: of the head of a lane that was received more often
        # than its record expects, and of each message behind it, because up to ten are attempted before the delete of the
        # first is acknowledged. Behind a head that only came back for its retry, a message was received as often as the
        # head, but not attempted.
        step = await self._attempt(lane, task)
        if lane.repeats and message.receive_count > _expected_receives(record):
            self._report_repeat(message)
        return step

    async def _handle_failure(self, lane: Lane, message: ReceivedMessage, made: AttemptMade) -> Disposition | Stays:
        now = self.context.clock.now_ms()
        match made.decision:
            case Retry(state=state, due_at=due_at):
                await self._write(lane, message, _record(message, state, due_at))
                return Stays(max(0, -(-(due_at - now) // 1000)))
            case GiveUp(state=state) as decision:
                # Written first, so that a crash before the delete leads to no further attempt.
                await self._write(lane, message, _record(message, state, now, exhausted_at=now))
                return await self._give_up(lane, made.task, decision, made.result.outcome.target)
            case delivered:
                raise TypeError(f"a failed attempt can't have the decision {delivered}")

    async def _after_delete(self, message: ReceivedMessage, settled: Disposition) -> None:
        await super()._after_delete(message, settled)
        if message.receive_count > 1 or settled.dead_letter is not None:  # else it has no record
            await self._backend_retry.try_once(
                "delete an attempt record", lambda: self._records.delete(message.message_id)
            )

    async def _read(self, lane: Lane, message: ReceivedMessage) -> AttemptRecord | None:
        if message.receive_count <= 1:
            return None
        return await self._backend_retry.run(
            lane, "attempt_records", "read an attempt record", lambda: self._records.read(message.message_id)
        )

    async def _write(self, lane: Lane, message: ReceivedMessage, record: AttemptRecord) -> None:
        await self._backend_retry.run(
            lane, "attempt_records", "write an attempt record", lambda: self._records.write(message.message_id, record)
        )


def _expected_receives(record: AttemptRecord | None) -> int:
    """How often a message is received where no earlier receive ended unfinished: once, and once more for each retry."""
    if record is None:
        return 1
    return record.receives + (1 if record.exhausted_at is None else 0)


def _record(
    message: ReceivedMessage, state: LadderState, due_at: int, exhausted_at: int | None = None
) -> AttemptRecord:
    return AttemptRecord(state, due_at, exhausted_at, message.receive_count)
