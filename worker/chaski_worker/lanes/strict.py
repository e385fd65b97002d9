"""Strict ordering: a failing message stays at the head of its subject, and the later ones wait behind it.

A message is attempted once every earlier one was delivered, or is stored as a dead letter. The acknowledgement of their
deletes is not awaited: after a crash a message that was delivered is repeated, and one that is a dead letter is not
attempted again, because its record says that its ladder had ended; only the put is repeated, which changes nothing.

With `retry.onExhausted: Hold` the head whose ladder has ended stays too, until people decide (`controls.py`).

The ladder's state is kept in an attempt record, because an SQS message can't be changed in place. A message that is
received for the first time has no record and costs no read.
"""

import logging
from dataclasses import replace

from chaski_core.ports import AttemptRecord, AttemptRecords, HiddenHead, ReceivedMessage
from chaski_core.retry.control import ControlAction
from chaski_core.retry.ladder import GiveUp, Hold, Retry
from chaski_worker.delivery.admission import ParkLaneError
from chaski_worker.delivery.triage import Deliverable, Undeliverable
from chaski_worker.lanes.base import (
    AlreadyExhausted,
    AttemptMade,
    Disposition,
    LaneContext,
    LaneRunner,
    NotDue,
    Stays,
    Step,
)
from chaski_worker.lanes.controls import skipped
from chaski_worker.lanes.handoff import BackendRetry
from chaski_worker.lanes.lane import Lane
from chaski_worker.lanes.visibility import VisibilityManager

_log = logging.getLogger(__name__)


class StrictRunner(LaneRunner):
    """Backs off in place: the head stays hidden for its rung's delay."""

    def __init__(
        self, context: LaneContext, visibility: VisibilityManager, records: AttemptRecords, backend_retry: BackendRetry
    ) -> None:
        super().__init__(context, visibility)
        self._records = records
        self._backend_retry = backend_retry
        self._holds_exhausted = context.route.retry.hold_exhausted

    async def _process_head(self, lane: Lane, message: ReceivedMessage) -> Step:
        task = self._triage(message)
        record = await self._read(lane, message)
        if message.message_id == lane.ids[0]:
            lane.repeats = message.receive_count > _expected_receives(record)
        if isinstance(task, Undeliverable):
            return replace(task, ladder=record.state) if record else task
        if record is not None:
            task = replace(task, ladder=record.state)
            if record.exhausted_at is not None or (record.held_at is not None and not self._holds_exhausted):
                return AlreadyExhausted(task, record.state)
        judged = await self._judge_head(task, record)
        if isinstance(judged, NotDue):
            if record is None:
                raise ParkLaneError(judged.seconds)
            # Hidden again, not attempted: the next receive is expected.
            await self._write(lane, message, self._hidden(lane, message, task, record, judged.seconds))
        if judged is not None:
            return judged
        # An earlier attempt may have ended without a recorded outcome: of the head of a lane that was received more often
        # than its record expects, and of each message behind it, because up to ten are attempted before the delete of the
        # first is acknowledged. Behind a head that only came back for its retry, a message was received as often as the
        # head, but not attempted.
        step = await self._attempt(lane, task)
        if lane.repeats and message.receive_count > _expected_receives(record):
            self._report_repeat(message)
        return step

    async def _judge_head(self, task: Deliverable, record: AttemptRecord | None) -> NotDue | Undeliverable | None:
        """For how long the head waits, by its record and by what people decided; None where it is attempted now."""
        controls = self.context.controls
        waits = None
        if record is not None and record.held_at is not None:
            waits = NotDue(controls.hidden_seconds(record.held_at, exhausted=True))
        elif record is not None:
            waits = self._wait_until(record.due_at, record.state)
        if waits is None and not controls.may_apply:
            return None
        control = await controls.find(task, waits=waits is not None)
        if control is None:
            return waits
        match control.action:
            case ControlAction.RETRY_NOW:
                return None
            case ControlAction.SKIP:
                return skipped(task, control)
            case ControlAction.HOLD:
                return waits or NotDue(controls.hidden_seconds(control.at))

    async def _handle_failure(self, lane: Lane, message: ReceivedMessage, made: AttemptMade) -> Disposition | Stays:
        now = self.context.clock.now_ms()
        match made.decision:
            case Retry(state=state, due_at=due_at):
                return await self._keep_head(lane, message, made.task, AttemptRecord(state, due_at))
            case Hold(state=state):
                _log_held(self.context.route.key, made)
                return await self._keep_head(lane, message, made.task, AttemptRecord(state, now, held_at=now))
            case GiveUp(state=state) as decision:
                # Written first, so that a crash before the delete leads to no further attempt.
                record = AttemptRecord(state, now, now, message.receive_count)
                await self._write(lane, message, record)
                return await self._give_up(lane, made.task, decision, made.result.outcome.target)
            case delivered:
                raise TypeError(f"a failed attempt can't have the decision {delivered}")

    async def _keep_head(self, lane: Lane, message: ReceivedMessage, task: Deliverable, record: AttemptRecord) -> Stays:
        """Hides the head until it is due, or where it is held, for one step. Its record is the proof of the attempt."""
        controls = self.context.controls
        if record.held_at is None:
            seconds = max(0, -(-(record.due_at - self.context.clock.now_ms()) // 1000))
        else:
            seconds = controls.hidden_seconds(record.held_at, exhausted=True)
        await self._write(lane, message, self._hidden(lane, message, task, record, seconds))
        if controls.may_apply:
            await controls.settled(task.message_id, ended=False)
        return Stays(seconds)

    def _hidden(
        self, lane: Lane, message: ReceivedMessage, task: Deliverable, record: AttemptRecord, seconds: int
    ) -> AttemptRecord:
        context, subject = self.context, task.envelope.subject
        until = context.clock.now_ms() + seconds * 1000
        head = HiddenHead(context.route.key, subject, lane.key[0], message.receipt_handle, until)
        return replace(record, receives=message.receive_count, head=head)

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


def _log_held(route: str, made: AttemptMade) -> None:
    task, outcome = made.task, made.result.outcome
    _log.warning(
        "%s holds a subject: the retries of its message %s have ended (%s). Next: chaski subjects retry-now, or skip",
        route,
        task.message_id,
        outcome.key,
        extra={
            "ecs": {
                "event.action": "subject-held",
                "chaski.message.id": task.message_id,
                "chaski.subject": task.envelope.subject,
                "labels.target": outcome.target,
                "error.type": outcome.key,
            }
        },
    )
