"""One queue of the embedded broker."""

from collections.abc import Sequence
from dataclasses import dataclass

from chaski_core.ports import Failed, OutgoingMessage, QueueCounts, ReceivedMessage, Sent, VisibilityChange


@dataclass(frozen=True, slots=True)
class AttributedMessage(OutgoingMessage):
    """A message with something beside its body, which the queue keeps and gives back unread."""

    attributes: bytes | None = None


@dataclass(frozen=True, slots=True)
class AttributedReceived(ReceivedMessage):
    """What `EmbeddedQueue.receive` returns."""

    attributes: bytes | None = None


class EmbeddedQueue:
    """Implements `chaski_core.ports.Queue`; `send` takes `AttributedMessage` too, `receive` returns `AttributedReceived`.

    Receipt handles are refused one by one, as `Failed`: `ReceiptHandleIsInvalid` for text that never was one of this
    queue, `InvalidParameterValue` with "The receipt handle has expired" or another of SQS's own sentences.
    A call on a queue that does not exist raises `BackendRejectedError` (`QueueDoesNotExist`).
    """

    @property
    def url(self) -> str:
        """What names the queue."""
        raise NotImplementedError

    @property
    def atomic_batches(self) -> bool:
        """A batch is one transaction."""
        return True

    async def send(self, messages: Sequence[OutgoingMessage]) -> Sequence[Sent | Failed]:
        """Puts messages on the queue, all or none; returns after the commit."""
        raise NotImplementedError

    async def receive(
        self, *, max_messages: int, wait_seconds: float, visibility_seconds: int, attempt_id: str
    ) -> Sequence[AttributedReceived]:
        """Takes up to 10 messages, waiting for the first; a cancelled call leaves nothing locked. "" names no attempt."""
        raise NotImplementedError

    async def delete(self, receipt_handles: Sequence[str]) -> Sequence[Failed | None]:
        """Deletes held messages; None for each that is gone."""
        raise NotImplementedError

    async def change_visibility(self, changes: Sequence[VisibilityChange]) -> Sequence[Failed | None]:
        """Extends or ends holds, in the order given."""
        raise NotImplementedError

    async def counts(self) -> QueueCounts:
        """How many messages there are."""
        raise NotImplementedError
