"""Batches through boto3: errors of the whole batch and of single entries."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


def _entries(*bodies: str) -> list[Any]:
    return [
        {"Id": f"e{n}", "MessageBody": body, "MessageGroupId": "g", "MessageDeduplicationId": f"d{n}"}
        for n, body in enumerate(bodies)
    ]


def _fill(sqs: "SQSClient", queue: str, count: int) -> list[Any]:
    answer = sqs.send_message_batch(QueueUrl=queue, Entries=_entries(*map(str, range(count))))
    assert [each["Id"] for each in answer["Successful"]] == [f"e{n}" for n in range(count)]
    return sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]


def test_a_full_batch_is_sent_received_and_deleted_in_order(sqs: "SQSClient", queue: str) -> None:
    """Ten messages of one group are received at once, in the order of the batch, and deleted by one call."""
    messages = _fill(sqs, queue, 10)
    assert [each["Body"] for each in messages] == [str(n) for n in range(10)]
    deleted = sqs.delete_message_batch(
        QueueUrl=queue,
        Entries=[{"Id": str(n), "ReceiptHandle": each["ReceiptHandle"]} for n, each in enumerate(messages)],
    )
    assert [each["Id"] for each in deleted["Successful"]] == [str(n) for n in range(10)]
    assert not deleted.get("Failed")
    attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    assert (attributes["ApproximateNumberOfMessages"], attributes["ApproximateNumberOfMessagesNotVisible"]) == (
        "0",
        "0",
    )


def test_one_invalid_message_fails_alone(sqs: "SQSClient", new_queue: Callable[..., str]) -> None:
    """A character that SQS does not accept and a message that is too long; the others are sent, in order."""
    queue = new_queue(MaximumMessageSize="1024")
    answer = sqs.send_message_batch(QueueUrl=queue, Entries=_entries("a", "\x01", "b" * 1_025, "c"))
    assert [each["Id"] for each in answer["Successful"]] == ["e0", "e3"]
    assert [(each["Id"], each["Code"], each["SenderFault"]) for each in answer["Failed"]] == [
        ("e1", "InvalidMessageContents", True),
        ("e2", "InvalidParameterValue", True),
    ]
    messages = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    assert [each["Body"] for each in messages] == ["a", "c"]


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        pytest.param([], "EmptyBatchRequest", id="none"),
        pytest.param(_entries(*"abcdefghijk"), "TooManyEntriesInBatchRequest", id="eleven"),
        pytest.param([*_entries("a"), *_entries("b")], "BatchEntryIdsNotDistinct", id="an id twice"),
        pytest.param([{**_entries("a")[0], "Id": "a:b"}], "InvalidBatchEntryId", id="bad id"),
        pytest.param(_entries("a" * 600_000, "b" * 600_000), "BatchRequestTooLong", id="more than 1 MiB"),
    ],
)
def test_a_batch_that_is_not_allowed_is_refused_as_a_whole(
    sqs: "SQSClient", queue: str, entries: list[Any], code: str
) -> None:
    """None of it is sent."""
    with pytest.raises(ClientError) as caught:
        sqs.send_message_batch(QueueUrl=queue, Entries=entries)
    assert caught.value.response["Error"]["Code"] == f"AWS.SimpleQueueService.{code}"
    assert "Messages" not in sqs.receive_message(QueueUrl=queue)


@pytest.mark.parametrize("lost", ["MessageGroupId", "MessageDeduplicationId"])
def test_a_missing_key_fails_the_whole_batch(sqs: "SQSClient", queue: str, lost: str) -> None:
    """As recorded from AWS."""
    entries = _entries("a", "b")
    del entries[1][lost]
    with pytest.raises(ClientError) as caught:
        sqs.send_message_batch(QueueUrl=queue, Entries=entries)
    assert caught.value.response["Error"]["Code"] == "InvalidParameterValue"


def test_deletes_and_visibility_changes_fail_entry_by_entry(sqs: "SQSClient", queue: str) -> None:
    """Inside an HTTP 200: an invalid handle and a visibility timeout that is too long, beside an entry that succeeds."""
    first, second = _fill(sqs, queue, 2)
    changed = sqs.change_message_visibility_batch(
        QueueUrl=queue,
        Entries=[
            {"Id": "good", "ReceiptHandle": first["ReceiptHandle"], "VisibilityTimeout": 60},
            {"Id": "long", "ReceiptHandle": second["ReceiptHandle"], "VisibilityTimeout": 43_201},
            {"Id": "none", "ReceiptHandle": "garbage", "VisibilityTimeout": 60},
        ],
    )
    assert [each["Id"] for each in changed["Successful"]] == ["good"]
    assert {each["Id"]: each["Code"] for each in changed["Failed"]} == {
        "long": "InvalidParameterValue",
        "none": "ReceiptHandleIsInvalid",
    }
    deleted = sqs.delete_message_batch(
        QueueUrl=queue,
        Entries=[{"Id": "none", "ReceiptHandle": "garbage"}, {"Id": "good", "ReceiptHandle": first["ReceiptHandle"]}],
    )
    assert [each["Id"] for each in deleted["Successful"]] == ["good"]
    assert [(each["Id"], each["Code"]) for each in deleted["Failed"]] == [("none", "ReceiptHandleIsInvalid")]
