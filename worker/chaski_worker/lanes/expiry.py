"""The lanes of a route whose delivery is suspended."""

from chaski_core.ports import ReceivedMessage
from chaski_core.retry.ladder import Reason
from chaski_worker.delivery.triage import Undeliverable
from chaski_worker.lanes.base import AttemptMade, Disposition, LaneRunner, NotDue, Stays, Step
from chaski_worker.lanes.lane import Lane


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
