"""Delivers one lane in order: triage, attempt, decide, settle, next; the deletes run beside it.

Here is Relaxed ordering, in which a failing message moves to its rung's queue and the lane continues. Strict ordering is in
`strict.py`, the lanes of a suspended route in `expiry.py`, and what people decided about subjects in `controls.py`.
"""

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

from chaski_core.dead_letter import DeadLetter
from chaski_core.ports import Clock, ReceivedMessage
from chaski_core.retry.ladder import (
    Decision,
    Delivered,
    Discarded,
    ErrorNote,
    GiveUp,
    LadderState,
    Reason,
    Retry,
    decide,
    reason_to_give_up,
    remaining_wait_ms,
)
from chaski_core.route.model import Route
from chaski_core.values import message_value
from chaski_worker.delivery.admission import HostHeldError, ParkLaneError, SaturatedError
from chaski_worker.delivery.attempt import AttemptResult, ShortageRetry
from chaski_worker.delivery.triage import AgeLimits, Deliverable, Stage, Undeliverable, triage, url_of
from chaski_worker.lanes.controls import SubjectControls
from chaski_worker.lanes.deletes import LaneDeletes
from chaski_worker.lanes.handoff import Handoff, dead_letter_of_give_up, dead_letter_of_undeliverable
from chaski_worker.lanes.lane import Lane, LaneLostError, ParkedMessages
from chaski_worker.lanes.visibility import VisibilityManager
from chaski_worker.observability.reporting import Reporter
from chaski_worker.settings import WorkerSettings

_log = logging.getLogger(__name__)
_DELIVERED = Delivered()


@dataclass(frozen=True)
class LaneContext:
    """What the lanes of one consumer share."""

    route: Route
    stage: Stage
    generation: int  # of the queues; 0 for rungs
    attempts: ShortageRetry
    handoff: Handoff
    controls: SubjectControls
    reporter: Reporter
    clock: Clock
    settings: WorkerSettings
    stopping: asyncio.Event
    random: Callable[[], float]  # in [0, 1)
    needed_visibility: float  # seconds that a lane must stay hidden when an attempt begins


@message_value
class AttemptMade:
    """An attempt was made; `decision` follows from its result."""

    task: Deliverable
    result: AttemptResult
    decision: Decision


@dataclass(frozen=True, slots=True)
class NotDue:
    """The head was received before it is due. It is hidden for `seconds` more; no attempt is counted."""

    seconds: int


@dataclass(frozen=True, slots=True)
class AlreadyExhausted:
    """Strict: the ladder had ended before a crash; only the dead letter is still to be stored."""

    task: Deliverable
    state: LadderState


@dataclass(frozen=True, slots=True)
class Stopping:
    """The worker is stopping: the rest of the lane is released."""


Step = AttemptMade | NotDue | AlreadyExhausted | Stopping | Undeliverable


@message_value
class Disposition:
    """The message has reached its next home, or needs none, and is to be deleted from its queue."""

    task: Deliverable | None
    dead_letter: DeadLetter | None = None
    target: str | None = None  # that ended the message; None unless delivered or discarded without a dead letter
    discarded: bool = False


@dataclass(frozen=True, slots=True)
class Stays:
    """The message stays at the head of its queue, hidden for `hidden_seconds`; None: it is released. The lane ends."""

    hidden_seconds: int | None


class LaneRunner(ABC):
    """Works one lane off. The orderings differ in `_process_head` and `_handle_failure`."""

    def __init__(self, context: LaneContext, visibility: VisibilityManager) -> None:
        self.context = context
        self.visibility = visibility
        keeps = visibility.queue.retention_seconds is None
        expiry = None if keeps else context.settings.expire_after_seconds
        self._age_limits = AgeLimits(expiry, context.route.delivery.max_age_seconds)
        self._parked = ParkedMessages()

    async def run(self, lane: Lane) -> None:
        """Delivers until the lane is empty, lost or parked, or the worker stops; then releases the rest."""
        deletes = LaneDeletes(lane, self.visibility, self._after_delete, self.context.random)
        try:
            hidden_seconds = await self._work_off(lane, deletes)
            await deletes.finish()
            if hidden_seconds is None:
                await self.visibility.release(lane)
            else:
                await self.visibility.hide_head_and_release_rest(lane, hidden_seconds)
        except LaneLostError as lost:
            _log.warning("dropped the lane of %s: %s", lane.key[1], lost)
            with contextlib.suppress(LaneLostError):
                await deletes.finish()  # a call under way may still succeed, and is reported
        finally:
            deletes.cancel()

    async def _work_off(self, lane: Lane, deletes: LaneDeletes[Disposition]) -> int | None:
        """Works until a message stays in its queue; for how many seconds that one is to be hidden, None: not at all."""
        messages = tuple(lane.held)
        try:
            for message in messages:
                if not lane.may_continue.is_set():
                    await lane.may_continue.wait()
                step = await self._process_head(lane, message)
                if isinstance(step, AttemptMade) and isinstance(step.decision, Delivered):
                    deletes.add(message, Disposition(step.task, target=step.result.outcome.target))
                    continue
                settled = await self._settle(lane, message, step)
                if isinstance(settled, Stays):
                    return settled.hidden_seconds
                deletes.add(message, settled)
        except (SaturatedError, ParkLaneError) as error:
            self._parked.add(messages[messages.index(message) :])
            lane.waits_for_host = (
                isinstance(error, HostHeldError) and not lane.settled and len(lane.held) == len(messages)
            )
            return error.seconds if isinstance(error, ParkLaneError) else self.context.settings.park_seconds
        return None

    def _report_repeat(self, message: ReceivedMessage) -> None:
        """Reports a message that was received before, unless that ended here without an attempt."""
        if not self._parked.remove(message):
            self.context.reporter.repeated(self.context.stage, message)

    @abstractmethod
    async def _process_head(self, lane: Lane, message: ReceivedMessage) -> Step:
        """Judges the next message and attempts it where it is deliverable and due."""

    @abstractmethod
    async def _handle_failure(self, lane: Lane, message: ReceivedMessage, made: AttemptMade) -> Disposition | Stays:
        """Settles a failed attempt."""

    async def _after_delete(self, _message: ReceivedMessage, settled: Disposition) -> None:
        """Reports a message that its queue has deleted."""
        if settled.dead_letter is not None:
            self.context.reporter.dead_lettered(settled.dead_letter)
        elif settled.target is not None and settled.task is not None:
            reporter = self.context.reporter
            report = reporter.discarded if settled.discarded else reporter.delivered
            report(settled.task, settled.target)
        if self.context.controls.may_apply:
            end = settled.dead_letter or settled.task
            if end is not None:
                ended = settled.dead_letter is not None or settled.target is not None
                await self.context.controls.settled(end.message_id, ended=ended)

    def _wait_until(self, due_at: int, ladder: LadderState | None) -> NotDue | None:
        """How long a head that is due at a time, in epoch milliseconds, is to stay hidden; None where it is due."""
        wait_ms = remaining_wait_ms(due_at, ladder, self.context.clock.now_ms())
        return NotDue(-(-wait_ms // 1000)) if wait_ms else None

    def _triage(self, message: ReceivedMessage) -> Deliverable | Undeliverable:
        context = self.context
        return triage(message, context.stage, context.clock.now_ms(), self._age_limits, context.generation)

    async def _attempt(self, lane: Lane, task: Deliverable) -> AttemptMade | Stopping:
        context = self.context

        async def may_dial() -> bool:
            if not self.visibility.has_visibility(lane, context.needed_visibility):
                await self.visibility.ensure_visibility(lane, context.needed_visibility)
            return lane.may_continue.is_set() and not context.stopping.is_set()

        while not context.stopping.is_set():
            result = await context.attempts.make(task, may_dial)
            if result is not None:
                if result.hidden_seconds is not None:
                    context.reporter.attempted(context.stage, task, result, None)
                    # Another lane makes the next probe: this message may fail for a reason of its own.
                    raise HostHeldError(result.hidden_seconds)
                decision: Decision = _DELIVERED
                if not result.outcome.delivered:
                    result, decision = self._judge(task, result)
                context.reporter.attempted(context.stage, task, result, decision)
                return AttemptMade(task, result, decision)
            await lane.may_continue.wait()  # a delete failed while the attempt waited for its turn; no slot is taken
        return Stopping()

    def _judge(self, task: Deliverable, result: AttemptResult) -> tuple[AttemptResult, Decision]:
        """An attempt that the target did not accept, as the route takes it, and where its message goes."""
        route = self.context.route
        outcome = route.retry.judge(result.outcome)
        max_age = route.delivery.max_age_seconds
        too_old_at = None if max_age is None else task.queued_at + max_age * 1000
        decision = decide(
            route.retry,
            outcome,
            task.ladder,
            self.context.clock.now_ms(),
            subject=task.envelope.subject,
            too_old_at_ms=too_old_at,
        )
        return result if outcome is result.outcome else replace(result, outcome=outcome), decision

    async def _settle(self, lane: Lane, message: ReceivedMessage, step: Step) -> Disposition | Stays:
        match step:
            case AttemptMade(task=task, result=result, decision=Discarded()):
                return Disposition(task, target=result.outcome.target, discarded=True)
            case AttemptMade():
                return await self._handle_failure(lane, message, step)
            case NotDue(seconds=seconds):
                return Stays(seconds)
            case AlreadyExhausted(task=task, state=state):
                target = self.context.attempts.target_of(url_of(task.envelope))
                route = self.context.route
                reason = reason_to_give_up(route.retry, state, route.delivery.max_age_seconds)
                return await self._give_up(lane, task, GiveUp(reason, state), target)
            case Undeliverable():
                return await self._dead_letter_unattempted(lane, message, step)
            case Stopping():
                return Stays(None)

    async def _dead_letter_unattempted(
        self, lane: Lane, message: ReceivedMessage, undeliverable: Undeliverable
    ) -> Disposition:
        target = self.context.attempts.target_of(url_of(undeliverable.envelope))
        route, now = self.context.route.key, self.context.clock.now_ms()
        dead_letter = dead_letter_of_undeliverable(route, message, undeliverable, target, now)
        await self.context.handoff.to_dead_letters(lane, dead_letter)
        return Disposition(None, dead_letter)

    async def _give_up(self, lane: Lane, task: Deliverable, decision: GiveUp, target: str) -> Disposition:
        now = self.context.clock.now_ms()
        dead_letter = dead_letter_of_give_up(self.context.route.key, task, decision, target, now)
        await self.context.handoff.to_dead_letters(lane, dead_letter)
        return Disposition(task, dead_letter)


class RelaxedRunner(LaneRunner):
    """Moves a failing message to its rung."""

    async def _process_head(self, lane: Lane, message: ReceivedMessage) -> Step:
        task = self._triage(message)
        due_at = task.due_at if isinstance(task, Deliverable) else None
        if self.context.controls.may_apply and isinstance(task, Deliverable):
            task = await self.context.controls.apply(task)
        if isinstance(task, Deliverable) and task.due_at is not None:
            not_due = self._wait_until(task.due_at, task.ladder)
            if not_due is not None:
                return not_due
        step = task if isinstance(task, Undeliverable) else await self._attempt(lane, task)
        # A message that was first received before it was due has been hidden, not attempted.
        if message.receive_count > 1 and (due_at is None or message.first_received_at >= due_at):
            self._report_repeat(message)
        return step

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
