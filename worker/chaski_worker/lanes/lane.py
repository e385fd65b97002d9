"""A lane: the messages of one subject that this worker holds from one queue, in order."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from chaski_core.errors import BackendError
from chaski_core.ports import Failed, ReceivedMessage

LaneKey = tuple[str, str]  # queue URL, group id


class LaneLostError(Exception):
    """The lane's messages may be visible to other workers. Nothing more is done with the lane."""


class Lane:
    """Messages of one group, all hidden from other receivers until `deadline`.

    `held` shrinks at its head as messages are deleted. `lock` is taken for every call that uses the lane's receipt
    handles, so that a heartbeat under way never lands after a delete or overwrites a backoff. A delete that finds the
    lock free is kept in `deleting` instead, which costs no task.
    """

    def __init__(
        self, queue_url: str, messages: Sequence[ReceivedMessage], received_at: float, deadline: float
    ) -> None:
        self.key: LaneKey = (queue_url, messages[0].group_id)
        self.ids = tuple(message.message_id for message in messages)  # the queue's ids of all messages received
        self.held = deque(messages)
        self.size = sum(len(message.body) for message in messages)  # bytes
        self.received_at = received_at  # monotonic seconds, before the receive was sent
        self.deadline = deadline  # monotonic seconds
        self.lock = asyncio.Lock()
        self.deleting: PipelinedDelete | None = None  # the delete of its head that was started without the lock
        self.lost: str | None = None  # the reason, once the lane is lost
        self.repeats = False  # Strict: an earlier attempt of its head may have ended without a recorded outcome

    @property
    def busy(self) -> bool:
        """Whether a call with its receipt handles is under way."""
        return self.deleting is not None or self.lock.locked()

    async def wait_for_delete(self) -> None:
        """Waits for the pipelined delete of its head, whatever the result. Called first by each holder of the lock."""
        if self.deleting is not None:
            await self.deleting.wait()

    def check(self, now: float) -> None:
        """Raises LaneLostError where the lane is lost or its deadline has passed."""
        if self.lost is None and now >= self.deadline:
            self.lost = "the visibility timeout ran out"
        if self.lost is not None:
            raise LaneLostError(self.lost)

    def lose(self, why: str) -> LaneLostError:
        """Marks the lane as lost and returns the error to raise."""
        self.lost = why
        return LaneLostError(why)

    def outlasts(self, seconds: float, now: float) -> bool:
        """Whether its messages stay hidden for at least `seconds` more."""
        return self.deadline - now >= seconds

    @property
    def oldest_sent_at(self) -> int | None:
        """Epoch milliseconds of the oldest held message; None for an empty lane."""
        return self.held[0].sent_at if self.held else None


class PipelinedDelete:
    """The delete of a lane's head, sent and without a response yet; runs beside the next attempt, without a task.

    It is the lane's `deleting` until the queue has responded.

    Args:
        lane: loses its head once the queue has deleted it.
        result: the queue's response.
        on_deleted: called once the message is deleted.
    """

    __slots__ = ("_applied", "_on_deleted", "_result", "lane")

    def __init__(
        self, lane: Lane, result: asyncio.Future[Sequence[Failed | None]], on_deleted: Callable[[], None]
    ) -> None:
        self.lane = lane
        self._result = result
        self._on_deleted = on_deleted
        self._applied = False
        lane.deleting = self
        result.add_done_callback(self._apply)

    def done(self) -> bool:
        """Whether the queue has responded."""
        return self._result.done()

    async def failure(self) -> Failed | None:
        """Waits for the response. Returns why the message was not deleted, or None."""
        try:
            (failed,) = await self._result
        except BackendError as error:
            failed = Failed("unavailable", str(error), sender_fault=False)
        self._apply(self._result)  # the waiter may run before the loop calls the done callback
        return failed

    async def wait(self) -> None:
        """Waits for the response and ignores it: errors stay in the future for `failure`."""
        await asyncio.wait([self._result])
        self._apply(self._result)

    def _apply(self, result: asyncio.Future[Sequence[Failed | None]]) -> None:
        if self._applied:
            return
        self._applied = True
        self.lane.deleting = None
        if _deleted(result):
            self.lane.held.popleft()
            self._on_deleted()


def _deleted(result: asyncio.Future[Sequence[Failed | None]]) -> bool:
    return not result.cancelled() and result.exception() is None and result.result()[0] is None


def refused_delete(lane: Lane, failure: Failed) -> LaneLostError:
    """Marks the lane as lost: its receipt handle is no longer valid, so another worker may have the message."""
    return lane.lose(f"the queue refused a delete: {failure.reason}")


def split_by_group(messages: Iterable[ReceivedMessage]) -> list[list[ReceivedMessage]]:
    """The messages of one receive by group, each group in the order received."""
    groups: dict[str, list[ReceivedMessage]] = {}
    for message in messages:
        groups.setdefault(message.group_id, []).append(message)
    return list(groups.values())
