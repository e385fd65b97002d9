"""A delete that goes on beside the next attempt, without a task of its own."""

import asyncio
from collections.abc import Callable, Sequence

from chaski_core.errors import BackendError
from chaski_core.ports import Failed
from chaski_worker.lanes.lane import Lane, LaneLostError


class PipelinedDelete:
    """The delete of a lane's head, asked for and not yet answered. The lane's `deleting` until then.

    Args:
        lane: it loses its head once that is gone.
        answer: of the queue.
        then: called once it is gone.
    """

    __slots__ = ("_answer", "_noted", "_then", "lane")

    def __init__(self, lane: Lane, answer: asyncio.Future[Sequence[Failed | None]], then: Callable[[], None]) -> None:
        self.lane = lane
        self._answer = answer
        self._then = then
        self._noted = False
        lane.deleting = self
        answer.add_done_callback(self._note)

    def done(self) -> bool:
        """Whether it is answered."""
        return self._answer.done()

    async def failure(self) -> Failed | None:
        """Waits for the answer; why the message is not gone, or None where it is."""
        try:
            (failed,) = await self._answer
        except BackendError as error:
            failed = Failed("unavailable", str(error), sender_fault=False)
        self._note(self._answer)  # whoever waits may come before the loop calls it
        return failed

    async def ended(self) -> None:
        """Waits for the answer without a claim to it."""
        await asyncio.wait([self._answer])
        self._note(self._answer)

    def _note(self, answer: asyncio.Future[Sequence[Failed | None]]) -> None:
        if self._noted:
            return
        self._noted = True
        self.lane.deleting = None
        if _gone(answer):
            self.lane.held.popleft()
            self._then()


def refused_delete(lane: Lane, failure: Failed) -> LaneLostError:
    """The queue will not delete by this handle any more: somebody else may have the message. The error to raise."""
    return lane.lose(f"the queue refused a delete: {failure.reason}")


def _gone(answer: asyncio.Future[Sequence[Failed | None]]) -> bool:
    return not answer.cancelled() and answer.exception() is None and answer.result()[0] is None
