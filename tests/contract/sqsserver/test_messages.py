"""Single messages through boto3: they are received unchanged, and errors have the codes of AWS."""

import hashlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

ATTRIBUTES: dict[str, Any] = {
    "General": {"DataType": "String", "StringValue": "Kenobi"},
    "Hello": {"DataType": "String", "StringValue": "There"},
    "Help.Me": {"DataType": "String", "StringValue": "Me"},
}
ATTRIBUTES_MD5 = (
    "4c360f3fdafd970e05fae2f149d997f5"  # returned by AWS for these three (test_sqs.snapshot.json of LocalStack)
)
PART_MD5 = "fca026605781cb4126a1e9044df24232"  # and for the first two
TRACE = "Root=1-3152b799-8954dae64eda91bc9a23a7e8;Parent=7fa8c0f79203be72;Sampled=1"


def _send(sqs: "SQSClient", queue: str, body: str, **more: Any) -> Any:
    keys = {"MessageGroupId": "g", "MessageDeduplicationId": hashlib.sha256(body.encode()).hexdigest()}
    return sqs.send_message(QueueUrl=queue, MessageBody=body, **{**keys, **more})


def _code(caught: pytest.ExceptionInfo[ClientError]) -> str:
    return caught.value.response["Error"]["Code"]


def test_a_message_is_received_unchanged(sqs: "SQSClient", queue: str) -> None:
    """Body, digests, attributes of both kinds, keys, counts and times."""
    before = time.time_ns() // 1_000_000
    body = 'tab\t, line\n, "quotes", é, 漢, 😀, \ufffd'
    trace: Any = {"AWSTraceHeader": {"DataType": "String", "StringValue": TRACE}}
    sent = _send(sqs, queue, body, MessageAttributes=ATTRIBUTES, MessageSystemAttributes=trace)
    (got,) = sqs.receive_message(QueueUrl=queue, MessageSystemAttributeNames=["All"], MessageAttributeNames=["All"])[
        "Messages"
    ]
    digest = hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()
    assert (sent["MD5OfMessageBody"], sent["MD5OfMessageAttributes"]) == (digest, ATTRIBUTES_MD5)
    assert sent["MD5OfMessageSystemAttributes"]
    assert (got["MessageId"], got["Body"], got["MD5OfBody"]) == (sent["MessageId"], body, digest)
    assert (got["MessageAttributes"], got["MD5OfMessageAttributes"]) == (ATTRIBUTES, ATTRIBUTES_MD5)
    attributes = dict(got["Attributes"])
    sent_at, first = int(attributes.pop("SentTimestamp")), int(attributes.pop("ApproximateFirstReceiveTimestamp"))
    assert before <= sent_at <= first <= time.time_ns() // 1_000_000
    assert attributes == {
        "ApproximateReceiveCount": "1",
        "SenderId": "000000000000",
        "SequenceNumber": sent["SequenceNumber"],
        "MessageDeduplicationId": hashlib.sha256(body.encode()).hexdigest(),
        "MessageGroupId": "g",
        "AWSTraceHeader": TRACE,
    }


def test_a_receive_gets_only_what_it_requests(sqs: "SQSClient", new_queue: Callable[..., str]) -> None:
    """Nothing, two of three attributes with the digest of these two, or a prefix."""
    queue = new_queue(VisibilityTimeout="0")
    _send(sqs, queue, "msg", MessageAttributes=ATTRIBUTES)
    (plain,) = sqs.receive_message(QueueUrl=queue)["Messages"]
    assert set(plain) == {"MessageId", "ReceiptHandle", "MD5OfBody", "Body"}
    (part,) = sqs.receive_message(QueueUrl=queue, MessageAttributeNames=["General", "Hello", "None"])["Messages"]
    assert (set(part["MessageAttributes"]), part["MD5OfMessageAttributes"]) == ({"General", "Hello"}, PART_MD5)
    (prefix,) = sqs.receive_message(QueueUrl=queue, MessageAttributeNames=["Help.*"])["Messages"]
    assert set(prefix["MessageAttributes"]) == {"Help.Me"}
    (old,) = sqs.receive_message(QueueUrl=queue, AttributeNames=["ApproximateReceiveCount"])["Messages"]
    assert old["Attributes"] == {"ApproximateReceiveCount": "4"}


def test_binary_attributes_survive(sqs: "SQSClient", queue: str) -> None:
    """Bytes are received as bytes, with the digest that AWS returned for them."""
    value = b"traceparent\x1e00-774062d6c37081a5a0b9b5b88e30627c-2d2482211f6489da-01"
    sent = _send(sqs, queue, "test", MessageAttributes={"attr1": {"DataType": "Binary", "BinaryValue": value}})
    (got,) = sqs.receive_message(QueueUrl=queue, MessageAttributeNames=["All"])["Messages"]
    assert got["MessageAttributes"]["attr1"] == {"DataType": "Binary", "BinaryValue": value}
    assert sent["MD5OfMessageAttributes"] == got["MD5OfMessageAttributes"] == "8cbe4db156db8a94db8b801b7addb984"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param({"MessageBody": ""}, "MissingParameter", id="empty body"),
        pytest.param({"MessageBody": "a\x00"}, "InvalidMessageContents", id="NUL"),
        pytest.param({"MessageGroupId": "g g"}, "InvalidParameterValue", id="space in a group"),
        pytest.param({"MessageGroupId": ""}, "InvalidParameterValue", id="empty group"),
        pytest.param({"MessageDeduplicationId": "d" * 129}, "InvalidParameterValue", id="long deduplication id"),
        pytest.param({"DelaySeconds": 2}, "InvalidParameterValue", id="delay"),
        pytest.param({"MessageAttributes": {"AWS.a": ATTRIBUTES["Hello"]}}, "InvalidParameterValue", id="attribute"),
    ],
)
def test_a_message_that_is_not_allowed_is_refused(sqs: "SQSClient", queue: str, change: Any, code: str) -> None:
    """And not sent."""
    fields = {"MessageBody": "x", "MessageGroupId": "g", "MessageDeduplicationId": "d", **change}
    with pytest.raises(ClientError) as caught:
        sqs.send_message(QueueUrl=queue, **fields)
    assert _code(caught) == code
    assert "Messages" not in sqs.receive_message(QueueUrl=queue)


def test_missing_keys_have_different_codes(sqs: "SQSClient", queue: str) -> None:
    """A missing group is a missing parameter, a missing deduplication id an invalid value, as on AWS."""
    with pytest.raises(ClientError) as group:
        sqs.send_message(QueueUrl=queue, MessageBody="x", MessageDeduplicationId="d")
    with pytest.raises(ClientError) as deduplication:
        sqs.send_message(QueueUrl=queue, MessageBody="x", MessageGroupId="g")
    assert (_code(group), _code(deduplication)) == ("MissingParameter", "InvalidParameterValue")


def test_a_message_has_the_size_of_body_and_attributes(sqs: "SQSClient", new_queue: Callable[..., str]) -> None:
    """1,024 bytes in total are accepted, one more is not."""
    queue = new_queue(MaximumMessageSize="1024")
    attributes = {"k": {"DataType": "String", "StringValue": "x"}}  # 8 bytes
    _send(sqs, queue, "a" * 1016, MessageAttributes=attributes)
    with pytest.raises(ClientError, match="shorter than 1024 bytes") as caught:
        _send(sqs, queue, "a" * 1017, MessageAttributes=attributes)
    assert _code(caught) == "InvalidParameterValue"


def test_a_message_of_one_mebibyte_is_accepted(sqs: "SQSClient", queue: str) -> None:
    """SQS's maximum, of characters that JSON escapes to three times their size."""
    body = "é" * 524_288
    _send(sqs, queue, body)
    assert sqs.receive_message(QueueUrl=queue)["Messages"][0]["Body"] == body


@pytest.mark.parametrize(
    "change",
    [
        {"MaxNumberOfMessages": 0},
        {"MaxNumberOfMessages": 11},
        {"WaitTimeSeconds": 21},
        {"WaitTimeSeconds": -1},
        {"VisibilityTimeout": 43_201},
        {"ReceiveRequestAttemptId": "a b"},
    ],
    ids=str,
)
def test_a_receive_that_is_not_allowed_is_refused(sqs: "SQSClient", queue: str, change: Any) -> None:
    """Both ends of each range."""
    with pytest.raises(ClientError) as caught:
        sqs.receive_message(QueueUrl=queue, **change)
    assert _code(caught) == "InvalidParameterValue"


def test_garbage_is_not_a_receipt_handle(sqs: "SQSClient", queue: str) -> None:
    """Deletes and visibility changes fail with the same code."""
    with pytest.raises(sqs.exceptions.ReceiptHandleIsInvalid):
        sqs.delete_message(QueueUrl=queue, ReceiptHandle="garbage")
    with pytest.raises(sqs.exceptions.ReceiptHandleIsInvalid):
        sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle="garbage", VisibilityTimeout=1)


def test_a_deleted_message_can_be_deleted_but_not_hidden(sqs: "SQSClient", queue: str) -> None:
    """Deleting is idempotent; a visibility change of a deleted message fails with AWS's message."""
    _send(sqs, queue, "x")
    handle = sqs.receive_message(QueueUrl=queue)["Messages"][0]["ReceiptHandle"]
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=handle)
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=handle)
    with pytest.raises(ClientError, match="Message does not exist or is not available") as caught:
        sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=handle, VisibilityTimeout=1)
    assert _code(caught) == "InvalidParameterValue"


def test_every_action_on_a_missing_queue_fails(sqs: "SQSClient", queue: str) -> None:
    """With the code of the former protocol, which boto3 reports."""
    gone: Any = {"QueueUrl": queue.replace("test-", "gone-")}
    handle: Any = {"ReceiptHandle": "h"}
    message: Any = {"MessageBody": "x", "MessageGroupId": "g", "MessageDeduplicationId": "d"}
    entry: Any = {"Id": "1"}
    calls: list[Callable[[], object]] = [
        lambda: sqs.get_queue_attributes(AttributeNames=["All"], **gone),
        lambda: sqs.set_queue_attributes(Attributes={"DelaySeconds": "1"}, **gone),
        lambda: sqs.delete_queue(**gone),
        lambda: sqs.purge_queue(**gone),
        lambda: sqs.tag_queue(Tags={"a": "b"}, **gone),
        lambda: sqs.untag_queue(TagKeys=["a"], **gone),
        lambda: sqs.list_queue_tags(**gone),
        lambda: sqs.send_message(**message, **gone),
        lambda: sqs.send_message_batch(Entries=[entry | message], **gone),
        lambda: sqs.receive_message(**gone),
        lambda: sqs.delete_message(**handle, **gone),
        lambda: sqs.delete_message_batch(Entries=[entry | handle], **gone),
        lambda: sqs.change_message_visibility(VisibilityTimeout=1, **handle, **gone),
        lambda: sqs.change_message_visibility_batch(Entries=[entry | handle | {"VisibilityTimeout": 1}], **gone),
    ]
    for call in calls:
        with pytest.raises(sqs.exceptions.QueueDoesNotExist) as caught:
            call()
        assert _code(caught) == "AWS.SimpleQueueService.NonExistentQueue"
