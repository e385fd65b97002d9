"""Delivers one lane in order: triage, attempt, decide, settle, delete, next."""

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial

from chaski_core.dead_letter import DeadLetter
from chaski_core.ports import Clock, ReceivedMessage
from chaski_core.retry.ladder import Delivered, GiveUp, LadderState, Reason, Retry, decide
from chaski_core.route.model import Route
from chaski_core.values import message_value
from chaski_worker.delivery.attempt import AttemptResult, ParkLaneError, SaturatedError, ShortageRetry
from chaski_worker.delivery.triage import Deliverable, Stage, Undeliverable, triage, url_of
from chaski_worker.lanes.handoff import Handoff, dead_letter_of_give_up, dead_letter_of_undeliverable
from chaski_worker.lanes.lane import Lane, LaneLostError, PipelinedDelete, refused_delete
from chaski_worker.lanes.visibility import VisibilityManager
from chaski_worker.observability.reporting import Reporter
from chaski_worker.settings import WorkerSettings

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LaneContext:
    """What the lanes of one consumer share."""

    route: Route
    stage: Stage
    attempts: ShortageRetry
    handoff: Handoff
    reporter: Reporter
    clock: Clock
    settings: WorkerSettings
    stopping: asyncio.Event
    needed_visibility: float  # seconds that a lane must stay hidden when an attempt begins


@message_value
class AttemptMade:
    """An attempt was made; `decision` follows from its result."""

    task: Deliverable
    result: AttemptResult
    decision: Delivered | Retry | GiveUp


@dataclass(frozen=True, slots=True)
class NotDue:
    """Strict: the head was received before it is due. It is hidden for `seconds` more; no attempt is counted."""

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
    """The message has reached its next home and is to be deleted from its queue."""

    task: Deliverable | None
    dead_letter: DeadLetter | None = None
    delivered_to: str | None = None  # target; None unless delivered


class LaneRunner(ABC):
    """Works one lane off. The two orderings differ in `_process_head` and `_handle_failure`."""

    def __init__(self, context: LaneContext, visibility: VisibilityManager) -> None:
        self.context = context
        self.visibility = visibility

    async def run(self, lane: Lane) -> None:
        """Delivers until the lane is empty, lost or parked, or the worker stops; then releases the rest."""
        deleting = _DeleteInFlight()
        try:
            await self._work_off(lane, deleting)
            await self.visibility.release(lane)
        except LaneLostError as lost:
            await deleting.finish_ignoring_loss()
            _log.warning("dropped the lane of %s: %s", lane.key[1], lost)
        except SaturatedError:
            await deleting.finish_ignoring_loss()
            await self.visibility.hide_head_and_release_rest(lane, self.context.settings.park_seconds)
        except ParkLaneError as error:
            await deleting.finish_ignoring_loss()
            await self.visibility.hide_head_and_release_rest(lane, error.seconds)
        finally:
            deleting.cancel()

    async def _work_off(self, lane: Lane, deleting: "_DeleteInFlight") -> None:
        messages = tuple(lane.held)
        for message in messages:
            step = await self._process_head(lane, message)
            # The delete of the previous message ran beside this attempt. It is awaited before anything else is settled,
            # so that the deletes of a lane are acknowledged in order.
            if deleting.pending:
                self.visibility.flush_deletes_soon()
            await deleting.finish()
            settled = await self._settle(lane, message, step)
            if settled is None:
                return
            deleting.start(self._start_delete(lane, message, settled), partial(self._delete, lane, message, settled))
        await deleting.finish()

    @abstractmethod
    async def _process_head(self, lane: Lane, message: ReceivedMessage) -> Step:
        """Judges the next message and attempts it where it is deliverable and due."""

    @abstractmethod
    async def _handle_failure(self, lane: Lane, message: ReceivedMessage, made: AttemptMade) -> Disposition | None:
        """Settles a failed attempt; None where the message stays in its queue."""

    def _start_delete(self, lane: Lane, message: ReceivedMessage, settled: Disposition) -> PipelinedDelete | None:
        """Deletes a settled message without a task, where nothing else is left to be done for it."""
        return self.visibility.start_delete(lane, message, partial(self._report, settled))

    async def _delete(self, lane: Lane, message: ReceivedMessage, settled: Disposition) -> None:
        await self.visibility.delete(lane, message)
        self._report(settled)

    def _report(self, settled: Disposition) -> None:
        if settled.dead_letter is not None:
            self.context.reporter.dead_lettered(settled.dead_letter)
        elif settled.delivered_to is not None and settled.task is not None:
            self.context.reporter.delivered(settled.task, settled.delivered_to)

    def _triage(self, message: ReceivedMessage) -> Deliverable | Undeliverable:
        context = self.context
        keeps = self.visibility.queue.retention_seconds is None
        expire_after = None if keeps else context.settings.expire_after_seconds
        return triage(message, context.stage, context.clock.now_ms(), expire_after)

    async def _attempt(self, lane: Lane, task: Deliverable) -> AttemptMade | Stopping:
        context = self.context

        async def may_dial() -> bool:
            if not self.visibility.has_visibility(lane, context.needed_visibility):
                await self.visibility.ensure_visibility(lane, context.needed_visibility)
            return not context.stopping.is_set()

        if context.stopping.is_set():
            return Stopping()
        result = await context.attempts.make(task, may_dial)
        if result is None:
            return Stopping()
        decision = decide(context.route.retry, result.outcome, task.ladder, context.clock.now_ms())
        context.reporter.attempted(context.stage, task, result, decision)
        return AttemptMade(task, result, decision)

    async def _settle(self, lane: Lane, message: ReceivedMessage, step: Step) -> Disposition | None:
        match step:
            case AttemptMade(task=task, result=result, decision=Delivered()):
                return Disposition(task, delivered_to=result.outcome.target)
            case AttemptMade():
                return await self._handle_failure(lane, message, step)
            case NotDue(seconds=seconds):
                await self.visibility.hide_head_and_release_rest(lane, seconds)
                return None
            case AlreadyExhausted(task=task, state=state):
                target = self.context.attempts.target_of(url_of(task.envelope))
                return await self._give_up(lane, task, GiveUp(Reason.EXHAUSTED, state), target)
            case Undeliverable():
                return await self._dead_letter_unattempted(lane, message, step)
            case Stopping():
                return None

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


class _DeleteInFlight:
    """The one delete of a lane that may run beside the next attempt."""

    def __init__(self) -> None:
        self._started: PipelinedDelete | None = None
        self._retry: Callable[[], Coroutine[None, None, None]] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def pending(self) -> bool:
        """Whether the delete is still under way."""
        under_way = self._started or self._task
        return under_way is not None and not under_way.done()

    def start(self, started: PipelinedDelete | None, retry: Callable[[], Coroutine[None, None, None]]) -> None:
        """Takes over a delete.

        Args:
            started: the delete under way; None where it could not be started without the lane's lock.
            retry: deletes until it succeeds.
        """
        self._started, self._retry = started, retry
        if started is None:
            self._task = asyncio.create_task(retry())

    async def finish(self) -> None:
        """Waits for the delete and repeats it where it failed. Raises LaneLostError where it can't succeed any more."""
        started, self._started = self._started, None
        task, self._task = self._task, None
        if task:
            await task
        elif started and self._retry and (failure := await started.failure()):
            if failure.sender_fault:
                raise refused_delete(started.lane, failure)
            await self._retry()

    async def finish_ignoring_loss(self) -> None:
        """As `finish`, for a lane that has ended: a LaneLostError is ignored."""
        with contextlib.suppress(LaneLostError):
            await self.finish()

    def cancel(self) -> None:
        """Does not wait. A cancelled delete may or may not have taken effect; if not, the message is redelivered."""
        if self._task:
            self._task.cancel()
