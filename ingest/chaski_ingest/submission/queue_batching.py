"""Groups messages that are sent at the same time into batches: one `_QueueSender` for each SQS queue.

A message to an idle queue is sent at once. While a call is in flight, messages wait until there are ten of them or until
the oldest has waited for the linger time. Several calls of one queue may be in flight. Nothing is ever sent twice: the
queue may have accepted a later message of the same subject in the meantime.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from chaski_core.errors import BackendRejectedError, BackendUnavailableError
from chaski_core.ports import MAX_BATCH_BYTES, MAX_BATCH_ENTRIES, Backend, Failed, OutgoingMessage, Queue, Sent
from chaski_core.values import message_value
from chaski_ingest.metrics import BufferReading
from chaski_ingest.settings import SendingSettings
from chaski_ingest.submission.capacity import UNNAMED, Capacity, Holder

_ENTRY_OVERHEAD_BYTES = 256  # group and deduplication id, at most 128 characters each

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NotSent:
    """The queue has not acknowledged a message, for this reason. After a call that broke off it may have it all the same."""

    reason: str
    retry_after_seconds: float | None = None
    overloaded: bool = False  # the buffer of this process was full


Result = Sent | NotSent
OnSent = Callable[[str, bool], None]  # URL of a queue to which a call has ended, and whether it acknowledged messages


def ignore_sent(url: str, stored: bool) -> None:
    """An `OnSent` that does nothing."""


@message_value
class _PendingSend:
    """Messages that have to share one call, in order."""

    messages: Sequence[OutgoingMessage]
    size: int
    waiting_since: float  # loop time, seconds
    results: "asyncio.Future[Sequence[Result]]" = field(compare=False)


class Batcher:
    """Sends the messages of all requests of this process to their queues."""

    def __init__(
        self,
        backend: Backend,
        settings: SendingSettings,
        on_call: Callable[[int], None],
        on_sent: OnSent = ignore_sent,
    ) -> None:
        """Creates an empty buffer.

        Args:
            backend: where the queues are.
            settings: limits.
            on_call: receives the number of entries of each call.
            on_sent: called after each call, also one that failed: the queue may have its messages.
        """
        self._backend = backend
        self._settings = settings
        self._on_call = on_call
        self._on_sent = on_sent
        self._capacity = Capacity(settings.max_waiting_messages, settings.max_waiting_bytes)
        self._senders: dict[str, _QueueSender] = {}

    @property
    def waiting(self) -> int:
        """Messages that no queue has answered for yet."""
        return self._capacity.items_held

    def buffer_reading(self) -> BufferReading:
        """Waiting messages and their bytes with the limits of both, for the gauges."""
        held = self._capacity
        return BufferReading(held.items_held, held.max_items, held.bytes_held, held.max_bytes)

    def atomic(self, url: str) -> bool:
        """Whether that queue accepts a batch as a whole or not at all."""
        return self._sender(url).queue.atomic_batches

    async def send(self, url: str, message: OutgoingMessage, holder: Holder = UNNAMED) -> Result:
        """Sends one message; returns once the queue has acknowledged it, or with the reason why it has not."""
        return (await self._send(url, (message,), entry_size(message), holder))[0]

    async def send_batch(
        self, url: str, messages: Sequence[OutgoingMessage], holder: Holder = UNNAMED
    ) -> Sequence[Result]:
        """Sends 1 to 10 messages, at most 1 MiB, in one call and in order; results in that order."""
        return await self._send(url, messages, sum(map(entry_size, messages)), holder)

    async def _send(self, url: str, messages: Sequence[OutgoingMessage], size: int, holder: Holder) -> Sequence[Result]:
        if not self._capacity.reserve(holder, size, len(messages)):
            full = NotSent("too many messages are waiting for the queue", overloaded=True)
            return [full] * len(messages)
        loop = asyncio.get_running_loop()
        results: asyncio.Future[Sequence[Result]] = loop.create_future()
        try:
            self._sender(url).add(_PendingSend(messages, size, loop.time(), results))
            return await results
        finally:
            self._capacity.release(holder, size, len(messages))

    async def drain(self) -> None:
        """Waits until no call is in flight."""
        while calls := [call for sender in self._senders.values() for call in sender.calls]:
            await asyncio.wait(calls)

    def _sender(self, url: str) -> "_QueueSender":
        sender = self._senders.get(url)
        if sender is None:
            queue = self._backend.queue(url)
            sender = self._senders[url] = _QueueSender(queue, self._settings, self._on_call, self._on_sent)
        return sender


class _QueueSender:
    """The waiting messages and the calls in flight of one queue."""

    def __init__(
        self, queue: Queue, settings: SendingSettings, on_call: Callable[[int], None], on_sent: OnSent
    ) -> None:
        self.queue = queue
        self.calls: set[asyncio.Task[None]] = set()
        self._settings = settings
        self._on_call = on_call
        self._on_sent = on_sent
        self._waiting: deque[_PendingSend] = deque()
        self._entries = 0  # messages in `_waiting`
        self._flush_timer: asyncio.Handle | None = None

    def add(self, pending: _PendingSend) -> None:
        self._waiting.append(pending)
        self._entries += len(pending.messages)
        if self._entries >= MAX_BATCH_ENTRIES and len(self.calls) < self._settings.batches_in_flight:
            self._start_calls(partial=False)
        elif self._flush_timer is None:
            self._schedule_flush()

    def _schedule_flush(self) -> None:
        loop = asyncio.get_running_loop()
        if self.calls:
            self._flush_timer = loop.call_later(self._settings.linger_seconds, self._flush)
        else:
            self._flush_timer = loop.call_soon(self._flush)  # after the other requests that arrived with this one

    def _flush(self) -> None:
        self._flush_timer = None
        self._start_calls(partial=True)

    def _start_calls(self, *, partial: bool) -> None:
        while self._waiting and len(self.calls) < self._settings.batches_in_flight:
            if self._entries < MAX_BATCH_ENTRIES and not partial:
                break
            if batch := self._next_batch():
                call = asyncio.create_task(self._call(batch))
                self.calls.add(call)
                call.add_done_callback(self._on_call_done)
        if not self._waiting and self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None

    def _on_call_done(self, call: asyncio.Task[None]) -> None:
        self.calls.discard(call)
        # Messages whose linger time ended while no call was free go now; others keep lingering unless the queue is idle.
        self._start_calls(partial=not self.calls or self._flush_timer is None)

    def _next_batch(self) -> list[_PendingSend]:
        """The next sends that fit into one call, without those that were cancelled or that waited too long."""
        batch: list[_PendingSend] = []
        entries = size = 0
        oldest = asyncio.get_running_loop().time() - self._settings.max_wait_seconds
        while self._waiting:
            pending = self._waiting[0]
            live = not pending.results.done() and pending.waiting_since >= oldest
            full = entries + len(pending.messages) > MAX_BATCH_ENTRIES or size + pending.size > MAX_BATCH_BYTES
            if live and batch and full:
                break
            self._waiting.popleft()
            self._entries -= len(pending.messages)
            if live:
                batch.append(pending)
                entries += len(pending.messages)
                size += pending.size
            elif not pending.results.done():
                late = NotSent(f"the queue was busy for {self._settings.max_wait_seconds:g} s; nothing was sent")
                pending.results.set_result([late] * len(pending.messages))
        return batch

    async def _call(self, batch: list[_PendingSend]) -> None:
        messages = [message for pending in batch for message in pending.messages]
        self._on_call(len(messages))
        results = await self._send(messages)
        self._on_sent(self.queue.url, any(isinstance(each, Sent) for each in results))
        position = 0
        for pending in batch:
            end = position + len(pending.messages)
            if not pending.results.done():
                pending.results.set_result(results[position:end])
            position = end

    async def _send(self, messages: list[OutgoingMessage]) -> Sequence[Result]:
        try:
            async with asyncio.timeout(self._settings.call_timeout_seconds):
                entries = await self.queue.send(messages)
        except TimeoutError:
            failure = NotSent(f"the queue did not answer within {self._settings.call_timeout_seconds:g} s")
        except BackendUnavailableError as error:
            failure = NotSent(f"the queue is unavailable: {error}", error.retry_after_seconds)
        except BackendRejectedError as error:
            _logger.warning("queue %s rejected messages: %s", self.queue.url, error)
            failure = NotSent(f"the queue rejected the messages: {error.code}")
        except Exception:
            _logger.exception("unexpected internal error while sending to %s", self.queue.url)
            failure = NotSent("unexpected internal error while sending")
        else:
            return [_result(entry) for entry in entries]
        return [failure] * len(messages)


def entry_size(message: OutgoingMessage) -> int:
    """Bytes that a message adds to its batch, rounded up."""
    return len(message.body) + _ENTRY_OVERHEAD_BYTES


def _result(entry: Sent | Failed) -> Result:
    if isinstance(entry, Sent):
        return entry
    return NotSent(f"the queue failed this message: {entry.code}")
