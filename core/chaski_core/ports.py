"""The interfaces of a backend: a queue with SQS FIFO's rules, a store of dead letters, records, and a journal of attempts.

`aws` and `embedded` implement these and pass the same contract tests. All times on the wire are epoch milliseconds.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from chaski_core.dead_letter import Claimed, DeadLetter, DeadLetterFilter, DeadLetterKey, ReplayClaim, ReplayMark
from chaski_core.retry.control import ControlRecord
from chaski_core.retry.ladder import LadderState
from chaski_core.retry.leases import LimitLeases
from chaski_core.values import message_value

MAX_BATCH_ENTRIES = 10  # API_SendMessageBatch, API_ReceiveMessage, API_DeleteMessageBatch
MAX_HIDDEN_SECONDS = 43_200  # 12 hours from the receive, in all: API_ChangeMessageVisibility
RETENTION_SECONDS = 1_209_600  # 14 days
MAX_MESSAGE_BYTES = 262_144  # of a message as its producer sends it: docs/http-api.md
MAX_QUEUED_BYTES = 327_680  # MaximumMessageSize of every queue that Chaski creates: a message with its metadata
MAX_BATCH_BYTES = 1_048_576  # API_SendMessageBatch: the sum of all entries
MAX_CONTROL_RECORDS = 1_000  # of a route, at which no more are accepted: workers read all of them every few seconds


@message_value
class OutgoingMessage:
    """A message to put on a queue."""

    body: bytes  # UTF-8, only characters that SQS accepts
    group_id: str
    deduplication_id: str


@message_value
class Sent:
    """The queue has stored the message durably. A duplicate gets the values of the first one."""

    message_id: str
    sequence_number: int


@dataclass(frozen=True, slots=True)
class Failed:
    """One entry of a batch failed. AWS reports these inside an HTTP 200."""

    code: str  # the service's code, such as ReceiptHandleIsInvalid or InternalError
    reason: str
    sender_fault: bool  # True: the same entry would fail again


@message_value
class ReceivedMessage:
    """A message that is now in flight."""

    message_id: str
    receipt_handle: str
    body: bytes
    group_id: str
    deduplication_id: str
    sequence_number: int
    sent_at: int  # epoch milliseconds: SentTimestamp
    receive_count: int  # including this receive
    first_received_at: int  # epoch milliseconds


@dataclass(frozen=True, slots=True)
class VisibilityChange:
    """Hides a message in flight for `seconds` from now; 0 makes it visible again."""

    receipt_handle: str
    seconds: int


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """Messages of one queue by state."""

    visible: int  # including those blocked behind an in-flight message of their group, as on AWS
    in_flight: int
    delayed: int
    oldest_sent_at: int | None = field(default=None, compare=False)  # epoch milliseconds; None: empty, or unknown

    @property
    def total(self) -> int:
        """The sum of all states."""
        return self.visible + self.in_flight + self.delayed

    @classmethod
    def of(cls, queues: Sequence["QueueCounts"]) -> "QueueCounts":
        """The sum of several queues."""
        return cls(
            visible=sum(each.visible for each in queues),
            in_flight=sum(each.in_flight for each in queues),
            delayed=sum(each.delayed for each in queues),
            oldest_sent_at=min((at for each in queues if (at := each.oldest_sent_at) is not None), default=None),
        )


class Queue(Protocol):
    """One SQS FIFO queue.

    Every call raises `BackendUnavailableError` where the queue is unreachable and `BackendRejectedError` where it refuses
    the whole call. Batches have 1 to 10 entries; results are in the order of the entries.
    """

    @property
    def url(self) -> str:
        """The queue's URL."""
        ...

    @property
    def atomic_batches(self) -> bool:
        """Whether a batch is sent as a whole or not at all. SQS can accept a later entry and fail an earlier one."""
        ...

    @property
    def retention_seconds(self) -> int | None:
        """Age at which the queue silently deletes a message; None: never."""
        ...

    async def send(self, messages: Sequence[OutgoingMessage]) -> Sequence[Sent | Failed]:
        """Sends messages, in order. Returns after the queue has stored them durably."""
        ...

    async def receive(
        self, *, max_messages: int, wait_seconds: float, visibility_seconds: int, attempt_id: str
    ) -> Sequence[ReceivedMessage]:
        """Receives up to 10 messages, group by group and in order within a group; waits for the first one.

        The same `attempt_id` within five minutes returns the same messages again (ReceiveRequestAttemptId), so a lost
        response leaves no messages in flight. Neither does a cancelled call: messages that it received are released.
        """
        ...

    async def delete(self, receipt_handles: Sequence[str]) -> Sequence[Failed | None]:
        """Deletes messages in flight; None for each deleted one. An expired handle fails (FIFO)."""
        ...

    async def change_visibility(self, changes: Sequence[VisibilityChange]) -> Sequence[Failed | None]:
        """Extends or ends the visibility timeout of messages, in the order given."""
        ...

    async def counts(self) -> QueueCounts:
        """Counts the messages by state."""
        ...


class DeadLetterStore(Protocol):
    """The dead letters of a route, stored until their retention ends."""

    async def put(self, dead_letter: DeadLetter) -> None:
        """Stores a dead letter durably, for the route's retention from `dead_lettered_at` on.

        A message (`message_id`) is stored once: where it was stored before, even if it was discarded since, nothing
        changes, and that is success. So the first successful put determines the stored time.
        """
        ...

    def find(self, wanted: DeadLetterFilter, *, newest_first: bool = False) -> AsyncIterator[DeadLetter]:
        """Dead letters that match the filter, oldest first or newest first, read page by page."""
        ...

    async def get(self, message_id: str) -> Sequence[DeadLetter]:
        """All dead letters of an identity, of its replays (`replayOf`), or of a label, oldest first."""
        ...

    async def claim(
        self, wanted: Sequence[tuple[DeadLetterKey, ReplayMark | None]], claim: ReplayClaim
    ) -> Sequence[Claimed]:
        """Claims dead letters for a run that is about to send them again, each one separately, by `claimable`.

        `wanted`: keys, each with the mark by which the run decided to send it. A run may repeat its own claim.
        """
        ...

    async def mark(self, marks: Sequence[tuple[DeadLetterKey, ReplayMark]]) -> None:
        """Records durably that dead letters were sent again, and ends the claims on them.

        A dead letter that was deleted meanwhile is skipped.
        """
        ...

    async def discard(self, keys: Sequence[DeadLetterKey]) -> None:
        """Deletes dead letters permanently; an already deleted one is success."""
        ...


@dataclass(frozen=True, slots=True)
class HiddenHead:
    """Where the message at the head of a subject is hidden: by this it is found, and can be made visible early."""

    route: str  # namespace/name
    subject: str
    queue_url: str
    receipt_handle: str  # of its last receive; the queue refuses it once the message was received again
    until: int  # epoch milliseconds


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """Strict: the progress of the message at the head of its subject, which stays in its queue."""

    state: LadderState
    due_at: int  # epoch milliseconds; no attempt is made earlier
    exhausted_at: int | None = None  # epoch milliseconds; the ladder has ended, only the dead letter has to be stored
    receives: int = (
        0  # receive count of the message when this was written; the next receive is expected, further ones are repeats
    )
    head: HiddenHead | None = None  # None: written by a release before, or not hidden
    #: Epoch milliseconds; the ladder has ended, and people decide (`retry.onExhausted: Hold`).
    held_at: int | None = None


class AttemptRecords(Protocol):
    """Strict: attempt records, by the SQS MessageId of the message at the head."""

    async def read(self, message_id: str) -> AttemptRecord | None:
        """The record, by a consistent read: earlier writes are visible."""
        ...

    async def write(self, message_id: str, record: AttemptRecord) -> None:
        """Stores the record durably, for at least the queue's retention."""
        ...

    async def delete(self, message_id: str) -> None:
        """Deletes the record, if it exists."""
        ...

    def hidden(self, route: str) -> AsyncIterator[tuple[str, AttemptRecord]]:
        """The MessageId and the record of each message of a route that waits at its head, in no order.

        Such a record has the newest errors only, at least the last one, whose texts may be shortened.

        A store may need a moment to list the newest ones. A record may outlive its message.
        """
        ...


class ControlRecords(Protocol):
    """What people decided about waiting subjects: at most one record for each message, and one hold for each subject."""

    async def read(self, route: str) -> Sequence[ControlRecord]:
        """All records of a route, by a consistent read."""
        ...

    async def write(self, record: ControlRecord) -> None:
        """Stores a record durably, instead of an earlier one about the same message, or of an earlier hold of the subject.

        A record about a message is kept for as long as the message can exist, a hold until it is removed.
        """
        ...

    async def remove(self, record: ControlRecord) -> None:
        """Removes a record, unless another one has replaced it."""
        ...


@message_value
class AttemptEntry:
    """One attempt, as `chaski trace` shows it."""

    message_id: str  # the identity
    id: str  # the label
    subject: str
    route: str
    number: int  # from 1
    at: int  # epoch milliseconds at its start
    stage: str  # first | retry
    outcome: str  # delivered | failed | refused
    error_class: str  # most specific name, "" if delivered
    status: int | None
    duration_ms: float
    detail: str = ""


class AttemptJournal(Protocol):
    """A log of attempts; losing the newest entries in a crash is allowed, losing messages is not."""

    def note(self, entry: AttemptEntry) -> None:
        """Adds an entry without waiting."""
        ...


class Backend(Protocol):
    """The queues and stores of a worker or an ingest."""

    @property
    def dead_letters(self) -> DeadLetterStore:
        """The store of dead letters."""
        ...

    @property
    def attempt_records(self) -> AttemptRecords:
        """The attempt records of Strict."""
        ...

    @property
    def control_records(self) -> ControlRecords:
        """What people decided about waiting subjects."""
        ...

    @property
    def limit_leases(self) -> LimitLeases:
        """How the workers of a route share the limits of its targets."""
        ...

    @property
    def journal(self) -> AttemptJournal | None:
        """The journal of attempts, if the backend has one."""
        ...

    def queue(self, url: str) -> Queue:
        """The queue of that URL. Makes no call."""
        ...


class Clock(Protocol):
    """Time, given as an argument so that tests control it. For sleeping, tests control the clock of asyncio's loop."""

    def now_ms(self) -> int:
        """Wall clock, epoch milliseconds: for stored times and times of other processes."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back and count on while the process is paused: for durations within this process."""
        ...
