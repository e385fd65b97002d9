"""One queue of the embedded broker."""

import asyncio
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from chaski_core.errors import BackendRejectedError
from chaski_core.ports import (
    MAX_BATCH_BYTES,
    MAX_BATCH_ENTRIES,
    MAX_HIDDEN_SECONDS,
    Failed,
    OutgoingMessage,
    QueueCounts,
    Sent,
    VisibilityChange,
)
from chaski_embedded.broker import queue_operations
from chaski_embedded.broker.queue_operations import AttributedMessage, AttributedReceived, HandleRequest
from chaski_embedded.broker.unit_of_work import UnitOfWork
from chaski_embedded.broker.waiters import Waiters
from chaski_embedded.broker.writer import Writer
from chaski_embedded.fifo.sequence import read_handle

__all__ = ["AttributedMessage", "AttributedReceived", "EmbeddedQueue"]

URL_SCHEME = "embedded://"
_TOKEN = re.compile(r"[!-~]{1,128}\Z")  # API_SendMessage, MessageGroupId and MessageDeduplicationId


class EmbeddedQueue:
    """Implements `chaski_core.ports.Queue`; `send` accepts `AttributedMessage` too, `receive` returns `AttributedReceived`.

    Receipt handles fail one by one, as `Failed`: `ReceiptHandleIsInvalid` for a text that is not a handle of this queue,
    `InvalidParameterValue` with "The receipt handle has expired" or another message of SQS.
    A call on a queue that does not exist raises `BackendRejectedError` (`QueueDoesNotExist`).
    """

    def __init__(self, url: str, writer: Writer, waiting: Callable[[str], AbstractContextManager[Waiters]]) -> None:
        self._url = url
        self._name = url.removeprefix(URL_SCHEME)
        self._writer = writer
        self._waiting = waiting

    @property
    def url(self) -> str:
        return self._url

    @property
    def atomic_batches(self) -> bool:
        """True: a batch is one transaction."""
        return True

    @property
    def retention_seconds(self) -> int | None:
        """None: the queues of a route keep every message until a worker has settled it."""
        return None

    async def send(self, messages: Sequence[OutgoingMessage]) -> Sequence[Sent | Failed]:
        """Sends messages, all or none; returns after the commit."""
        _check_batch(len(messages))
        if sum(len(message.body) for message in messages) > MAX_BATCH_BYTES:
            raise BackendRejectedError("BatchRequestTooLong", "The length of all the messages put together is too long")
        for message in messages:
            _check_token("MessageGroupId", message.group_id)
            _check_token("MessageDeduplicationId", message.deduplication_id)
        name, batch = self._name, tuple(messages)
        return await self._writer.submit(lambda work: queue_operations.send(work, name, batch))

    async def receive(
        self, *, max_messages: int, wait_seconds: float, visibility_seconds: int, attempt_id: str
    ) -> Sequence[AttributedReceived]:
        """Receives up to 10 messages, waiting for the first; a cancelled call locks nothing. "" means no attempt id."""
        _check_range("MaxNumberOfMessages", max_messages, 1, MAX_BATCH_ENTRIES)
        _check_range("VisibilityTimeout", visibility_seconds, 0, MAX_HIDDEN_SECONDS)
        name = self._name

        def action(work: UnitOfWork) -> list[AttributedReceived]:
            return queue_operations.receive(work, name, max_messages, visibility_seconds, attempt_id)

        if wait_seconds <= 0:
            return await self._writer.submit(action, self._undo)
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_seconds
        with self._waiting(name) as waiters:
            while True:
                seen = waiters.version
                received = await self._writer.submit(action, self._undo)
                if received or loop.time() >= until:
                    return received
                await waiters.wait(seen, until)

    async def delete(self, receipt_handles: Sequence[str]) -> Sequence[Failed | None]:
        """Deletes messages in flight; None for each that is deleted."""
        _check_batch(len(receipt_handles))
        handles = [HandleRequest(handle, read_handle(handle)) for handle in receipt_handles]
        return await self._writer.submit(lambda work: queue_operations.delete(work, self._name, handles))

    async def change_visibility(self, changes: Sequence[VisibilityChange]) -> Sequence[Failed | None]:
        """Extends or ends visibility timeouts, in order."""
        _check_batch(len(changes))
        handles = [
            HandleRequest(each.receipt_handle, read_handle(each.receipt_handle), each.seconds) for each in changes
        ]
        return await self._writer.submit(lambda work: queue_operations.change_visibility(work, self._name, handles))

    async def release(self, messages: Sequence[AttributedReceived]) -> None:
        """Makes messages of a cancelled receive visible, except those that another response has returned since."""
        batch = tuple(messages)
        await self._writer.submit(lambda work: queue_operations.release(work, self._name, batch))

    async def counts(self) -> QueueCounts:
        return await self._writer.submit(lambda work: queue_operations.counts(work, self._name))

    def _undo(self, received: Sequence[AttributedReceived]) -> Callable[[UnitOfWork], None] | None:
        if not received:
            return None
        return lambda work: queue_operations.release(work, self._name, received)


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
