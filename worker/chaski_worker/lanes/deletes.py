"""The deletes of one lane: pipelined beside its attempts, in order, batched.

A message is settled when it was delivered, or when its next home (rung or dead letters) has stored it. The next message
is attempted at once: it does not wait until the queue has acknowledged the delete. So a crash repeats the settled messages
whose deletes were not acknowledged, at most the ten of the lane.

At most one call with a lane's deletes is under way; what is settled meanwhile goes in the next one. So no message is
deleted while an earlier one of its subject may remain, and a crash repeats the last ones that were delivered, in order:
the target ends with the newest. (SQS may refuse a single entry of a call. It is deleted again at once.)

Once a delete has failed, nothing further of the lane starts until it has succeeded or the lane is lost.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from chaski_core.ports import ReceivedMessage
from chaski_worker.lanes.lane import Lane
from chaski_worker.lanes.visibility import VisibilityManager
from chaski_worker.settings import BACKEND_BACKOFF

_log = logging.getLogger(__name__)
End = TypeVar("End")


class LaneDeletes(Generic[End]):
    """Deletes the settled messages of one lane, in a task that exists while there are any.

    A lane's last message needs no task where no delete is under way: `finish` deletes it. So a lane of one message has none.

    Args:
        lane: the lane.
        visibility: makes the calls.
        on_deleted: awaited for each message once the queue has deleted it, with the `end` of `add`.
        random: in [0, 1), for the backoff.
    """

    def __init__(
        self,
        lane: Lane,
        visibility: VisibilityManager,
        on_deleted: Callable[[ReceivedMessage, End], Awaitable[None]],
        random: Callable[[], float],
    ) -> None:
        self._lane = lane
        self._visibility = visibility
        self._on_deleted = on_deleted
        self._random = random
        self._ends: dict[str, End] = {}  # by receipt handle
        self._task: asyncio.Task[None] | None = None  # stays where it failed
        self._soon = False  # the lane waits for its deletes

    def add(self, message: ReceivedMessage, end: End) -> None:
        """The lane's next message is settled: it is deleted beside what follows."""
        lane = self._lane
        self._ends[message.receipt_handle] = end
        lane.settled.append(message)
        if self._task is not None:
            self._visibility.deletes_added()
        elif len(lane.settled) < len(lane.held):
            self._task = asyncio.create_task(self._delete_all())

    async def finish(self) -> None:
        """Returns once every settled message is deleted. Raises LaneLostError where one can't be deleted any more."""
        # Further messages of the subject may wait for these. Those of a single message are rare enough to linger
        # and to share a call with other lanes' deletes.
        self._soon = len(self._lane.ids) > 1
        if self._task is not None:
            if self._soon:
                self._visibility.flush_deletes_soon()
            await self._task
        elif self._lane.settled:
            await self._delete_all()

    def cancel(self) -> None:
        """Does not wait. A cancelled delete may or may not have taken effect; if not, the message is redelivered."""
        if self._task is not None and not self._task.cancel() and not self._task.cancelled():
            self._task.exception()  # is known: retrieved, so that asyncio does not log it

    async def _delete_all(self) -> None:
        lane, failures = self._lane, 0
        try:
            while lane.settled:
                deleted, failure = await self._visibility.delete_settled(lane, soon=self._soon)
                if failure is not None:
                    lane.may_continue.clear()
                for message in deleted:
                    await self._on_deleted(message, self._ends.pop(message.receipt_handle))
                if failure is None:
                    if failures:
                        failures = 0
                        lane.may_continue.set()
                    continue
                if failure.sender_fault:  # its receipt handle is no longer valid: another worker may have the message
                    raise lane.lose(f"the queue refused a delete: {failure.reason}")
                failures += 1
                _log.warning("could not delete a message, will retry: %s", failure.reason)
                await asyncio.sleep(BACKEND_BACKOFF.equal_jitter(failures, self._random()))
        finally:
            lane.may_continue.set()  # where the lane is lost, the next check says so
        self._task = None
