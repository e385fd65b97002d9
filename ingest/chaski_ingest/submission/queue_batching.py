"""Groups messages that are under way at the same time into batch sends: one `Sender` for each SQS queue.

An idle queue is sent to at once. While a call is under way, messages wait for company: until there are ten, or until
the oldest has waited for the linger time. Several calls of one queue may be under way. Nothing is ever sent twice: a
later message of the same subject may have been taken by then.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from chaski_core.errors import BackendRejectedError, BackendUnavailableError
from chaski_core.ports import MAX_BATCH_ENTRIES, Backend, Failed, OutgoingMessage, Queue, Sent
from chaski_core.values import message_value
from chaski_ingest.settings import SendingSettings
from chaski_ingest.submission.capacity import Capacity
from chaski_runtime.observability.metrics.instruments import BufferReading

MAX_BATCH_BYTES = 1_048_576  # API_SendMessageBatch: the sum of all entries
_ENTRY_OVERHEAD_BYTES = 256  # group and deduplication id, at most 128 characters each

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NotSent:
    """The queue has not acknowledged a message, for this reason. It may have it all the same if a call broke off."""

    reason: str
    retry_after_seconds: float | None = None
    overloaded: bool = False  # there was no room for it here


Result = Sent | NotSent


@message_value
class _Unit:
    """Messages that have to share one call, in order."""

    messages: Sequence[OutgoingMessage]
    size: int
    waiting_since: float  # loop time, seconds
    results: "asyncio.Future[Sequence[Result]]" = field(compare=False)


class Batcher:
    """Puts messages on queues for everyone in this process."""

    def __init__(self, backend: Backend, settings: SendingSettings, observe: Callable[[int], None]) -> None:
        """Makes a batcher; it runs as long as messages are given to it.

        Args:
            backend: where the queues are.
            settings: limits.
            observe: told the number of entries of each call.
        """
        self._backend = backend
        self._settings = settings
        self._observe = observe
        self._budget = Capacity(settings.max_waiting_messages, settings.max_waiting_bytes)
        self._senders: dict[str, _Sender] = {}

    @property
    def waiting(self) -> int:
        """Messages that no queue has answered for yet."""
        return self._budget.things_held

    def reading(self) -> BufferReading:
        """The same for the gauges, with their bytes and the bounds of both."""
        held = self._budget
        return BufferReading(held.things_held, held.max_things, held.bytes_held, held.max_size)

    def atomic(self, url: str) -> bool:
        """Whether that queue takes a batch as a whole or not at all."""
        return self._sender(url).queue.atomic_batches

    def of(self, holder: Hashable) -> "HolderBatcher":
        """The same for one holder of the buffer."""
        return HolderBatcher(self, holder)

    async def send(self, url: str, message: OutgoingMessage, holder: Hashable = None) -> Result:
        """Puts one message on a queue; returns after the queue has acknowledged it, or why it has not."""
        return (await self._send(url, (message,), entry_size(message), holder))[0]

    async def send_together(
        self, url: str, messages: Sequence[OutgoingMessage], holder: Hashable = None
    ) -> Sequence[Result]:
        """Puts 1 to 10 messages, at most 1 MiB, on a queue in one call and in order; results in that order."""
        return await self._send(url, messages, sum(map(entry_size, messages)), holder)

    async def _send(
        self, url: str, messages: Sequence[OutgoingMessage], size: int, holder: Hashable
    ) -> Sequence[Result]:
        if not self._budget.reserve(holder, size, len(messages)):
            full = NotSent("too many messages are waiting for the queue", overloaded=True)
            return [full] * len(messages)
        loop = asyncio.get_running_loop()
        results: asyncio.Future[Sequence[Result]] = loop.create_future()
        try:
            self._sender(url).add(_Unit(messages, size, loop.time(), results))
            return await results
        finally:
            self._budget.release(holder, size, len(messages))

    async def drain(self) -> None:
        """Waits until every call under way has ended."""
        while calls := [call for sender in self._senders.values() for call in sender.calls]:
            await asyncio.wait(calls)

    def _sender(self, url: str) -> "_Sender":
        sender = self._senders.get(url)
        if sender is None:
            sender = self._senders[url] = _Sender(self._backend.queue(url), self._settings, self._observe)
        return sender


class HolderBatcher:
    """A batcher for the lines of one request."""

    def __init__(self, batcher: Batcher, holder: Hashable) -> None:
        self._batcher = batcher
        self._holder = holder

    def atomic(self, url: str) -> bool:
        """Whether that queue takes a batch as a whole or not at all."""
        return self._batcher.atomic(url)

    async def send_together(self, url: str, messages: Sequence[OutgoingMessage]) -> Sequence[Result]:
        """Puts 1 to 10 messages on a queue in one call."""
        return await self._batcher.send_together(url, messages, self._holder)


class _Sender:
    """One queue's waiting messages and calls under way."""

    def __init__(self, queue: Queue, settings: SendingSettings, observe: Callable[[int], None]) -> None:
        self.queue = queue
        self.calls: set[asyncio.Task[None]] = set()
        self._settings = settings
        self._observe = observe
        self._waiting: deque[_Unit] = deque()
        self._entries = 0  # messages in `_waiting`
        self._wake: asyncio.Handle | None = None

    def add(self, unit: _Unit) -> None:
        self._waiting.append(unit)
        self._entries += len(unit.messages)
        if self._entries >= MAX_BATCH_ENTRIES and len(self.calls) < self._settings.batches_in_flight:
            self._start_calls(partial=False)
        elif self._wake is None:
            self._wake_later()

    def _wake_later(self) -> None:
        loop = asyncio.get_running_loop()
        if self.calls:
            self._wake = loop.call_later(self._settings.linger_seconds, self._woken)
        else:
            self._wake = loop.call_soon(self._woken)  # after the other requests that came in with this one

    def _woken(self) -> None:
        self._wake = None
        self._start_calls(partial=True)

    def _start_calls(self, *, partial: bool) -> None:
        while self._waiting and len(self.calls) < self._settings.batches_in_flight:
            if self._entries < MAX_BATCH_ENTRIES and not partial:
                break
            if units := self._take():
                call = asyncio.create_task(self._call(units))
                self.calls.add(call)
                call.add_done_callback(self._ended)
        if not self._waiting and self._wake is not None:
            self._wake.cancel()
            self._wake = None

    def _ended(self, call: asyncio.Task[None]) -> None:
        self.calls.discard(call)
        # A free slot: whoever found none before goes now; others keep waiting for company unless the queue is idle.
        self._start_calls(partial=not self.calls or self._wake is None)

    def _take(self) -> list[_Unit]:
        """The next units that fit into one call, without those that nobody waits for or that waited too long."""
        units: list[_Unit] = []
        entries = size = 0
        oldest = asyncio.get_running_loop().time() - self._settings.max_wait_seconds
        while self._waiting:
            unit = self._waiting[0]
            live = not unit.results.done() and unit.waiting_since >= oldest
            full = entries + len(unit.messages) > MAX_BATCH_ENTRIES or size + unit.size > MAX_BATCH_BYTES
            if live and units and full:
                break
            self._waiting.popleft()
            self._entries -= len(unit.messages)
            if live:
                units.append(unit)
                entries += len(unit.messages)
                size += unit.size
            elif not unit.results.done():
                late = NotSent(f"the queue was busy for {self._settings.max_wait_seconds:g} s; nothing was sent")
                unit.results.set_result([late] * len(unit.messages))
        return units

    async def _call(self, units: list[_Unit]) -> None:
        messages = [message for unit in units for message in unit.messages]
        self._observe(len(messages))
        results = await self._send(messages)
        position = 0
        for unit in units:
            end = position + len(unit.messages)
            if not unit.results.done():
                unit.results.set_result(results[position:end])
            position = end

    async def _send(self, messages: list[OutgoingMessage]) -> Sequence[Result]:
        try:
            async with asyncio.timeout(self._settings.call_timeout_seconds):
                answers = await self.queue.send(messages)
        except TimeoutError:
            failure = NotSent(f"the queue did not answer within {self._settings.call_timeout_seconds:g} s")
        except BackendUnavailableError as error:
            failure = NotSent(f"the queue is away: {error}", error.retry_after_seconds)
        except BackendRejectedError as error:
            _logger.warning("the queue %s refuses messages: %s", self.queue.url, error)
            failure = NotSent(f"the queue refuses messages: {error.code}")
        except Exception:
            _logger.exception("sending to %s failed in an unexpected way", self.queue.url)
            failure = NotSent("sending failed in an unexpected way")
        else:
            return [_result(answer) for answer in answers]
        return [failure] * len(messages)


def entry_size(message: OutgoingMessage) -> int:
    """What a message counts against the sum of a batch, in bytes, with something to spare."""
    return len(message.body) + _ENTRY_OVERHEAD_BYTES


def _result(answer: Sent | Failed) -> Result:
    if isinstance(answer, Sent):
        return answer
    return NotSent(f"the queue failed this message: {answer.code}")
