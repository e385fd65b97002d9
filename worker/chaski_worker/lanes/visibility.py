"""Keeps, deletes, hides and gives back what a worker holds from one queue.

The rules that cost order or loss when broken (the AWS behaviour they follow is in `docs/order.md`):

- a message is deliverable when no earlier message of its group is hidden, so only a suffix of a lane may be given
  back while its head is worked on, and the head is extended first;
- deleting with an expired handle fails on a FIFO queue, and then the message comes again;
- `Failed` entries come inside an HTTP 200.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from chaski_core.errors import BackendError
from chaski_core.ports import MAX_HIDDEN_SECONDS, Clock, Failed, Queue, ReceivedMessage, VisibilityChange
from chaski_worker.delivery.backoff import backoff_seconds
from chaski_worker.lanes.batcher import Batcher
from chaski_worker.lanes.deletes import PipelinedDelete, refused_delete
from chaski_worker.lanes.lane import Lane

_log = logging.getLogger(__name__)
_TOTAL_MARGIN_SECONDS = 60  # of the twelve hours in all, never asked for


class VisibilityManager:
    """All calls on receipt handles of one queue."""

    def __init__(
        self,
        queue: Queue,
        *,
        clock: Clock,
        random: Callable[[], float],
        visibility_seconds: int,
        linger_seconds: float = 0,
    ) -> None:
        self.queue = queue
        self._clock = clock
        self._random = random
        self._visibility = visibility_seconds
        self._deletes: Batcher[str, Failed | None] = Batcher(queue.delete, linger_seconds=linger_seconds)
        self._changes: Batcher[VisibilityChange, Failed | None] = Batcher(queue.change_visibility)

    async def extend(self, lane: Lane) -> None:
        """Hides every held message of a lane for the whole visibility time from now on, head first.

        Where an entry is refused for good, or the hold has run out, the lane is lost. Where the queue is away, the
        deadline stays, and the next heartbeat tries again.
        """
        async with lane.lock:
            await lane.settle()
            if not lane.held or lane.lost:
                return
            asked_at = self._clock.monotonic()
            changes = [VisibilityChange(message.receipt_handle, self._visibility) for message in lane.held]
            try:
                results = await self._changes.submit(changes)
            except BackendError as error:
                _log.warning("could not extend the hold on %d messages, trying again: %s", len(changes), error)
                return
            failed = [result for result in results if result is not None]
            if not failed:
                lane.deadline = asked_at + self._visibility
            elif any(failure.sender_fault for failure in failed):
                lane.lost = f"the queue refused to extend the hold: {failed[0].reason}"

    def is_secure(self, lane: Lane, seconds: float) -> bool:
        """Whether the hold lasts so many seconds more; raises LaneLostError where it is not certain any more."""
        now = self._clock.monotonic()
        lane.check(now)
        return lane.outlives(seconds, now)

    async def secure(self, lane: Lane, seconds: float) -> None:
        """Makes sure that the hold lasts so many seconds more; else raises LaneLostError."""
        if not self.is_secure(lane, seconds):
            await self.extend(lane)
            lane.check(self._clock.monotonic())
            if not lane.outlives(min(seconds, self._visibility), self._clock.monotonic()):
                raise lane.lose("the hold could not be extended in time")

    def hurry(self) -> None:
        """A lane waits for a delete before it can go on: those that linger now get only a moment more."""
        self._deletes.hurry()

    def begin_delete(self, lane: Lane, message: ReceivedMessage, then: Callable[[], None]) -> PipelinedDelete | None:
        """Deletes the lane's head beside whatever comes next; None where a call on the lane is under way.

        Args:
            lane: the lane.
            message: its head.
            then: called once it is gone.

        Raises:
            LaneLostError: the hold is not certain any more.
        """
        if lane.busy:
            return None
        lane.check(self._clock.monotonic())
        return PipelinedDelete(lane, self._deletes.put([message.receipt_handle]), then)

    async def delete(self, lane: Lane, message: ReceivedMessage) -> None:
        """Deletes the lane's head. Tries until it is gone, or raises LaneLostError."""
        failures = 0
        while True:
            async with lane.lock:
                await lane.settle()
                lane.check(self._clock.monotonic())
                failure = await self._delete_once(message)
                if failure is None:
                    lane.held.popleft()
                    return
                if failure.sender_fault:
                    raise refused_delete(lane, failure)
            failures += 1
            _log.warning("could not delete a message, trying again: %s", failure.reason)
            await asyncio.sleep(backoff_seconds(failures, self._random()))

    async def _delete_once(self, message: ReceivedMessage) -> Failed | None:
        try:
            (result,) = await self._deletes.submit([message.receipt_handle])
        except BackendError as error:
            return Failed("unavailable", str(error), sender_fault=False)
        return result

    async def put_back(self, lane: Lane, head_hidden_seconds: int) -> None:
        """Ends a lane: its head stays hidden for so long, which keeps the group waiting; the rest is given back.

        Where that fails, the hold runs out by itself; nothing is lost, it only takes longer.
        """
        async with lane.lock:
            await lane.settle()
            if not lane.held or lane.lost:
                return
            lane.lost = "put back"  # from here on no heartbeat may touch it
            head, *rest = lane.held
            if await self._change([VisibilityChange(head.receipt_handle, self._bounded(lane, head_hidden_seconds))]):
                await self._change([VisibilityChange(message.receipt_handle, 0) for message in reversed(rest)])

    async def release(self, lane: Lane) -> None:
        """Ends a lane: gives everything back that is still held, last to first."""
        async with lane.lock:
            await lane.settle()
            if not lane.held or lane.lost:
                return
            lane.lost = "released"
            await self._change([VisibilityChange(message.receipt_handle, 0) for message in reversed(lane.held)])

    def _bounded(self, lane: Lane, seconds: int) -> int:
        held = self._clock.monotonic() - lane.received_at
        return max(0, min(seconds, int(MAX_HIDDEN_SECONDS - held - _TOTAL_MARGIN_SECONDS)))

    async def _change(self, changes: Sequence[VisibilityChange]) -> bool:
        if not changes:
            return True
        try:
            results = await self._changes.submit(changes)
        except BackendError as error:
            _log.warning("could not give %d messages back, their hold runs out by itself: %s", len(changes), error)
            return False
        return all(result is None for result in results)
