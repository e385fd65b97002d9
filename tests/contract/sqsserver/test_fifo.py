"""The rules of FIFO queues through the wire; their sources are in tests/unit/embedded/fifo/test_queue.py."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

LONG_WAIT = 10  # seconds that a receive may take for messages due after 1 or 2


def _send(sqs: "SQSClient", queue: str, *names: str) -> None:
    """`a1` is message 1 of group a."""
    entries: list[Any] = [
        {"Id": name, "MessageBody": name, "MessageGroupId": name[0], "MessageDeduplicationId": name} for name in names
    ]
    assert not sqs.send_message_batch(QueueUrl=queue, Entries=entries).get("Failed")


def _take(sqs: "SQSClient", queue: str, **more: Any) -> dict[str, str]:
    """Bodies and receipt handles, in the order of the receive."""
    answer = sqs.receive_message(QueueUrl=queue, **{"MaxNumberOfMessages": 10, **more})
    return {each["Body"]: each["ReceiptHandle"] for each in answer.get("Messages", [])}


def _hide(sqs: "SQSClient", queue: str, handle: str, seconds: int) -> None:
    sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=handle, VisibilityTimeout=seconds)


def test_a_receive_fills_up_with_one_group_first(sqs: "SQSClient", queue: str) -> None:
    """Group by group, each in its order."""
    _send(sqs, queue, "a1", "b1", "a2", "a3")
    assert list(_take(sqs, queue)) == ["a1", "a2", "a3", "b1"]


def test_a_message_in_flight_locks_its_group_and_no_other(sqs: "SQSClient", queue: str) -> None:
    """New messages of the group wait, those of another do not; blocked ones count as visible."""
    _send(sqs, queue, "a1", "a2")
    assert list(_take(sqs, queue, MaxNumberOfMessages=1)) == ["a1"]
    _send(sqs, queue, "a3", "b1")
    assert list(_take(sqs, queue)) == ["b1"]
    attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    assert (attributes["ApproximateNumberOfMessages"], attributes["ApproximateNumberOfMessagesNotVisible"]) == (
        "2",
        "2",
    )


def test_a_partial_delete_keeps_the_lock(sqs: "SQSClient", queue: str) -> None:
    """The group is unlocked when all received messages are deleted."""
    _send(sqs, queue, "a1", "a2", "a3")
    held = _take(sqs, queue, MaxNumberOfMessages=2)
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=held["a1"])
    assert _take(sqs, queue) == {}
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=held["a2"])
    assert list(_take(sqs, queue)) == ["a3"]


def test_a_released_head_is_received_alone_and_a_released_follower_not_at_all(sqs: "SQSClient", queue: str) -> None:
    """A message is deliverable exactly when no earlier one of its group is in flight."""
    _send(sqs, queue, "a1", "a2", "b1", "b2")
    held = _take(sqs, queue)
    _hide(sqs, queue, held["a1"], 0)
    _hide(sqs, queue, held["b2"], 0)
    assert list(_take(sqs, queue)) == ["a1"]


def test_expired_messages_are_redelivered_in_order_and_wake_a_long_poll(sqs: "SQSClient", queue: str) -> None:
    """The whole batch after one second, the middle one extended: only the head is received."""
    _send(sqs, queue, "a1", "a2", "a3")
    held = _take(sqs, queue, VisibilityTimeout=1)
    _hide(sqs, queue, held["a2"], 30)
    assert list(_take(sqs, queue, WaitTimeSeconds=LONG_WAIT)) == ["a1"]
    _hide(sqs, queue, held["a2"], 0)
    with pytest.raises(ClientError, match="The receipt handle has expired") as caught:
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=held["a3"])
    assert caught.value.response["Error"]["Code"] == "InvalidParameterValue"


def test_a_repeated_send_is_one_message(sqs: "SQSClient", queue: str) -> None:
    """The response is that of the first, in another group too and after the message was deleted."""
    fields: Any = {"QueueUrl": queue, "MessageBody": "x", "MessageDeduplicationId": "d"}
    first = sqs.send_message(MessageGroupId="a", **fields)
    again = sqs.send_message(MessageGroupId="b", **fields)
    (handle,) = _take(sqs, queue).values()
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=handle)
    late = sqs.send_message(MessageGroupId="a", **fields)
    assert {each["MessageId"] for each in (first, again, late)} == {first["MessageId"]}
    assert {each["SequenceNumber"] for each in (first, again, late)} == {first["SequenceNumber"]}
    assert _take(sqs, queue) == {}


def test_in_high_throughput_mode_a_group_has_its_own_deduplication(
    sqs: "SQSClient", new_queue: Callable[..., str]
) -> None:
    """The same deduplication id in two groups is two messages."""
    queue = new_queue(DeduplicationScope="messageGroup", FifoThroughputLimit="perMessageGroupId")
    for group in ("a", "b", "a"):
        sqs.send_message(QueueUrl=queue, MessageBody=group, MessageGroupId=group, MessageDeduplicationId="d")
    assert list(_take(sqs, queue)) == ["a", "b"]


def test_content_based_deduplication_compares_bodies(sqs: "SQSClient", new_queue: Callable[..., str]) -> None:
    """Two equal bodies without ids are one message, whatever their attributes; single and batch."""
    queue = new_queue(ContentBasedDeduplication="true")
    attributes: Any = {"n": {"DataType": "Number", "StringValue": "1"}}
    sqs.send_message(QueueUrl=queue, MessageBody="x", MessageGroupId="a", MessageAttributes=attributes)
    sqs.send_message_batch(
        QueueUrl=queue,
        Entries=[{"Id": body, "MessageBody": body, "MessageGroupId": "a"} for body in ("x", "y")],
    )
    assert list(_take(sqs, queue)) == ["x", "y"]


def test_the_queues_delay_hides_a_message(sqs: "SQSClient", new_queue: Callable[..., str]) -> None:
    """A message without a delay gets the queue's; a long poll receives it when it is due."""
    queue = new_queue(DelaySeconds="1")
    sqs.send_message(QueueUrl=queue, MessageBody="x", MessageGroupId="a", MessageDeduplicationId="d", DelaySeconds=0)
    response = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["ApproximateNumberOfMessagesDelayed"])
    assert response["Attributes"] == {"ApproximateNumberOfMessagesDelayed": "1"}
    assert _take(sqs, queue) == {}
    assert list(_take(sqs, queue, WaitTimeSeconds=LONG_WAIT)) == ["x"]


def test_a_repeated_attempt_to_receive_gets_the_same_messages(sqs: "SQSClient", queue: str) -> None:
    """So a lost response locks nothing; another attempt gets nothing."""
    _send(sqs, queue, "a1", "a2")
    first = _take(sqs, queue, ReceiveRequestAttemptId="one")
    assert _take(sqs, queue, ReceiveRequestAttemptId="two") == {}
    assert _take(sqs, queue, ReceiveRequestAttemptId="one") == first
    assert list(first) == ["a1", "a2"]


def test_a_visibility_timeout_ends_twelve_hours_after_the_receive(sqs: "SQSClient", queue: str) -> None:
    """A second after the receive, twelve hours more are refused, and the remaining time is accepted."""
    _send(sqs, queue, "a1")
    (handle,) = _take(sqs, queue, VisibilityTimeout=60).values()
    assert _take(sqs, queue, WaitTimeSeconds=1) == {}
    with pytest.raises(ClientError, match="beyond the limit") as caught:
        _hide(sqs, queue, handle, 43_200)
    _hide(sqs, queue, handle, 43_100)
    assert caught.value.response["Error"]["Code"] == "InvalidParameterValue"
