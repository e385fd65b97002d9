"""While a route's delivery is suspended: still nothing may be lost to the queue's retention."""

from chaski_core.ports import ReceivedMessage
from chaski_core.retry.ladder import Reason
from chaski_worker.delivery.triage import Undeliverable
from chaski_worker.lanes.base import AttemptMade, Disposition, LaneRunner, NotDue, Step
from chaski_worker.lanes.lane import Lane


class ExpireOnlyRunner(LaneRunner):
    """Dead-letters what is about to expire, in order, and attempts nothing.

    A lane whose head is not about to expire is left hidden until its hold runs out, so that the same sweep does not
    receive it again.
    """

    async def run(self, lane: Lane) -> None:
        """As in the base, but what is left is not given back."""
        head = lane.held[0]
        if isinstance(self._expired(head), Undeliverable):
            await super().run(lane)
        else:
            lane.lost = "left to run out"

    async def _look(self, _lane: Lane, message: ReceivedMessage) -> Step:
        return self._expired(message) or NotDue(0)

    async def _fail(self, _lane: Lane, _message: ReceivedMessage, _made: AttemptMade) -> Disposition | None:
        raise TypeError("nothing is attempted while delivery is suspended")

    def _expired(self, message: ReceivedMessage) -> Undeliverable | None:
        task = self._triage(message)
        return task if isinstance(task, Undeliverable) and task.reason is Reason.EXPIRED else None
