"""Hides, deletes and releases the messages that a worker holds from one queue.

The rules that cost order or loss when broken (the AWS behaviour they follow is in `docs/order.md`):

- a message is deliverable when no earlier message of its group is hidden, so only a suffix of a lane may be released
  while its head is worked on, and the head is extended first;
- deleting with an expired receipt handle fails on a FIFO queue, and the message is redelivered;
- `Failed` entries come inside an HTTP 200.
"""

import logging
from collections.abc import Sequence

from chaski_core.errors import BackendError
from chaski_core.ports import MAX_HIDDEN_SECONDS, Clock, Failed, Queue, ReceivedMessage, VisibilityChange
from chaski_worker.lanes.batcher import Batcher
from chaski_worker.lanes.lane import Lane

_log = logging.getLogger(__name__)
_TOTAL_MARGIN_SECONDS = 60  # of the queue's limit of twelve hours, never asked for


class VisibilityManager:
    """All calls with receipt handles of one queue."""

    def __init__(
        self,
        queue: Queue,
        *,
        clock: Clock,
        visibility_seconds: int,
        linger_seconds: float = 0,
    ) -> None:
        self.queue = queue
        self._clock = clock
        self._visibility = visibility_seconds
        self._deletes: Batcher[ReceivedMessage, Failed | None] = Batcher(self._delete, linger_seconds=linger_seconds)
        self._changes: Batcher[VisibilityChange, Failed | None] = Batcher(queue.change_visibility)

    async def extend(self, lane: Lane) -> None:
        """Hides every held message of a lane for the whole visibility timeout from now on, head first.

        The lane is lost where an entry is refused for good or the visibility timeout has run out. Where the queue is
        unavailable, the deadline stays as it is, and the next heartbeat tries again.
        """
        async with lane.lock:
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

    async def delete_settled(self, lane: Lane, *, soon: bool) -> tuple[Sequence[ReceivedMessage], Failed | None]:
        """Deletes the lane's settled messages with one call, including those that are added while it lingers.

        Args:
            lane: has at least one.
            soon: the lane is blocked until they are deleted.

        Returns:
            The deleted messages, which the lane no longer holds, and why others were not, preferring a permanent failure.

        Raises:
            LaneLostError: the visibility timeout may have run out.
        """
        async with lane.lock:
            lane.check(self._clock.monotonic())
            try:
                results = await self._deletes.submit(lane.settled, soon=soon)
            except BackendError as error:
                return (), Failed("unavailable", str(error), sender_fault=False)
            deleted = [message for message, failed in zip(lane.settled, results, strict=False) if failed is None]
            for message in deleted:
                lane.held.remove(message)
                lane.settled.remove(message)
        failures = [failed for failed in results if failed is not None]
        return deleted, max(failures, key=lambda failed: failed.sender_fault, default=None)

    def deletes_added(self) -> None:
        """A lane has another settled message."""
        self._deletes.flush_if_full()

    def flush_deletes_soon(self) -> None:
        """A lane is blocked on a delete: lingering deletes are sent within a moment."""
        self._deletes.flush_soon()

    async def hide_head_and_release_rest(self, lane: Lane, hidden_seconds: int) -> None:
        """Ends a lane: its head stays hidden for `hidden_seconds`, which blocks the group; the rest is released.

        Where that fails, the visibility timeout runs out by itself: nothing is lost, it only takes longer.
        """
        async with lane.lock:
            if not lane.held or lane.lost:
                return
            lane.lost = "its head is hidden until later"  # no heartbeat may extend it from here on
            head, *rest = lane.held
            if await self._change([VisibilityChange(head.receipt_handle, self._bounded(lane, hidden_seconds))]):
                await self._change([VisibilityChange(message.receipt_handle, 0) for message in reversed(rest)])

    async def release(self, lane: Lane) -> None:
        """Ends a lane: makes all of its held messages visible, last to first."""
        async with lane.lock:
            if not lane.held or lane.lost:
                return
            lane.lost = "released"
            await self._change([VisibilityChange(message.receipt_handle, 0) for message in reversed(lane.held)])

    async def _delete(self, messages: Sequence[ReceivedMessage]) -> Sequence[Failed | None]:
        return await self.queue.delete([message.receipt_handle for message in messages])

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
