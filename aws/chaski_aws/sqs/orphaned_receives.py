"""Releases messages received by a cancelled ReceiveMessage call, so that their groups are not locked.

An aborted long poll may still receive messages: SQS answers it after the client disconnected, and the groups in that
response stay locked for the whole visibility timeout. So the request is left running and the messages that it returns
are released. Where it can't complete (the connection broke, or the process is closing), the same attempt is requested
again without waiting: SQS returns the same messages for the same ReceiveRequestAttemptId
(https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from chaski_core.errors import BackendError
from chaski_core.ports import ReceivedMessage

Receive = Callable[[], Awaitable[Sequence[ReceivedMessage]]]
Release = Callable[[Sequence[ReceivedMessage]], Awaitable[None]]
LINGER_SECONDS = 25.0  # longer than SQS's longest poll of 20 s
RECOVER_SECONDS = 10.0
CLOSE_SECONDS = 3.0  # after the drain, still within the grace period of a Pod
_log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _Orphan:
    """A receive whose caller was cancelled."""

    request: "asyncio.Task[Sequence[ReceivedMessage]]"
    repeat: Receive
    recovery: "asyncio.Task[None] | None" = None
    releasing: bool = field(default=False)


class OrphanedReceives:
    """Receives of one queue whose callers were cancelled. At most one per caller, for seconds."""

    def __init__(self, release: Release) -> None:
        self._release = release
        self._by_attempt: dict[str, _Orphan] = {}
        self._closing = asyncio.Event()

    def add(self, attempt_id: str, request: "asyncio.Task[Sequence[ReceivedMessage]]", repeat: Receive) -> None:
        """Releases, in the background, the messages that the request receives."""
        orphan = _Orphan(request, repeat)
        self._by_attempt[attempt_id] = orphan
        orphan.recovery = asyncio.create_task(self._recover(orphan))
        orphan.recovery.add_done_callback(lambda _: self._remove(attempt_id, orphan))  # even if it never started

    async def hand_over(self, attempt_id: str) -> None:
        """Leaves the messages of an attempt to a new caller of the same attempt."""
        orphan = self._by_attempt.get(attempt_id)
        if orphan is None or orphan.recovery is None:
            return
        if not orphan.releasing:  # a release that has started must reach SQS before the new caller's request
            orphan.recovery.cancel()
        await asyncio.wait((orphan.recovery,))

    async def close(self) -> None:
        """Repeats all pending receives at once and releases their messages, within seconds."""
        self._closing.set()
        tasks = [each.recovery for each in self._by_attempt.values() if each.recovery is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _recover(self, orphan: _Orphan) -> None:
        try:
            received = await self._received_messages(orphan)
            orphan.releasing = True
            if received:
                async with asyncio.timeout(RECOVER_SECONDS):
                    await self._release(received)
        except (BackendError, TimeoutError) as error:
            _log.warning("a cancelled receive may lock messages until their visibility timeout: %s", error)

    def _remove(self, attempt_id: str, orphan: _Orphan) -> None:
        orphan.request.cancel()
        if self._by_attempt.get(attempt_id) is orphan:
            del self._by_attempt[attempt_id]

    async def _received_messages(self, orphan: _Orphan) -> Sequence[ReceivedMessage]:
        request = orphan.request
        closing = asyncio.create_task(self._closing.wait())
        try:
            await asyncio.wait((request, closing), timeout=LINGER_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            closing.cancel()
        if request.done() and not request.cancelled() and request.exception() is None:
            return request.result()
        request.cancel()
        async with asyncio.timeout(RECOVER_SECONDS):
            return await orphan.repeat()
