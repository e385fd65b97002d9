"""One queue of the embedded broker."""

import asyncio
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from chaski_core.errors import BackendRejectedError
from chaski_core.ports import (
    MAX_BATCH_ENTRIES,
    MAX_HIDDEN_SECONDS,
    Failed,
    OutgoingMessage,
    QueueCounts,
    Sent,
    VisibilityChange,
)
from chaski_embedded.broker import queue_operations
from chaski_embedded.broker.queue_operations import AttributedMessage, AttributedReceived, Hold
from chaski_embedded.broker.unit_of_work import UnitOfWork
from chaski_embedded.broker.waiters import Waiters
from chaski_embedded.broker.writer import Writer
from chaski_embedded.fifo.sequence import read_handle

__all__ = ["AttributedMessage", "AttributedReceived", "EmbeddedQueue"]

URL_SCHEME = "embedded://"
_TOKEN = re.compile(r"[!-~]{1,128}\Z")  # API_SendMessage, MessageGroupId and MessageDeduplicationId
_MAX_BATCH_BYTES = 1_048_576  # API_SendMessageBatch


class EmbeddedQueue:
    """Implements `chaski_core.ports.Queue`; `send` takes `AttributedMessage` too, `receive` returns `AttributedReceived`.

    Receipt handles are refused one by one, as `Failed`: `ReceiptHandleIsInvalid` for text that never was one of this
    queue, `InvalidParameterValue` with "The receipt handle has expired" or another of SQS's own sentences.
    A call on a queue that does not exist raises `BackendRejectedError` (`QueueDoesNotExist`).
    """

    def __init__(self, url: str, engine: Writer, waiting: Callable[[str], AbstractContextManager[Waiters]]) -> None:
        self._url = url
        self._name = url.removeprefix(URL_SCHEME)
        self._engine = engine
        self._waiting = waiting

    @property
    def url(self) -> str:
        """What names the queue."""
        return self._url

    @property
    def atomic_batches(self) -> bool:
        """A batch is one transaction."""
        return True

    @property
    def retention_seconds(self) -> int | None:
        """The queues of a route keep every message until a worker has settled it."""
        return None

    async def send(self, messages: Sequence[OutgoingMessage]) -> Sequence[Sent | Failed]:
        """Puts messages on the queue, all or none; returns after the commit."""
        _check_batch(len(messages))
        if sum(len(message.body) for message in messages) > _MAX_BATCH_BYTES:
            raise BackendRejectedError("BatchRequestTooLong", "The length of all the messages put together is too long")
        for message in messages:
            _check_token("MessageGroupId", message.group_id)
            _check_token("MessageDeduplicationId", message.deduplication_id)
        name, kept = self._name, tuple(messages)
        return await self._engine.submit(lambda session: queue_operations.send(session, name, kept))

    async def receive(
        self, *, max_messages: int, wait_seconds: float, visibility_seconds: int, attempt_id: str
    ) -> Sequence[AttributedReceived]:
        """Takes up to 10 messages, waiting for the first; a cancelled call leaves nothing locked. "" names no attempt."""
        _check_range("MaxNumberOfMessages", max_messages, 1, MAX_BATCH_ENTRIES)
        _check_range("VisibilityTimeout", visibility_seconds, 0, MAX_HIDDEN_SECONDS)
        name = self._name

        def action(session: UnitOfWork) -> list[AttributedReceived]:
            return queue_operations.take(session, name, max_messages, visibility_seconds, attempt_id)

        if wait_seconds <= 0:
            return await self._engine.submit(action, self._undo)
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_seconds
        with self._waiting(name) as waiters:
            while True:
                seen = waiters.version
                received = await self._engine.submit(action, self._undo)
                if received or loop.time() >= until:
                    return received
                await waiters.wait(seen, until)

    async def delete(self, receipt_handles: Sequence[str]) -> Sequence[Failed | None]:
        """Deletes held messages; None for each that is gone."""
        _check_batch(len(receipt_handles))
        holds = [Hold(handle, read_handle(handle)) for handle in receipt_handles]
        return await self._engine.submit(lambda session: queue_operations.delete(session, self._name, holds))

    async def change_visibility(self, changes: Sequence[VisibilityChange]) -> Sequence[Failed | None]:
        """Extends or ends holds, in the order given."""
        _check_batch(len(changes))
        holds = [Hold(each.receipt_handle, read_handle(each.receipt_handle), each.seconds) for each in changes]
        return await self._engine.submit(lambda session: queue_operations.change(session, self._name, holds))

    async def give_back(self, messages: Sequence[AttributedReceived]) -> None:
        """Makes messages visible whose receiver went away; those that another answer holds by now are left alone."""
        kept = tuple(messages)
        await self._engine.submit(lambda session: queue_operations.give_back(session, self._name, kept))

    async def counts(self) -> QueueCounts:
        """How many messages there are."""
        return await self._engine.submit(lambda session: queue_operations.counts(session, self._name))

    def _undo(self, received: Sequence[AttributedReceived]) -> Callable[[UnitOfWork], None] | None:
        if not received:
            return None
        return lambda session: queue_operations.give_back(session, self._name, received)


def _check_batch(entries: int) -> None:
    if not entries:
        raise BackendRejectedError("EmptyBatchRequest", "There should be at least one entry in the request.")
    if entries > MAX_BATCH_ENTRIES:
        sentence = f"Maximum number of entries per request are {MAX_BATCH_ENTRIES}. You have sent {entries}."
        raise BackendRejectedError("TooManyEntriesInBatchRequest", sentence)


def _check_token(parameter: str, value: str) -> None:
    if not _TOKEN.match(value):
        raise BackendRejectedError(
            "InvalidParameterValue",
            f"Value {value} for parameter {parameter} is invalid. Reason: {parameter} can only include alphanumeric and "
            "punctuation characters. 1 to 128 in length.",
        )


def _check_range(parameter: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise BackendRejectedError(
            "InvalidParameterValue",
            f"Value {value} for parameter {parameter} is invalid. Reason: Must be between {low} and {high}, if provided.",
        )
