"""Relaxed ordering: a failing message moves to its rung's queue, and the lane continues. And lanes of a suspended route."""

from dataclasses import replace

from chaski_core.ports import ReceivedMessage
from chaski_core.retry.ladder import ErrorNote, GiveUp, LadderState, Reason, Retry
from chaski_worker.delivery.triage import Deliverable, Undeliverable
from chaski_worker.lanes.base import AttemptMade, Disposition, LaneRunner, NotDue, Stays, Step
from chaski_worker.lanes.lane import Lane


class RelaxedRunner(LaneRunner):
    """Moves a failing message to its rung."""

    async def _process_head(self, lane: Lane, message: ReceivedMessage) -> Step:
        task = self._triage(message)
        due_at = task.due_at if isinstance(task, Deliverable) else None
        if due_at is not None and (not_due := self._wait_until(due_at)) is not None:
            return not_due
        # A message that was first received before it was due has been hidden, not attempted.
        if message.receive_count > 1 and (due_at is None or message.first_received_at >= due_at):
            self.context.reporter.repeated(self.context.stage, message)
        return task if isinstance(task, Undeliverable) else await self._attempt(lane, task)

    async def _handle_failure(self, lane: Lane, _message: ReceivedMessage, made: AttemptMade) -> Disposition | Stays:
        task, decision = made.task, made.decision
        if isinstance(decision, Retry):
            refused = await self.context.handoff.to_rung(lane, task, decision)
            if refused is None:
                return Disposition(task)
            detail = f"rung {decision.rung.name} refused it: {refused.reason}"
            state = replace(decision.state, errors=(*decision.state.errors[:-1], _last_error(decision.state, detail)))
            decision = GiveUp(Reason.UNSENDABLE, state)
        assert isinstance(decision, GiveUp)  # noqa: S101 - `_settle` handles delivered messages
        return await self._give_up(lane, task, decision, made.result.outcome.target)


def _last_error(state: LadderState, more: str) -> ErrorNote:
    last = state.errors[-1]
    return replace(last, detail=f"{last.detail}; {more}")


class ExpireOnlyRunner(LaneRunner):
    """Dead-letters messages that are about to expire, in order, and attempts nothing.

    It runs while a route's delivery is suspended, so that no message is lost to the queue's retention. A lane whose head
    is not about to expire stays hidden until its visibility timeout runs out, so that the same pass does not receive
    it again.
    """

    async def run(self, lane: Lane) -> None:
        if isinstance(self._expired(lane.held[0]), Undeliverable):
            await super().run(lane)
        else:
            lane.lost = "left hidden until its visibility timeout runs out"

    async def _process_head(self, _lane: Lane, message: ReceivedMessage) -> Step:
        return self._expired(message) or NotDue(0)

    async def _handle_failure(self, _lane: Lane, _message: ReceivedMessage, _made: AttemptMade) -> Disposition | Stays:
        raise TypeError("nothing is attempted while delivery is suspended")

    def _expired(self, message: ReceivedMessage) -> Undeliverable | None:
        task = self._triage(message)
        return task if isinstance(task, Undeliverable) and task.reason is Reason.EXPIRED else None
