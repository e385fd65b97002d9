"""Strict ordering: a failing message stays at the head of its subject, and the later ones wait behind it.

The ladder's state is kept in an attempt record, because an SQS message can't be changed in place. A message that is
received for the first time has no record and costs no read.
"""

from dataclasses import replace

from chaski_core.ports import AttemptRecord, AttemptRecords, ReceivedMessage
from chaski_core.retry.ladder import GiveUp, LadderState, Retry
from chaski_worker.delivery.triage import Undeliverable
from chaski_worker.lanes.base import AlreadyExhausted, AttemptMade, Disposition, LaneContext, LaneRunner, NotDue, Step
from chaski_worker.lanes.handoff import BackendRetry
from chaski_worker.lanes.lane import Lane, PipelinedDelete
from chaski_worker.lanes.visibility import VisibilityManager


class StrictRunner(LaneRunner):
    """Backs off in place: the head stays hidden for its rung's delay."""

    def __init__(
        self, context: LaneContext, visibility: VisibilityManager, records: AttemptRecords, backend_retry: BackendRetry
    ) -> None:
        super().__init__(context, visibility)
        self._records = records
        self._backend_retry = backend_retry
        self._longest_ms = max((rung.delay_seconds for rung in context.route.retry.rungs), default=0) * 1000

    async def _process_head(self, lane: Lane, message: ReceivedMessage) -> Step:
        task = self._triage(message)
        record = await self._read(lane, message)
        if isinstance(task, Undeliverable):
            return replace(task, ladder=record.state) if record else task
        if record is None:
            self._count_repeat(lane, message, 0)
            return await self._attempt(lane, task)
        task = replace(task, ladder=record.state)
        if record.exhausted_at is not None:
            return AlreadyExhausted(task, record.state)
        wait_ms = record.due_at - self.context.clock.now_ms()
        # A wait longer than any rung means that the clock was set back; it would block the subject for as long. The
        # queue itself has hidden the head for its rung.
        if 0 < wait_ms <= self._longest_ms:
            return NotDue(-(-wait_ms // 1000))
        self._count_repeat(lane, message, record.receives)
        return await self._attempt(lane, task)

    def _count_repeat(self, lane: Lane, message: ReceivedMessage, receives: int) -> None:
        """Counts a possible duplicate attempt: an earlier receive ended without a recorded outcome.

        That is the head of a lane that was received more often than its record states. A message behind it was received
        with it every time and not attempted, except for the second one: the delete of the first runs beside its attempt.
        """
        position = lane.ids.index(message.message_id)
        again = message.receive_count > receives + 1
        if position == 0:
            lane.repeats = again
        if again and lane.repeats and position <= 1:
            self.context.reporter.repeated(self.context.stage, message)

    async def _handle_failure(self, lane: Lane, message: ReceivedMessage, made: AttemptMade) -> Disposition | None:
        now = self.context.clock.now_ms()
        match made.decision:
            case Retry(rung=rung, state=state):
                await self._write(lane, message, _record(message, state, now + rung.delay_seconds * 1000))
                await self.visibility.hide_head_and_release_rest(lane, rung.delay_seconds)
                return None
            case GiveUp(state=state) as decision:
                # Written first, so that a crash before the delete leads to no further attempt.
                await self._write(lane, message, _record(message, state, now, exhausted_at=now))
                return await self._give_up(lane, made.task, decision, made.result.outcome.target)
            case delivered:
                raise TypeError(f"a failed attempt can't have the decision {delivered}")

    def _start_delete(self, lane: Lane, message: ReceivedMessage, settled: Disposition) -> PipelinedDelete | None:
        return None if _may_have_record(message, settled) else super()._start_delete(lane, message, settled)

    async def _delete(self, lane: Lane, message: ReceivedMessage, settled: Disposition) -> None:
        await super()._delete(lane, message, settled)
        if _may_have_record(message, settled):
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


def _may_have_record(message: ReceivedMessage, settled: Disposition) -> bool:
    return message.receive_count > 1 or settled.dead_letter is not None


def _record(
    message: ReceivedMessage, state: LadderState, due_at: int, exhausted_at: int | None = None
) -> AttemptRecord:
    return AttemptRecord(state, due_at, exhausted_at, message.receive_count)
