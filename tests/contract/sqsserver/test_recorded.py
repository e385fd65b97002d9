"""Recordings of AWS that once differed here: localstack/localstack, tests/aws/services/sqs (aws.validated)."""

import time
import uuid
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSRequest
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

KENOBI: Any = {
    name: {"DataType": "String", "StringValue": value}
    for name, value in {"General": "Kenobi", "Hello": "There", "Help.Me": "Me"}.items()
}


def _entry(name: str, body: str = "x") -> Any:
    return {"Id": name, "MessageBody": body, "MessageGroupId": "g", "MessageDeduplicationId": name}


def test_a_queue_is_created_with_true_in_any_case(sqs: "SQSClient") -> None:
    """Programs write Python's `True`; the queue returns `true`."""
    name = f"test-{uuid.uuid4().hex}.fifo"
    attributes: Any = {"FifoQueue": "True", "ContentBasedDeduplication": "True"}
    url = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    assert sqs.create_queue(QueueName=name, Attributes={"FifoQueue": "true"})["QueueUrl"] == url
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["FifoQueue", "ContentBasedDeduplication"])
    assert attributes["Attributes"] == {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
    assert sqs.send_message(QueueUrl=url, MessageBody="x", MessageGroupId="g")["MessageId"]


@pytest.mark.parametrize(
    ("names", "picked"),
    [(["All"], 3), ([".*"], 3), (["*"], 3), (["Hel.*"], 2), (["Help.*"], 1), (["Hello"], 1), ([], 0)],
    ids=str,
)
def test_attributes_are_chosen_by_name_prefix_or_asterisk(
    sqs: "SQSClient", queue: str, names: list[str], picked: int
) -> None:
    """`*` matches all, `Hel.*` what begins with Hel."""
    sqs.send_message(
        QueueUrl=queue, MessageBody="x", MessageGroupId="g", MessageDeduplicationId="d", MessageAttributes=KENOBI
    )
    (message,) = sqs.receive_message(QueueUrl=queue, MessageAttributeNames=names)["Messages"]
    assert len(message.get("MessageAttributes", {})) == picked


def test_a_batch_response_has_no_empty_lists(sqs: "SQSClient", queue: str) -> None:
    """Programs check `if "Failed" in response`."""
    sent = sqs.send_message_batch(QueueUrl=queue, Entries=[_entry("a"), _entry("b")])
    assert ("Failed" in sent, len(sent["Successful"])) == (False, 2)
    refused = sqs.send_message_batch(QueueUrl=queue, Entries=[_entry("c", "\x01")])
    assert ("Successful" in refused, len(refused["Failed"])) == (False, 1)
    held = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    entries: Any = [{"Id": str(n), "ReceiptHandle": each["ReceiptHandle"]} for n, each in enumerate(held)]
    hidden: Any = [{**each, "VisibilityTimeout": 60} for each in entries]
    assert "Failed" not in sqs.change_message_visibility_batch(QueueUrl=queue, Entries=hidden)
    assert "Failed" not in sqs.delete_message_batch(QueueUrl=queue, Entries=entries)


def test_an_attribute_name_may_have_letters_outside_ascii(sqs: "SQSClient", queue: str) -> None:
    """`attr.1øßä`."""
    sqs.send_message(
        QueueUrl=queue,
        MessageBody="x",
        MessageGroupId="g",
        MessageDeduplicationId="d",
        MessageAttributes={"attr.1øßä": {"DataType": "String", "StringValue": "Valida"}},
    )
    (message,) = sqs.receive_message(QueueUrl=queue, MessageAttributeNames=["All"])["Messages"]
    assert list(message["MessageAttributes"]) == ["attr.1øßä"]


def test_messages_are_those_of_aws(sqs: "SQSClient", new_queue: Callable[..., str]) -> None:
    """A missing queue, a batch entry that is too long, two kinds of encryption."""
    queue = new_queue(MaximumMessageSize="1024", KmsDataKeyReusePeriodSeconds="300")
    with pytest.raises(sqs.exceptions.QueueDoesNotExist) as absent:
        sqs.get_queue_url(QueueName="absent.fifo")
    assert absent.value.response["Error"]["Message"] == "The specified queue does not exist."
    (failed,) = sqs.send_message_batch(QueueUrl=queue, Entries=[_entry("a", "x" * 1_025)])["Failed"]
    assert failed["Message"] == (
        "One or more parameters cannot be validated. Reason: Message must be shorter than 1024 bytes."
    )
    assert (
        "KmsDataKeyReusePeriodSeconds"
        not in sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    )
    both: Any = {"KmsMasterKeyId": "alias/aws/sqs", "SqsManagedSseEnabled": "true"}
    with pytest.raises(ClientError, match="You can use one type of server-side encryption") as refused:
        sqs.set_queue_attributes(QueueUrl=queue, Attributes=both)
    assert refused.value.response["Error"]["Code"] == "InvalidAttributeName"


def test_the_trace_header_of_a_request_becomes_the_messages(sqs: "SQSClient", queue: str) -> None:
    """Where the message has none of its own."""
    root = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1"

    def trace(request: AWSRequest, **_: Any) -> None:
        request.headers["X-Amzn-Trace-Id"] = root

    own: Any = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=own"}}
    sqs.meta.events.register("before-sign.sqs.*", trace)
    try:
        sqs.send_message(QueueUrl=queue, MessageBody="1", MessageGroupId="g", MessageDeduplicationId="1")
        sqs.send_message_batch(QueueUrl=queue, Entries=[_entry("2"), {**_entry("3"), "MessageSystemAttributes": own}])
    finally:
        sqs.meta.events.unregister("before-sign.sqs.*", trace)
    messages = sqs.receive_message(
        QueueUrl=queue, MaxNumberOfMessages=10, MessageSystemAttributeNames=["AWSTraceHeader"]
    )["Messages"]
    assert [each["Attributes"]["AWSTraceHeader"] for each in messages] == [root, root, "Root=own"]


def test_a_signature_of_another_time_is_refused_with_the_servers_date(sqs: "SQSClient", queue: str) -> None:
    """Clients correct their clocks by the Date; unsigned requests are accepted (test_process.py)."""

    def late(request: AWSPreparedRequest, **_: Any) -> None:
        request.headers["X-Amz-Date"] = "20200101T000000Z"

    sqs.meta.events.register("before-send.sqs.GetQueueAttributes", late)
    try:
        with pytest.raises(ClientError, match="Signature expired: 20200101T000000Z is now earlier than") as refused:
            sqs.get_queue_attributes(QueueUrl=queue)
    finally:
        sqs.meta.events.unregister("before-send.sqs.GetQueueAttributes", late)
    metadata = refused.value.response["ResponseMetadata"]
    assert refused.value.response["Error"]["Code"] == "SignatureDoesNotMatch"
    assert metadata["HTTPStatusCode"] == 403
    assert abs(parsedate_to_datetime(metadata["HTTPHeaders"]["date"]).timestamp() - time.time()) < 30
