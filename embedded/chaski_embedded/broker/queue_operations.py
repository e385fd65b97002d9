"""What a queue does within the engine: send, take, delete, change visibility, count."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from chaski_core.errors import BackendRejectedError
from chaski_core.ports import MAX_HIDDEN_SECONDS, Failed, OutgoingMessage, QueueCounts, ReceivedMessage, Sent
from chaski_core.values import message_value
from chaski_embedded.broker.unit_of_work import HostedQueue, StoredMessage, UnitOfWork
from chaski_embedded.fifo.model import Received, Refusal
from chaski_embedded.fifo.sequence import Receipt, message_id, read_handle, time_of

# The sentences that SQS uses (recorded from AWS in localstack/localstack, tests/aws/services/sqs).
_SENTENCES = {
    Refusal.EXPIRED: ("ReceiptHandle", "The receipt handle has expired."),
    Refusal.GONE: ("ReceiptHandle", "Message does not exist or is not available for visibility timeout change."),
    Refusal.TOO_LONG: (
        "VisibilityTimeout",
        f"Total VisibilityTimeout for the message is beyond the limit [{MAX_HIDDEN_SECONDS} seconds].",
    ),
}


@message_value
class AttributedMessage(OutgoingMessage):
    """A message with something beside its body, which the queue keeps and gives back unread."""

    attributes: bytes | None = None


@message_value
class AttributedReceived(ReceivedMessage):
    """What `EmbeddedQueue.receive` returns."""

    attributes: bytes | None = None
    # For `give_back`: tells this answer from that of a repeated attempt, which has the same handle.
    claim: int = field(default=0, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Hold:
    """A receipt handle, as read, and for how long its message is to be held."""

    handle: str
    receipt: Receipt | None  # None: the text never was a handle
    seconds: int = 0


def send(session: UnitOfWork, name: str, messages: Sequence[OutgoingMessage]) -> list[Sent]:
    """Puts messages on a queue, all or none.

    Raises:
        BackendRejectedError: QueueDoesNotExist, AccessDenied by the queue's policy, InvalidParameterValue for a body
            beyond the queue's `MaximumMessageSize`.
    """
    queue = session.queue(name)
    if queue.fenced:
        raise BackendRejectedError("AccessDenied", f"the policy of {name} denies sqs:SendMessage")
    for message in messages:
        if len(message.body) > queue.max_message_bytes:
            raise BackendRejectedError(
                "InvalidParameterValue",
                f"One or more parameters are invalid. Reason: Message must be shorter than {queue.max_message_bytes} "
                f"bytes, and this one has {len(message.body)}.",
            )
    sent = []
    for message in messages:
        attributes = message.attributes if isinstance(message, AttributedMessage) else None
        stored = StoredMessage(message.group_id, message.deduplication_id, session.wall, message.body, attributes)
        sequence = session.send(queue, stored)
        sent.append(Sent(message_id(session.salt, sequence), sequence))
    return sent


def take(session: UnitOfWork, name: str, limit: int, visibility_seconds: int, attempt: str) -> list[AttributedReceived]:
    """Takes up to `limit` messages off a queue. Raises BackendRejectedError (QueueDoesNotExist)."""
    queue = session.queue(name)
    taken = queue.fifo.take(limit, visibility_seconds * 1000, attempt, session.now, session.wall)
    stored = session.messages([each.sequence for each in taken])
    return [_received(session, queue, each, stored[each.sequence]) for each in taken]


def give_back(session: UnitOfWork, name: str, messages: Sequence[AttributedReceived]) -> None:
    """Makes messages visible whose receiver went away; those that moved on since are left alone."""
    queue = session.queue(name)
    for message in messages:
        receipt = read_handle(message.receipt_handle)
        if receipt is not None:
            queue.fifo.give_back(receipt.sequence, receipt.receive, message.claim, session.now)


def delete(session: UnitOfWork, name: str, holds: Sequence[Hold]) -> list[Failed | None]:
    """Deletes held messages. Raises BackendRejectedError (QueueDoesNotExist)."""
    queue = session.queue(name)
    results: list[Failed | None] = []
    for hold in holds:
        if hold.receipt is None or hold.receipt.queue != queue.id:
            results.append(_no_handle(hold.handle))
            continue
        refusal = queue.fifo.delete(hold.receipt.sequence, hold.receipt.receive, session.now)
        if refusal is None:
            session.note_deleted(hold.receipt.sequence)
        results.append(None if refusal is None else _refused(refusal, hold))
    return results


def change(session: UnitOfWork, name: str, holds: Sequence[Hold]) -> list[Failed | None]:
    """Extends or ends holds. Raises BackendRejectedError (QueueDoesNotExist)."""
    queue = session.queue(name)
    results: list[Failed | None] = []
    for hold in holds:
        if hold.receipt is None or hold.receipt.queue != queue.id:
            results.append(_no_handle(hold.handle))
            continue
        if not 0 <= hold.seconds <= MAX_HIDDEN_SECONDS:
            reason = f"Must be between 0 and {MAX_HIDDEN_SECONDS}, if provided."
            results.append(_invalid(str(hold.seconds), "VisibilityTimeout", reason))
            continue
        refusal = queue.fifo.change(hold.receipt.sequence, hold.receipt.receive, hold.seconds * 1000, session.now)
        results.append(None if refusal is None else _refused(refusal, hold))
    return results


def counts(session: UnitOfWork, name: str) -> QueueCounts:
    """How many messages a queue has, and how old the oldest is. Raises BackendRejectedError (QueueDoesNotExist)."""
    fifo = session.queue(name).fifo
    counts, oldest = fifo.counts(session.now), fifo.oldest(session.now)
    if oldest is None:
        return counts
    return replace(counts, oldest_sent_at=session.wall - (session.now - time_of(oldest)))


def release_in_flight(session: UnitOfWork) -> int:
    """Gives back every held message of every queue; returns how many."""
    return sum(session.queue(name).fifo.release_all(session.now) for name in list(session.queues))


def _received(session: UnitOfWork, queue: HostedQueue, taken: Received, stored: StoredMessage) -> AttributedReceived:
    return AttributedReceived(
        message_id=message_id(session.salt, taken.sequence),
        receipt_handle=Receipt(queue.id, taken.sequence, taken.receives).handle(),
        body=stored.body,
        group_id=stored.group_id,
        deduplication_id=stored.dedup_id,
        sequence_number=taken.sequence,
        sent_at=stored.sent_at,
        receive_count=taken.receives,
        first_received_at=taken.first_at,
        attributes=stored.attributes,
        claim=taken.claim,
    )


def _no_handle(handle: str) -> Failed:
    return Failed("ReceiptHandleIsInvalid", f'The input receipt handle "{handle}" is not a valid receipt handle.', True)


def _refused(refusal: Refusal, hold: Hold) -> Failed:
    parameter, reason = _SENTENCES[refusal]
    return _invalid(str(hold.seconds) if parameter == "VisibilityTimeout" else hold.handle, parameter, reason)


def _invalid(value: str, parameter: str, reason: str) -> Failed:
    return Failed(
        "InvalidParameterValue", f"Value {value} for parameter {parameter} is invalid. Reason: {reason}", True
    )
