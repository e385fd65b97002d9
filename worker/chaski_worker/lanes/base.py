"""Delivers one lane in order: triage, attempt, decide, settle, delete, next."""

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from functools import partial

from chaski_core.dead_letter import DeadLetter
from chaski_core.ports import Clock, ReceivedMessage
from chaski_core.retry.ladder import Delivered, ErrorNote, GiveUp, LadderState, Reason, Retry, decide
from chaski_core.route.model import Route
from chaski_core.values import message_value
from chaski_worker.delivery.attempt import Attempted, SaturatedError
from chaski_worker.delivery.triage import Deliverable, Stage, Undeliverable, triage
from chaski_worker.lanes import dead_letters
from chaski_worker.lanes.deletes import PipelinedDelete, refused_delete
from chaski_worker.lanes.handoff import Handoff
from chaski_worker.lanes.lane import Lane, LaneLostError
from chaski_worker.lanes.visibility import VisibilityManager
from chaski_worker.observability.reporting import Reporter
from chaski_worker.settings import WorkerSettings
from chaski_worker.shortage.waiting import PatientAttempts, PutBackError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LaneContext:
    """What the lanes of one consumer share."""

    route: Route
    stage: Stage
    attempts: PatientAttempts
    handoff: Handoff
    reporter: Reporter
    clock: Clock
    settings: WorkerSettings
    stopping: asyncio.Event
    hold_seconds: float  # that a hold must last when an attempt begins


@message_value
class AttemptMade:
    """An attempt was made, and this is what follows from it."""

    task: Deliverable
    attempted: Attempted
    decision: Delivered | Retry | GiveUp


@dataclass(frozen=True, slots=True)
class NotDue:
    """Strict: the head was received before its time; it is hidden again, and that counts as nothing."""

    seconds: int


@dataclass(frozen=True, slots=True)
class AlreadyExhausted:
    """Strict: the ladder had ended before a crash; only the dead letter is still to be kept."""

    task: Deliverable
    state: LadderState


@dataclass(frozen=True, slots=True)
class Stopping:
    """The worker is stopping: what is left of the lane goes back."""


Step = AttemptMade | NotDue | AlreadyExhausted | Stopping | Undeliverable


@message_value
class Disposition:
    """The message has reached its next home and is to be deleted where it lies."""

    task: Deliverable | None
    letter: DeadLetter | None = None
    delivered_to: str | None = None  # target; None unless delivered


class LaneRunner(ABC):
    """Works one lane off. What the two orderings do differently is in `_look` and `_fail`."""

    def __init__(self, job: LaneContext, holder: VisibilityManager) -> None:
        self.job = job
        self.holder = holder

    async def run(self, lane: Lane) -> None:
        """Delivers until the lane is empty, lost or put back, or the worker stops; then gives the rest back."""
        trailing = _Trailing()
        try:
            await self._work_off(lane, trailing)
            await self.holder.release(lane)
        except LaneLostError as lost:
            await trailing.quietly()
            _log.warning("dropped the lane of %s: %s", lane.key[1], lost)
        except SaturatedError:
            await trailing.quietly()
            await self.holder.put_back(lane, self.job.settings.park_seconds)
        except PutBackError as error:
            await trailing.quietly()
            await self.holder.put_back(lane, error.seconds)
        finally:
            trailing.abandon()

    async def _work_off(self, lane: Lane, trailing: "_Trailing") -> None:
        messages = tuple(lane.held)
        for message in messages:
            step = await self._look(lane, message)
            # The delete of the one before ran beside this attempt. It is awaited before anything else is settled, so
            # that the deletes of a lane are acknowledged in order.
            if trailing.pending:
                self.holder.hurry()
            await trailing.finish()
            settled = await self._settle(lane, message, step)
            if settled is None:
                return
            trailing.start(self._begin_delete(lane, message, settled), partial(self._delete, lane, message, settled))
        await trailing.finish()

    @abstractmethod
    async def _look(self, lane: Lane, message: ReceivedMessage) -> Step:
        """Judges the next message and, where it should be, attempts it."""

    @abstractmethod
    async def _fail(self, lane: Lane, message: ReceivedMessage, made: AttemptMade) -> Disposition | None:
        """Settles a failed attempt; None where the message stays in its queue."""

    def _begin_delete(self, lane: Lane, message: ReceivedMessage, settled: Disposition) -> PipelinedDelete | None:
        """Deletes a settled message without a task, where the delete is all that is to be done."""
        return self.holder.begin_delete(lane, message, partial(self._deleted, settled))

    async def _delete(self, lane: Lane, message: ReceivedMessage, settled: Disposition) -> None:
        await self.holder.delete(lane, message)
        self._deleted(settled)

    def _deleted(self, settled: Disposition) -> None:
        if settled.letter is not None:
            self.job.reporter.dead_lettered(settled.letter)
        elif settled.delivered_to is not None and settled.task is not None:
            self.job.reporter.delivered(settled.task, settled.delivered_to)

    def _triage(self, message: ReceivedMessage) -> Deliverable | Undeliverable:
        job = self.job
        keeps = self.holder.queue.retention_seconds is None
        expire_after = None if keeps else job.settings.expire_after_seconds
        return triage(message, job.stage, job.clock.now_ms(), expire_after)

    async def _attempt(self, lane: Lane, task: Deliverable) -> AttemptMade | Stopping:
        job = self.job

        async def may_dial() -> bool:
            if not self.holder.is_secure(lane, job.hold_seconds):
                await self.holder.secure(lane, job.hold_seconds)
            return not job.stopping.is_set()

        if job.stopping.is_set():
            return Stopping()
        attempted = await job.attempts.make(task, may_dial)
        if attempted is None:
            return Stopping()
        decision = decide(job.route.retry, attempted.outcome, task.ladder, job.clock.now_ms())
        job.reporter.attempted(job.stage, task, attempted, decision)
        return AttemptMade(task, attempted, decision)

    async def _settle(self, lane: Lane, message: ReceivedMessage, step: Step) -> Disposition | None:
        match step:
            case AttemptMade(task=task, attempted=attempted, decision=Delivered()):
                return Disposition(task, delivered_to=attempted.outcome.target)
            case AttemptMade():
                return await self._fail(lane, message, step)
            case NotDue(seconds=seconds):
                await self.holder.put_back(lane, seconds)
                return None
            case AlreadyExhausted(task=task, state=state):
                target = self.job.attempts.target_of(dead_letters.url_of(task.envelope))
                return await self._give_up(lane, task, GiveUp(Reason.EXHAUSTED, state), target)
            case Undeliverable():
                target = self.job.attempts.target_of(dead_letters.url_of(step.envelope))
                letter = dead_letters.of_unfit(self.job.route.key, message, step, target, self.job.clock.now_ms())
                await self.job.handoff.to_dead_letters(lane, letter)
                return Disposition(None, letter)
            case Stopping():
                return None

    async def _give_up(self, lane: Lane, task: Deliverable, decision: GiveUp, target: str) -> Disposition:
        letter = dead_letters.of_failure(self.job.route.key, task, decision, target, self.job.clock.now_ms())
        await self.job.handoff.to_dead_letters(lane, letter)
        return Disposition(task, letter)


class RelaxedRunner(LaneRunner):
    """A failing message moves to its rung, and the lane goes on."""

    async def _look(self, lane: Lane, message: ReceivedMessage) -> Step:
        if message.receive_count > 1:
            self.job.reporter.repeated(self.job.stage, message)
        task = self._triage(message)
        return task if isinstance(task, Undeliverable) else await self._attempt(lane, task)

    async def _fail(self, lane: Lane, message: ReceivedMessage, made: AttemptMade) -> Disposition | None:  # noqa: ARG002 - Strict needs it
        task, decision = made.task, made.decision
        if isinstance(decision, Retry):
            refused = await self.job.handoff.to_rung(lane, task, decision)
            if refused is None:
                return Disposition(task)
            note = f"rung {decision.rung.name} refused it: {refused.reason}"
            state = replace(decision.state, errors=(*decision.state.errors[:-1], _noted(decision.state, note)))
            decision = GiveUp(Reason.UNSENDABLE, state)
        assert isinstance(decision, GiveUp)  # noqa: S101 - a delivered message never comes here
        return await self._give_up(lane, task, decision, made.attempted.outcome.target)


def _noted(state: LadderState, detail: str) -> ErrorNote:
    last = state.errors[-1]
    return replace(last, detail=f"{last.detail}; {detail}")


class _Trailing:
    """The one delete of a lane that may be under way beside the next attempt."""

    def __init__(self) -> None:
        self._begun: PipelinedDelete | None = None
        self._again: Callable[[], Coroutine[None, None, None]] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def pending(self) -> bool:
        """Whether it is still under way."""
        under_way = self._begun or self._task
        return under_way is not None and not under_way.done()

    def start(self, begun: PipelinedDelete | None, again: Callable[[], Coroutine[None, None, None]]) -> None:
        """There is a delete.

        Args:
            begun: is under way already; None where it could not be.
            again: deletes until that is done.
        """
        self._begun, self._again = begun, again
        if begun is None:
            self._task = asyncio.create_task(again())

    async def finish(self) -> None:
        """Waits for it; raises LaneLostError where it can't be done any more."""
        begun, self._begun = self._begun, None
        task, self._task = self._task, None
        if task:
            await task
        elif begun and self._again and (failure := await begun.failure()):
            if failure.sender_fault:
                raise refused_delete(begun.lane, failure)
            await self._again()

    async def quietly(self) -> None:
        """Waits for it, whatever comes of it: the lane has ended already."""
        with contextlib.suppress(LaneLostError):
            await self.finish()

    def abandon(self) -> None:
        """Does not wait: a delete that is cut off may have happened or not; if not, the message comes again."""
        if self._task:
            self._task.cancel()
