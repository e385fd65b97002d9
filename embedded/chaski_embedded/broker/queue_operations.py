"""Operations on a queue within a unit of work: send, receive, delete, change visibility, count."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from chaski_core.errors import BackendRejectedError
from chaski_core.ports import MAX_HIDDEN_SECONDS, Failed, OutgoingMessage, QueueCounts, ReceivedMessage, Sent
from chaski_core.values import message_value
from chaski_embedded.broker.unit_of_work import HostedQueue, StoredMessage, UnitOfWork
from chaski_embedded.fifo.model import HandleFailure, Received
from chaski_embedded.fifo.sequence import Receipt, message_id, read_handle, time_of

# SQS's messages (recorded from AWS in localstack/localstack, tests/aws/services/sqs).
_REASONS = {
    HandleFailure.EXPIRED: ("ReceiptHandle", "The receipt handle has expired."),
    HandleFailure.DELETED: (
        "ReceiptHandle",
        "Message does not exist or is not available for visibility timeout change.",
    ),
    HandleFailure.TOO_LONG: (
        "VisibilityTimeout",
        f"Total VisibilityTimeout for the message is beyond the limit [{MAX_HIDDEN_SECONDS} seconds].",
    ),
}


@message_value
class AttributedMessage(OutgoingMessage):
    """A message with attributes, which the queue stores and returns uninterpreted."""

    attributes: bytes | None = None


@message_value
class AttributedReceived(ReceivedMessage):
    """A message that `EmbeddedQueue.receive` returns."""

    attributes: bytes | None = None
    # For `release`: distinguishes this response from that of a repeated attempt, which has the same handle.
    repeats: int = field(default=0, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class HandleRequest:
    """A receipt handle in a delete or change of visibility, parsed."""

    handle: str
    receipt: Receipt | None  # None: the text is not a handle
    seconds: int = 0  # the new visibility timeout


def send(work: UnitOfWork, name: str, messages: Sequence[OutgoingMessage]) -> list[Sent]:
    """Adds messages to a queue, all or none.

    Raises:
        BackendRejectedError: QueueDoesNotExist, AccessDenied by the queue's policy, InvalidParameterValue for a body
            beyond the queue's `MaximumMessageSize`.
    """
    queue = work.queue(name)
    if queue.sends_blocked:
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
        stored = StoredMessage(message.group_id, message.deduplication_id, work.wall, message.body, attributes)
        sequence = work.send(queue, stored)
        sent.append(Sent(message_id(work.salt, sequence), sequence))
    return sent


def receive(work: UnitOfWork, name: str, limit: int, visibility_seconds: int, attempt: str) -> list[AttributedReceived]:
    """Receives up to `limit` messages. Raises BackendRejectedError (QueueDoesNotExist)."""
    queue = work.queue(name)
    received = queue.fifo.receive(limit, visibility_seconds * 1000, attempt, work.now, work.wall)
    stored = work.messages([each.sequence for each in received])
    return [_received(work, queue, each, stored[each.sequence]) for each in received]


def release(work: UnitOfWork, name: str, messages: Sequence[AttributedReceived]) -> None:
    """Makes messages of a cancelled receive visible, except those received or deleted since."""
    queue = work.queue(name)
    for message in messages:
        receipt = read_handle(message.receipt_handle)
        if receipt is not None:
            queue.fifo.release(receipt.sequence, receipt.receive, message.repeats, work.now)


def delete(work: UnitOfWork, name: str, handles: Sequence[HandleRequest]) -> list[Failed | None]:
    """Deletes messages in flight. Raises BackendRejectedError (QueueDoesNotExist)."""
    queue = work.queue(name)
    results: list[Failed | None] = []
    for each in handles:
        if each.receipt is None or each.receipt.queue != queue.id:
            results.append(_invalid_handle(each.handle))
            continue
        failure = queue.fifo.delete(each.receipt.sequence, each.receipt.receive, work.now)
        if failure is None:
            work.record_delete(each.receipt.sequence)
        results.append(None if failure is None else _failed(failure, each))
    return results


def change_visibility(work: UnitOfWork, name: str, handles: Sequence[HandleRequest]) -> list[Failed | None]:
    """Extends or ends visibility timeouts. Raises BackendRejectedError (QueueDoesNotExist)."""
    queue = work.queue(name)
    results: list[Failed | None] = []
    for each in handles:
        if each.receipt is None or each.receipt.queue != queue.id:
            results.append(_invalid_handle(each.handle))
            continue
        if not 0 <= each.seconds <= MAX_HIDDEN_SECONDS:
            reason = f"Must be between 0 and {MAX_HIDDEN_SECONDS}, if provided."
            results.append(_invalid(str(each.seconds), "VisibilityTimeout", reason))
            continue
        hide_ms = each.seconds * 1000
        failure = queue.fifo.change_visibility(each.receipt.sequence, each.receipt.receive, hide_ms, work.now)
        results.append(None if failure is None else _failed(failure, each))
    return results


def counts(work: UnitOfWork, name: str) -> QueueCounts:
    """The message counts of a queue and the age of its oldest message. Raises BackendRejectedError (QueueDoesNotExist)."""
    fifo = work.queue(name).fifo
    counts, oldest = fifo.counts(work.now), fifo.oldest(work.now)
    if oldest is None:
        return counts
    return replace(counts, oldest_sent_at=work.wall - (work.now - time_of(oldest)))


def release_in_flight(work: UnitOfWork) -> int:
    """Makes every message in flight of every queue visible; returns their number."""
    return sum(work.queue(name).fifo.release_all(work.now) for name in list(work.queues))


def _received(work: UnitOfWork, queue: HostedQueue, received: Received, stored: StoredMessage) -> AttributedReceived:
    return AttributedReceived(
        message_id=message_id(work.salt, received.sequence),
        receipt_handle=Receipt(queue.id, received.sequence, received.receives).handle(),
        body=stored.body,
        group_id=stored.group_id,
        deduplication_id=stored.dedup_id,
        sequence_number=received.sequence,
        sent_at=stored.sent_at,
        receive_count=received.receives,
        first_received_at=received.first_at,
        attributes=stored.attributes,
        repeats=received.repeats,
    )


def _invalid_handle(handle: str) -> Failed:
    return Failed("ReceiptHandleIsInvalid", f'The input receipt handle "{handle}" is not a valid receipt handle.', True)


def _failed(failure: HandleFailure, request: HandleRequest) -> Failed:
    parameter, reason = _REASONS[failure]
    return _invalid(str(request.seconds) if parameter == "VisibilityTimeout" else request.handle, parameter, reason)


def _invalid(value: str, parameter: str, reason: str) -> Failed:
    return Failed(
        "InvalidParameterValue", f"Value {value} for parameter {parameter} is invalid. Reason: {reason}", True
    )
