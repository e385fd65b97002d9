"""Strict ordering: a failing message stays at the head of its subject, and the later ones wait behind it.

How far it has climbed lies in an attempt record, because an SQS message can't be changed where it lies. A message that
is received for the first time has no record and costs no read.
"""

from dataclasses import replace

from chaski_core.ports import AttemptRecord, AttemptRecords, ReceivedMessage
from chaski_core.retry.ladder import GiveUp, LadderState, Retry
from chaski_worker.delivery.triage import Undeliverable
from chaski_worker.lanes.base import AlreadyExhausted, AttemptMade, Disposition, LaneContext, LaneRunner, NotDue, Step
from chaski_worker.lanes.deletes import PipelinedDelete
from chaski_worker.lanes.handoff import BackendRetry
from chaski_worker.lanes.lane import Lane
from chaski_worker.lanes.visibility import VisibilityManager


class StrictRunner(LaneRunner):
    """The head backs off in place."""

    def __init__(
        self, job: LaneContext, holder: VisibilityManager, records: AttemptRecords, insistence: BackendRetry
    ) -> None:
        super().__init__(job, holder)
        self._records = records
        self._insistence = insistence
        self._longest_ms = max((rung.delay_seconds for rung in job.route.retry.rungs), default=0) * 1000

    async def _look(self, lane: Lane, message: ReceivedMessage) -> Step:
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
        wait_ms = record.due_at - self.job.clock.now_ms()
        # A wait that no rung is as long as comes of a clock that was set back, and would hold the subject up for as long.
        # The queue itself has hidden the head for its rung.
        if 0 < wait_ms <= self._longest_ms:
            return NotDue(-(-wait_ms // 1000))
        self._count_repeat(lane, message, record.receives)
        return await self._attempt(lane, task)

    def _count_repeat(self, lane: Lane, message: ReceivedMessage, receives: int) -> None:
        """Counts an attempt that may have been made before, by a receive that nobody has told the end of.

        That is the head of a lane that came more often than its record tells. A message behind it came with it every
        time and was not attempted, but for the second one: the delete of the first runs beside its attempt.
        """
        position = lane.ids.index(message.message_id)
        again = message.receive_count > receives + 1
        if position == 0:
            lane.repeats = again
        if again and lane.repeats and position <= 1:
            self.job.reporter.repeated(self.job.stage, message)

    async def _fail(self, lane: Lane, message: ReceivedMessage, made: AttemptMade) -> Disposition | None:
        now = self.job.clock.now_ms()
        match made.decision:
            case Retry(rung=rung, state=state):
                await self._write(lane, message, _record(message, state, now + rung.delay_seconds * 1000))
                await self.holder.put_back(lane, rung.delay_seconds)
                return None
            case GiveUp(state=state) as decision:
                # Written first, so that a crash before the delete leads to no further attempt.
                await self._write(lane, message, _record(message, state, now, exhausted_at=now))
                return await self._give_up(lane, made.task, decision, made.attempted.outcome.target)
            case delivered:
                raise TypeError(f"a failed attempt is never {delivered}")

    def _begin_delete(self, lane: Lane, message: ReceivedMessage, settled: Disposition) -> PipelinedDelete | None:
        return None if _may_have_record(message, settled) else super()._begin_delete(lane, message, settled)

    async def _delete(self, lane: Lane, message: ReceivedMessage, settled: Disposition) -> None:
        await super()._delete(lane, message, settled)
        if _may_have_record(message, settled):
            await self._insistence.attempt_once(
                "drop an attempt record", lambda: self._records.delete(message.message_id)
            )

    async def _read(self, lane: Lane, message: ReceivedMessage) -> AttemptRecord | None:
        if message.receive_count <= 1:
            return None
        return await self._insistence.insist(
            lane, "attempt_records", "read an attempt record", lambda: self._records.read(message.message_id)
        )

    async def _write(self, lane: Lane, message: ReceivedMessage, record: AttemptRecord) -> None:
        await self._insistence.insist(
            lane, "attempt_records", "keep an attempt record", lambda: self._records.write(message.message_id, record)
        )


def _may_have_record(message: ReceivedMessage, settled: Disposition) -> bool:
    return message.receive_count > 1 or settled.letter is not None


def _record(
    message: ReceivedMessage, state: LadderState, due_at: int, exhausted_at: int | None = None
) -> AttemptRecord:
    return AttemptRecord(state, due_at, exhausted_at, message.receive_count)
