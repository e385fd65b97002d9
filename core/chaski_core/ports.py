"""What a backend is: a queue that keeps SQS FIFO's rules, a store of failures, and a journal of attempts.

`aws` and `embedded` implement these and pass the same contract tests. All times on the wire are epoch milliseconds.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from chaski_core.dead_letter import Claimed, DeadLetter, DeadLetterFilter, DeadLetterKey, ReplayClaim, ReplayMark
from chaski_core.retry.ladder import LadderState
from chaski_core.values import message_value

MAX_BATCH_ENTRIES = 10  # API_SendMessageBatch, API_ReceiveMessage, API_DeleteMessageBatch
MAX_HIDDEN_SECONDS = 43_200  # 12 hours from the receive, in all: API_ChangeMessageVisibility
RETENTION_SECONDS = 1_209_600  # 14 days


@message_value
class OutgoingMessage:
    """A message to put on a queue."""

    body: bytes  # UTF-8 of the characters that SQS takes
    group_id: str
    deduplication_id: str


@message_value
class Sent:
    """The queue has the message, durably. A duplicate gets the first one's values."""

    message_id: str
    sequence_number: int


@dataclass(frozen=True, slots=True)
class Failed:
    """One entry of a batch was not done. AWS reports these inside an HTTP 200."""

    code: str  # the service's code, such as ReceiptHandleIsInvalid or InternalError
    reason: str
    sender_fault: bool  # True: the same entry would fail again


@message_value
class ReceivedMessage:
    """A message that is now in flight for this receiver."""

    message_id: str
    receipt_handle: str
    body: bytes
    group_id: str
    deduplication_id: str
    sequence_number: int
    sent_at: int  # epoch milliseconds: SentTimestamp
    receive_count: int  # this receive included
    first_received_at: int  # epoch milliseconds


@dataclass(frozen=True, slots=True)
class VisibilityChange:
    """Hide a held message for so many seconds from now; 0 gives it back."""

    receipt_handle: str
    seconds: int


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """Messages of one queue by state."""

    visible: int  # includes those blocked behind an in-flight message of their group, as on AWS
    in_flight: int
    delayed: int
    oldest_sent_at: int | None = field(default=None, compare=False)  # epoch milliseconds; None: none, or not known

    @property
    def total(self) -> int:
        """All messages of the queue."""
        return self.visible + self.in_flight + self.delayed

    @classmethod
    def of(cls, queues: Sequence["QueueCounts"]) -> "QueueCounts":
        """The counts of several queues together."""
        return cls(
            visible=sum(each.visible for each in queues),
            in_flight=sum(each.in_flight for each in queues),
            delayed=sum(each.delayed for each in queues),
            oldest_sent_at=min((at for each in queues if (at := each.oldest_sent_at) is not None), default=None),
        )


class Queue(Protocol):
    """One SQS FIFO queue.

    Every call raises `BackendUnavailableError` where the queue is away and `BackendRejectedError` where it refuses the
    whole call. Batches hold 1 to 10 entries; results come in the order of the entries.
    """

    @property
    def url(self) -> str:
        """What names the queue."""
        ...

    @property
    def atomic_batches(self) -> bool:
        """Whether a batch is sent as a whole or not at all. SQS can take a later entry and fail an earlier one."""
        ...

    @property
    def retention_seconds(self) -> int | None:
        """Age at which the queue deletes a message without a word; None: it keeps it until it is deleted."""
        ...

    async def send(self, messages: Sequence[OutgoingMessage]) -> Sequence[Sent | Failed]:
        """Puts messages on the queue, in order. Returns after the queue has them durably."""
        ...

    async def receive(
        self, *, max_messages: int, wait_seconds: float, visibility_seconds: int, attempt_id: str
    ) -> Sequence[ReceivedMessage]:
        """Takes up to 10 messages, group by group and in order within a group; waits for the first one.

        `attempt_id` names this attempt to receive: the same id within five minutes returns the same messages again
        (ReceiveRequestAttemptId), so that an answer that was lost on its way locks nothing. A call that is cancelled
        leaves nothing locked either: what it may have taken is given back.
        """
        ...

    async def delete(self, receipt_handles: Sequence[str]) -> Sequence[Failed | None]:
        """Deletes held messages; None for each that is gone. An expired handle fails (FIFO)."""
        ...

    async def change_visibility(self, changes: Sequence[VisibilityChange]) -> Sequence[Failed | None]:
        """Extends or ends the hold on messages, in the order given."""
        ...

    async def counts(self) -> QueueCounts:
        """How many messages there are."""
        ...


class DeadLetterStore(Protocol):
    """The failures of a route, kept until their retention ends."""

    async def put(self, letter: DeadLetter) -> None:
        """Keeps a dead letter, durably, for the route's retention from `dead_lettered_at` on.

        A message (`message_id`) is kept once: where it was kept before, even if that one was discarded since, nothing
        changes, and that is success. Which time is stored is so decided by the first put that succeeds.
        """
        ...

    def find(self, wanted: DeadLetterFilter) -> AsyncIterator[DeadLetter]:
        """Dead letters that pass the filter, oldest first, read page by page."""
        ...

    async def get(self, message_id: str) -> Sequence[DeadLetter]:
        """Every dead letter of an identity, of its replays (`replayOf`), or of a label, oldest first."""
        ...

    async def claim(
        self, wanted: Sequence[tuple[DeadLetterKey, ReplayMark | None]], claim: ReplayClaim
    ) -> Sequence[Claimed]:
        """Claims dead letters for a run that is about to send them again, each by itself, by `claimable`.

        `wanted`: keys, each with the mark by which the run decided to send it. A run may claim what it holds again.
        """
        ...

    async def mark(self, marks: Sequence[tuple[DeadLetterKey, ReplayMark]]) -> None:
        """Notes down, durably, that dead letters were sent again, and ends claims on them.

        One that is gone meanwhile is left out.
        """
        ...

    async def discard(self, keys: Sequence[DeadLetterKey]) -> None:
        """Deletes dead letters for good; one that is gone already is success."""
        ...


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """Strict: how far the message at the head of its subject has climbed, while it stays in its queue."""

    state: LadderState
    due_at: int  # epoch milliseconds; an attempt before this is not made
    exhausted_at: int | None = None  # the ladder has ended; only the dead letter is still to be kept
    receives: int = 0  # the message's receive count when this was written; one more is due, what is beyond is a repeat


class AttemptRecords(Protocol):
    """Strict: attempt records by the SQS MessageId of the message at the head."""

    async def read(self, message_id: str) -> AttemptRecord | None:
        """The record, consistently: what was written before is seen."""
        ...

    async def write(self, message_id: str, record: AttemptRecord) -> None:
        """Keeps the record, durably, for at least the queue's retention."""
        ...

    async def delete(self, message_id: str) -> None:
        """Drops the record, if there is one."""
        ...


@message_value
class AttemptEntry:
    """One attempt, for people: what `chaski trace` shows."""

    message_id: str  # the identity
    id: str  # the label
    subject: str
    route: str
    number: int  # from 1
    at: int  # epoch milliseconds at the start
    stage: str  # first | retry
    outcome: str  # delivered | failed | refused
    error_class: str  # most specific name, "" if delivered
    status: int | None
    duration_ms: float
    detail: str = ""


class AttemptJournal(Protocol):
    """Where attempts are noted down; losing the newest entries in a crash is allowed, losing messages is not."""

    def note(self, entry: AttemptEntry) -> None:
        """Notes an attempt down without waiting."""
        ...


class Backend(Protocol):
    """All that a worker or an ingest needs of the world behind it."""

    @property
    def dead_letters(self) -> DeadLetterStore:
        """The store of failures."""
        ...

    @property
    def attempt_records(self) -> AttemptRecords:
        """Where Strict keeps how far a head has climbed."""
        ...

    @property
    def journal(self) -> AttemptJournal | None:
        """Where attempts are noted, if the backend keeps them."""
        ...

    def queue(self, url: str) -> Queue:
        """The queue of that URL. Makes no call."""
        ...


class Clock(Protocol):
    """Time, given as an argument so that tests own it. Sleeping is asyncio's, whose loop clock tests own as well."""

    def now_ms(self) -> int:
        """Wall clock, epoch milliseconds: for what is stored and compared between processes."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back and count on while the process is paused: for what this process holds."""
        ...
