"""Hides, deletes and releases the messages that a worker holds from one queue.

The rules that cost order or loss when broken (the AWS behaviour they follow is in `docs/order.md`):

- a message is deliverable when no earlier message of its group is hidden, so only a suffix of a lane may be released
  while its head is worked on, and the head is extended first;
- deleting with an expired receipt handle fails on a FIFO queue, and the message is redelivered;
- `Failed` entries come inside an HTTP 200.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from chaski_core.errors import BackendError
from chaski_core.ports import MAX_HIDDEN_SECONDS, Clock, Failed, Queue, ReceivedMessage, VisibilityChange
from chaski_worker.delivery.backoff import backoff_seconds
from chaski_worker.lanes.batcher import Batcher
from chaski_worker.lanes.lane import Lane, PipelinedDelete, refused_delete

_log = logging.getLogger(__name__)
_TOTAL_MARGIN_SECONDS = 60  # of the queue's limit of twelve hours, never asked for


class VisibilityManager:
    """All calls with receipt handles of one queue."""

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
        """Hides every held message of a lane for the whole visibility timeout from now on, head first.

        The lane is lost where an entry is refused for good or the visibility timeout has run out. Where the queue is
        unavailable, the deadline stays as it is, and the next heartbeat tries again.
        """
        async with lane.lock:
            await lane.wait_for_delete()
            if not lane.held or lane.lost:
                return
            asked_at = self._clock.monotonic()
            changes = [VisibilityChange(message.receipt_handle, self._visibility) for message in lane.held]
            try:
                results = await self._changes.submit(changes)
            except BackendError as error:
                _log.warning("could not extend the visibility of %d messages, will retry: %s", len(changes), error)
                return
            failed = [result for result in results if result is not None]
            if not failed:
                lane.deadline = asked_at + self._visibility
            elif any(failure.sender_fault for failure in failed):
                lane.lost = f"the queue refused to extend the visibility timeout: {failed[0].reason}"

    def has_visibility(self, lane: Lane, seconds: float) -> bool:
        """Whether the lane stays hidden for `seconds` more. Raises LaneLostError where the lane is lost."""
        now = self._clock.monotonic()
        lane.check(now)
        return lane.outlasts(seconds, now)

    async def ensure_visibility(self, lane: Lane, seconds: float) -> None:
        """Makes sure that the lane stays hidden for `seconds` more; else raises LaneLostError."""
        if not self.has_visibility(lane, seconds):
            await self.extend(lane)
            lane.check(self._clock.monotonic())
            if not lane.outlasts(min(seconds, self._visibility), self._clock.monotonic()):
                raise lane.lose("the visibility timeout could not be extended in time")

    def flush_deletes_soon(self) -> None:
        """A lane is blocked on a delete: lingering deletes are sent within a moment."""
        self._deletes.flush_soon()

    def start_delete(
        self, lane: Lane, message: ReceivedMessage, on_deleted: Callable[[], None]
    ) -> PipelinedDelete | None:
        """Deletes the lane's head beside the next attempt; None where another call on the lane is under way.

        Args:
            lane: the lane.
            message: its head.
            on_deleted: called once the message is deleted.

        Raises:
            LaneLostError: the visibility timeout may have run out.
        """
        if lane.busy:
            return None
        lane.check(self._clock.monotonic())
        return PipelinedDelete(lane, self._deletes.submit_nowait([message.receipt_handle]), on_deleted)

    async def delete(self, lane: Lane, message: ReceivedMessage) -> None:
        """Deletes the lane's head. Retries until it is deleted, or raises LaneLostError."""
        failures = 0
        while True:
            async with lane.lock:
                await lane.wait_for_delete()
                lane.check(self._clock.monotonic())
                failure = await self._delete_once(message)
                if failure is None:
                    lane.held.popleft()
                    return
                if failure.sender_fault:
                    raise refused_delete(lane, failure)
            failures += 1
            _log.warning("could not delete a message, will retry: %s", failure.reason)
            await asyncio.sleep(backoff_seconds(failures, self._random()))

    async def _delete_once(self, message: ReceivedMessage) -> Failed | None:
        try:
            (result,) = await self._deletes.submit([message.receipt_handle])
        except BackendError as error:
            return Failed("unavailable", str(error), sender_fault=False)
        return result

    async def hide_head_and_release_rest(self, lane: Lane, hidden_seconds: int) -> None:
        """Ends a lane: its head stays hidden for `hidden_seconds`, which blocks the group; the rest is released.

        Where that fails, the visibility timeout runs out by itself: nothing is lost, it only takes longer.
        """
        async with lane.lock:
            await lane.wait_for_delete()
            if not lane.held or lane.lost:
                return
            lane.lost = "its head is hidden until later"  # no heartbeat may extend it from here on
            head, *rest = lane.held
            if await self._change([VisibilityChange(head.receipt_handle, self._bounded(lane, hidden_seconds))]):
                await self._change([VisibilityChange(message.receipt_handle, 0) for message in reversed(rest)])

    async def release(self, lane: Lane) -> None:
        """Ends a lane: makes all of its held messages visible, last to first."""
        async with lane.lock:
            await lane.wait_for_delete()
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
            _log.warning(
                "could not release %d messages, their visibility timeout will run out: %s", len(changes), error
            )
            return False
        return all(result is None for result in results)
