"""What a receive took whose caller left: given back, so that it locks nothing.

A long poll that is cut off may still take messages: SQS answers it after its caller hung up, and the groups in that
answer stay locked for their whole visibility timeout. So the request is left to end by itself and what it brings is
given back. Where it can't end (the connection broke, or everything closes now), the same attempt is asked for again
without waiting: SQS returns the same messages for the same ReceiveRequestAttemptId
(https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from chaski_core.errors import BackendError
from chaski_core.ports import ReceivedMessage

Receive = Callable[[], Awaitable[Sequence[ReceivedMessage]]]
GiveBack = Callable[[Sequence[ReceivedMessage]], Awaitable[None]]
LINGER_SECONDS = 25.0  # SQS's longest poll, and some
RECOVER_SECONDS = 10.0
CLOSE_SECONDS = 3.0  # with the drain before it still within the grace period of a Pod
_log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _Abandoned:
    """One receive without a caller."""

    request: "asyncio.Task[Sequence[ReceivedMessage]]"
    ask_again: Receive
    settling: "asyncio.Task[None] | None" = None
    giving_back: bool = field(default=False)


class OrphanedReceives:
    """The receives of one queue whose callers left. As many as there were callers at most, for seconds."""

    def __init__(self, give_back: GiveBack) -> None:
        self._give_back = give_back
        self._by_attempt: dict[str, _Abandoned] = {}
        self._closing = asyncio.Event()

    def add(self, attempt_id: str, request: "asyncio.Task[Sequence[ReceivedMessage]]", ask_again: Receive) -> None:
        """Sees to it that what the request takes is given back."""
        abandoned = _Abandoned(request, ask_again)
        self._by_attempt[attempt_id] = abandoned
        abandoned.settling = asyncio.create_task(self._settle(abandoned))
        abandoned.settling.add_done_callback(lambda _: self._forget(attempt_id, abandoned))  # even if it never began

    async def leave_to_caller(self, attempt_id: str) -> None:
        """Somebody asks for the same attempt again: what it returns is theirs, and is not taken from them."""
        abandoned = self._by_attempt.get(attempt_id)
        if abandoned is None or abandoned.settling is None:
            return
        if not abandoned.giving_back:  # a hand-back on its way must arrive before the question, not after its answer
            abandoned.settling.cancel()
        await asyncio.wait((abandoned.settling,))

    async def close(self) -> None:
        """Asks again at once for all that is under way, and gives it back, within seconds."""
        self._closing.set()
        tasks = [each.settling for each in self._by_attempt.values() if each.settling is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _settle(self, abandoned: _Abandoned) -> None:
        try:
            taken = await self._what_was_taken(abandoned)
            abandoned.giving_back = True
            if taken:
                async with asyncio.timeout(RECOVER_SECONDS):
                    await self._give_back(taken)
        except (BackendError, TimeoutError) as error:
            _log.warning("a receive without a caller may hold messages until their visibility timeout: %s", error)

    def _forget(self, attempt_id: str, abandoned: _Abandoned) -> None:
        abandoned.request.cancel()
        if self._by_attempt.get(attempt_id) is abandoned:
            del self._by_attempt[attempt_id]

    async def _what_was_taken(self, abandoned: _Abandoned) -> Sequence[ReceivedMessage]:
        request = abandoned.request
        closing = asyncio.create_task(self._closing.wait())
        try:
            await asyncio.wait((request, closing), timeout=LINGER_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            closing.cancel()
        if request.done() and not request.cancelled() and request.exception() is None:
            return request.result()
        request.cancel()
        async with asyncio.timeout(RECOVER_SECONDS):
            return await abandoned.ask_again()
