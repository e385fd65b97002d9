"""The contract of every queue, through the port: order, locks, visibility, deduplication. research/sqs.md §1.2, §1.3."""

from collections.abc import Sequence

import pytest

from chaski_core.errors import BackendRejectedError
from chaski_core.ports import Failed, OutgoingMessage, Queue, QueueCounts, ReceivedMessage, VisibilityChange
from contract.conftest import QueueWorld


async def take(queue: Queue, limit: int = 10, seconds: int = 30, attempt: str = "") -> Sequence[ReceivedMessage]:
    """A receive that does not wait."""
    return await queue.receive(max_messages=limit, wait_seconds=0, visibility_seconds=seconds, attempt_id=attempt)


def names(messages: Sequence[ReceivedMessage]) -> list[str]:
    """The names of messages."""
    return [message.body.decode() for message in messages]


async def test_message_is_received_unchanged(queues: QueueWorld) -> None:
    """Body, group, deduplication id, ids and times are those of the send."""
    queue = await queues.make()
    body = '{"text": "grüß dich \U0001f600\\n"}'.encode()
    (sent,) = await queue.send([OutgoingMessage(body, "group:1", "id:0:first:0")])
    (message,) = await take(queue)
    assert not isinstance(sent, Failed)
    assert (message.body, message.group_id, message.deduplication_id) == (body, "group:1", "id:0:first:0")
    assert (message.message_id, message.sequence_number) == (sent.message_id, sent.sequence_number)
    assert message.receive_count == 1
    assert abs(message.first_received_at - message.sent_at) < 60_000


@pytest.mark.differs("elasticmq", "1.6.12 gives every message of a batch the same number")
async def test_sequence_numbers_increase(queues: QueueWorld) -> None:
    """Later messages have larger numbers, within a batch and across batches."""
    queue = await queues.make()
    sent = [*await queues.send(queue, "a1", "b1", "a2"), *await queues.send(queue, "a3")]
    numbers = [each.sequence_number for each in sent]
    assert numbers == sorted(set(numbers))


@pytest.mark.promise(3)
async def test_receive_fills_group_by_group_in_order(queues: QueueWorld) -> None:
    """AWSV: g1-1, g2-1, g1-2, g1-3 is received with all of g1 together and in order."""
    queue = await queues.make()
    await queues.send(queue, "a1", "b1", "a2", "a3")
    received = names(await take(queue))
    assert [name for name in received if name[0] == "a"] == ["a1", "a2", "a3"]
    assert received in (["a1", "a2", "a3", "b1"], ["b1", "a1", "a2", "a3"])


@pytest.mark.promise(3)
async def test_group_is_locked_until_its_batch_is_deleted(queues: QueueWorld) -> None:
    """AWSV: neither a partial delete nor a new send unlocks a group; other groups are not affected."""
    queue = await queues.make()
    await queues.send(queue, "a1", "a2", "a3")
    held = await take(queue, 2)
    await queues.send(queue, "a4", "b1")
    assert names(await take(queue)) == ["b1"]
    assert await queue.delete([held[0].receipt_handle]) == [None]
    assert names(await take(queue)) == []
    assert await queue.delete([held[1].receipt_handle]) == [None]
    assert names(await take(queue)) == ["a3", "a4"]


@pytest.mark.promise(3)
async def test_released_head_is_received_alone(queues: QueueWorld) -> None:
    """AWSV: a message is deliverable while no earlier one of its group is in flight."""
    queue = await queues.make()
    await queues.send(queue, "a1", "a2")
    held = await take(queue)
    assert await queue.change_visibility([VisibilityChange(held[0].receipt_handle, 0)]) == [None]
    assert names(await take(queue)) == ["a1"]


@pytest.mark.promise(3)
async def test_released_suffix_waits_for_the_head(queues: QueueWorld) -> None:
    """A suffix released behind a head in flight is not received before it."""
    queue = await queues.make()
    await queues.send(queue, "a1", "a2", "a3")
    held = await take(queue)
    changes = [VisibilityChange(message.receipt_handle, 0) for message in held[1:]]
    assert await queue.change_visibility(changes) == [None, None]
    assert names(await take(queue)) == []
    await queue.change_visibility([VisibilityChange(held[0].receipt_handle, 0)])
    assert names(await take(queue)) == ["a1", "a2", "a3"]


@pytest.mark.promise(3)
async def test_expired_batch_is_redelivered_in_order(queues: QueueWorld) -> None:
    """AWSV: after the visibility timeout the same messages are received in the same order, with their receive count."""
    queue = await queues.make()
    await queues.send(queue, "a1", "a2", "a3")
    await take(queue, seconds=queues.seconds(30))
    await queues.pass_time(31)
    again = await take(queue)
    assert names(again) == ["a1", "a2", "a3"]
    assert [message.receive_count for message in again] == [2, 2, 2]


async def test_extended_message_stays_hidden(queues: QueueWorld) -> None:
    """AWSV: all expire but the second, which was extended: only the first is received."""
    queue = await queues.make()
    await queues.send(queue, "a1", "a2", "a3")
    held = await take(queue, seconds=queues.seconds(30))
    await queue.change_visibility([VisibilityChange(held[1].receipt_handle, 120)])
    await queues.pass_time(31)
    assert names(await take(queue)) == ["a1"]


@pytest.mark.differs("elasticmq", "accepts the latest handle for ever: research/sqs.md §5")
async def test_delete_with_an_expired_handle_fails(queues: QueueWorld) -> None:
    """AWSV: FIFO refuses it, and the message is received again."""
    queue = await queues.make()
    await queues.send(queue, "a1")
    (held,) = await take(queue, seconds=queues.seconds(30))
    await queues.pass_time(31)
    (result,) = await queue.delete([held.receipt_handle])
    assert isinstance(result, Failed)
    assert (result.code, result.sender_fault) == ("InvalidParameterValue", True)
    assert "The receipt handle has expired" in result.reason
    assert names(await take(queue)) == ["a1"]


@pytest.mark.differs("elasticmq", "accepts the latest handle for ever: research/sqs.md §5")
async def test_change_with_an_expired_handle_fails(queues: QueueWorld) -> None:
    """A worker that was too slow gets an error."""
    queue = await queues.make()
    await queues.send(queue, "a1")
    (held,) = await take(queue, seconds=queues.seconds(30))
    await queues.pass_time(31)
    (result,) = await queue.change_visibility([VisibilityChange(held.receipt_handle, 60)])
    assert isinstance(result, Failed)
    assert names(await take(queue)) == ["a1"]


@pytest.mark.differs("elasticmq", "1.6.12 says ReceiptHandleIsInvalid; AWS is idempotent: numaproj/numaflow#3615")
async def test_delete_twice_succeeds(queues: QueueWorld) -> None:
    """A delete whose response was lost can be repeated."""
    queue = await queues.make()
    await queues.send(queue, "a1")
    (held,) = await take(queue)
    assert await queue.delete([held.receipt_handle]) == [None]
    assert await queue.delete([held.receipt_handle]) == [None]


@pytest.mark.differs("elasticmq", "1.6.12 does not add up holds")
async def test_visibility_timeout_beyond_twelve_hours_is_refused(queues: QueueWorld) -> None:
    """API: the total since the receive is bounded."""
    queue = await queues.make()
    await queues.send(queue, "a1")
    (held,) = await take(queue)
    await queues.pass_time(10)
    (refused,) = await queue.change_visibility([VisibilityChange(held.receipt_handle, 43_200)])
    assert isinstance(refused, Failed)
    assert refused.code == "InvalidParameterValue"
    assert await queue.change_visibility([VisibilityChange(held.receipt_handle, 43_100)]) == [None]


async def test_invalid_handle_fails_alone(queues: QueueWorld) -> None:
    """One invalid entry of a batch does not fail the others; results are in the order of the entries."""
    queue = await queues.make()
    await queues.send(queue, "a1", "b1")
    held = await take(queue)
    results = await queue.delete([held[0].receipt_handle, "nonsense", held[1].receipt_handle])
    assert [getattr(result, "code", None) for result in results] == [None, "ReceiptHandleIsInvalid", None]
    assert (await queue.counts()).total == 0


async def test_duplicate_gets_the_result_of_the_original_and_is_not_delivered(queues: QueueWorld) -> None:
    """AWSV: also after the original was deleted."""
    queue = await queues.make(DeduplicationScope="messageGroup")
    (original,) = await queues.send(queue, "a1")
    (held,) = await take(queue)
    await queue.delete([held.receipt_handle])
    assert await queues.send(queue, "a1") == [original]
    assert names(await take(queue)) == []


@pytest.mark.differs("elasticmq", "its clock can't be set, and five minutes are too long to wait")
async def test_duplicate_after_five_minutes_is_a_new_message(queues: QueueWorld) -> None:
    """API: the deduplication interval ends, for an existing and for a deleted message."""
    queue = await queues.make(DeduplicationScope="messageGroup")
    (original,) = await queues.send(queue, "a1")
    (held,) = await take(queue)
    await queue.delete([held.receipt_handle])
    await queues.pass_time(301)
    assert await queues.send(queue, "a1") != [original]
    assert names(await take(queue)) == ["a1"]


@pytest.mark.differs("elasticmq", "one scope for the whole queue: research/sqs.md §5")
async def test_deduplication_per_group(queues: QueueWorld) -> None:
    """The same id in another group is another message where the scope is the group."""
    queue = await queues.make(DeduplicationScope="messageGroup")
    await queue.send([OutgoingMessage(b"same", group, "id") for group in "ab"])
    assert names(await take(queue)) == ["same", "same"]


async def test_deduplication_per_queue(queues: QueueWorld) -> None:
    """The same id in another group is a duplicate where the scope is the queue, the default."""
    queue = await queues.make(DeduplicationScope="queue")
    await queue.send([OutgoingMessage(b"same", group, "id") for group in "ab"])
    assert names(await take(queue)) == ["same"]


async def test_delay_hides_a_message_and_does_not_lock(queues: QueueWorld) -> None:
    """AWSV, ISS: a message on a delayed queue is received when it is due, and locks nothing before."""
    queue = await queues.make(DelaySeconds=str(queues.seconds(60)))
    await queues.send(queue, "a1")
    assert names(await take(queue)) == []
    assert await queue.counts() == QueueCounts(visible=0, in_flight=0, delayed=1)
    await queues.pass_time(30)
    await queues.send(queue, "a2")
    await queues.pass_time(31)
    (first,) = await take(queue)
    await queue.delete([first.receipt_handle])
    await queues.pass_time(30)
    assert names(await take(queue)) == ["a2"]


@pytest.mark.differs("elasticmq", "the same messages, but other handles: 1.6.12")
async def test_repeated_attempt_returns_the_same_messages(queues: QueueWorld) -> None:
    """API: a lost response locks nothing: the same attempt id returns the same messages and handles."""
    queue = await queues.make()
    await queues.send(queue, "a1", "a2", "b1")
    first = await take(queue, 2, attempt="try-1")
    again = await take(queue, 2, attempt="try-1")
    assert [message.receipt_handle for message in again] == [message.receipt_handle for message in first]
    assert await queue.delete([message.receipt_handle for message in first]) == [None, None]
    assert names(await take(queue, 10, attempt="try-1")) == ["b1"]


async def test_counts_include_blocked_messages_as_visible(queues: QueueWorld) -> None:
    """AWSV: 6 messages in 3 groups, 2 received: 4 visible, 2 not."""
    queue = await queues.make()
    await queues.send(queue, "a1", "a2", "b1", "b2", "c1", "c2")
    await take(queue, 1)
    await take(queue, 1)
    assert await queue.counts() == QueueCounts(visible=4, in_flight=2, delayed=0)


async def test_batch_of_more_than_ten_is_refused(queues: QueueWorld) -> None:
    """API: a batch holds 1 to 10 entries."""
    queue = await queues.make()
    with pytest.raises(BackendRejectedError) as refused:
        await queues.send(queue, *(f"a{n}" for n in range(11)))
    assert refused.value.code == "TooManyEntriesInBatchRequest"
    assert (await queue.counts()).total == 0


async def test_a_missing_queue_is_refused(queues: QueueWorld) -> None:
    """Every call fails with QueueDoesNotExist."""
    with pytest.raises(BackendRejectedError) as refused:
        await take(queues.absent())
    assert refused.value.code == "QueueDoesNotExist"
