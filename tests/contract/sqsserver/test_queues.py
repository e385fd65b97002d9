"""Queues, their attributes and tags, through boto3."""

import json
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

COUNTS = {"ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed"}


def test_a_queue_is_created_found_and_deleted(sqs: "SQSClient") -> None:
    """The same attributes find the same queue; after its deletion it does not exist."""
    name = f"made-{uuid.uuid4().hex}.fifo"
    url = sqs.create_queue(QueueName=name, Attributes={"FifoQueue": "true", "DelaySeconds": "3"})["QueueUrl"]
    assert url.endswith(f"/000000000000/{name}")
    assert sqs.create_queue(QueueName=name, Attributes={"FifoQueue": "true", "DelaySeconds": "3"})["QueueUrl"] == url
    assert sqs.get_queue_url(QueueName=name)["QueueUrl"] == url
    sqs.delete_queue(QueueUrl=url)
    with pytest.raises(sqs.exceptions.QueueDoesNotExist):
        sqs.get_queue_url(QueueName=name)


def test_a_queue_with_another_attribute_is_not_created_again(sqs: "SQSClient", queue: str) -> None:
    """boto3 maps the response to its own exception class."""
    with pytest.raises(sqs.exceptions.QueueNameExists):
        sqs.create_queue(QueueName=queue.rpartition("/")[2], Attributes={"FifoQueue": "true", "DelaySeconds": "7"})


def test_queues_are_listed_by_prefix_and_page_by_page(sqs: "SQSClient") -> None:
    """Two pages of two and one of one, every queue once, by name."""
    prefix = f"list-{uuid.uuid4().hex}"
    made = [
        sqs.create_queue(QueueName=f"{prefix}-{n}.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"] for n in range(5)
    ]
    pages = list(sqs.get_paginator("list_queues").paginate(QueueNamePrefix=prefix, PaginationConfig={"PageSize": 2}))
    assert [page["QueueUrls"] for page in pages] == [made[:2], made[2:4], made[4:]]
    assert sqs.list_queues(QueueNamePrefix=prefix)["QueueUrls"] == made
    assert "QueueUrls" not in sqs.list_queues(QueueNamePrefix=f"{prefix}-none")


def test_an_invalid_token_is_refused(sqs: "SQSClient") -> None:
    """It is not base64."""
    with pytest.raises(ClientError, match="InvalidParameterValue"):
        sqs.list_queues(NextToken="?", MaxResults=1)


def test_attributes_have_the_defaults_of_sqs(sqs: "SQSClient", queue: str) -> None:
    """As recorded from AWS for a new FIFO queue; times are epoch seconds, the ARN ends with the name."""
    attributes: Any = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    assert {name: attributes[name] for name in COUNTS} == dict.fromkeys(COUNTS, "0")
    assert attributes["QueueArn"].endswith(":000000000000:" + queue.rpartition("/")[2])
    assert int(attributes["CreatedTimestamp"]) == int(attributes["LastModifiedTimestamp"])
    rest = {
        name: value
        for name, value in attributes.items()
        if name not in {*COUNTS, "QueueArn", "CreatedTimestamp", "LastModifiedTimestamp"}
    }
    assert rest == {
        "ContentBasedDeduplication": "false",
        "DeduplicationScope": "queue",
        "DelaySeconds": "0",
        "FifoQueue": "true",
        "FifoThroughputLimit": "perQueue",
        "MaximumMessageSize": "1048576",
        "MessageRetentionPeriod": "345600",
        "ReceiveMessageWaitTimeSeconds": "0",
        "SqsManagedSseEnabled": "true",
        "VisibilityTimeout": "30",
    }


def test_set_attributes_merges(sqs: "SQSClient", new_queue: Callable[..., str]) -> None:
    """FifoQueue may be repeated, not changed."""
    queue = new_queue(DelaySeconds="4")
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "77", "FifoQueue": "true"})
    attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["VisibilityTimeout", "DelaySeconds"])
    assert attributes["Attributes"] == {"VisibilityTimeout": "77", "DelaySeconds": "4"}
    assert "Attributes" not in sqs.get_queue_attributes(QueueUrl=queue)


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ({"VisibilityTimeout": "43201"}, "InvalidAttributeValue"),
        ({"FifoQueue": "false"}, "InvalidAttributeValue"),
        ({"Colour": "red"}, "InvalidAttributeName"),
        ({"FifoThroughputLimit": "perMessageGroupId"}, "InvalidAttributeValue"),
        ({"RedrivePolicy": "{}"}, "AWS.SimpleQueueService.UnsupportedOperation"),
    ],
    ids=str,
)
def test_attributes_that_are_not_allowed_are_refused(sqs: "SQSClient", queue: str, attributes: Any, code: str) -> None:
    """When creating and when changing a queue, with the same code."""
    with pytest.raises(ClientError) as changed:
        sqs.set_queue_attributes(QueueUrl=queue, Attributes=attributes)
    assert changed.value.response["Error"]["Code"] == code
    if "FifoQueue" not in attributes:
        with pytest.raises(ClientError) as made:
            sqs.create_queue(QueueName=f"bad-{uuid.uuid4().hex}.fifo", Attributes={"FifoQueue": "true", **attributes})
        assert made.value.response["Error"]["Code"] == code


def test_an_unknown_attribute_cant_be_requested(sqs: "SQSClient", queue: str) -> None:
    """InvalidAttributeName, as on AWS."""
    with pytest.raises(sqs.exceptions.InvalidAttributeName):
        sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["Foobar"])  # type: ignore[list-item] # wrong on purpose


def test_a_standard_queue_is_not_supported(sqs: "SQSClient") -> None:
    """Refused when it is created."""
    with pytest.raises(sqs.exceptions.UnsupportedOperation):
        sqs.create_queue(QueueName="standard")


def test_tags_are_added_replaced_and_removed(sqs: "SQSClient") -> None:
    """Tags may be set when a queue is created; empty values are allowed."""
    name = f"tags-{uuid.uuid4().hex}.fifo"
    queue = sqs.create_queue(QueueName=name, Attributes={"FifoQueue": "true"}, tags={"a": "1", "b": "2"})["QueueUrl"]
    sqs.tag_queue(QueueUrl=queue, Tags={"b": "3", "c": ""})
    assert sqs.list_queue_tags(QueueUrl=queue)["Tags"] == {"a": "1", "b": "3", "c": ""}
    sqs.untag_queue(QueueUrl=queue, TagKeys=["a", "b", "c", "never"])
    assert "Tags" not in sqs.list_queue_tags(QueueUrl=queue)


def test_a_purge_empties_a_queue_and_is_allowed_once_a_minute(sqs: "SQSClient", queue: str) -> None:
    """The second one is refused with 403, as on AWS; deduplication entries are deleted too."""
    message: Any = {"QueueUrl": queue, "MessageBody": "x", "MessageGroupId": "g", "MessageDeduplicationId": "d"}
    sqs.send_message(**message)
    sqs.purge_queue(QueueUrl=queue)
    assert "Messages" not in sqs.receive_message(QueueUrl=queue)
    with pytest.raises(sqs.exceptions.PurgeQueueInProgress) as caught:
        sqs.purge_queue(QueueUrl=queue)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    sqs.send_message(**message)
    assert sqs.receive_message(QueueUrl=queue)["Messages"][0]["Body"] == "x"


def test_a_policy_that_denies_sending_blocks_sends(sqs: "SQSClient", queue: str) -> None:
    """Sends are refused, single and batch, receives are not; without the policy sends succeed again."""
    statement = {"Effect": "Deny", "Principal": "*", "Action": "sqs:SendMessage", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    entry: Any = {"MessageBody": "x", "MessageGroupId": "g", "MessageDeduplicationId": "d"}
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
    assert sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["Policy"])["Attributes"] == {"Policy": policy}
    with pytest.raises(ClientError) as caught:
        sqs.send_message(QueueUrl=queue, **entry)
    assert caught.value.response["Error"]["Code"] == "AccessDenied"
    with pytest.raises(ClientError, match="AccessDenied"):
        sqs.send_message_batch(QueueUrl=queue, Entries=[entry | {"Id": "a"}])
    assert "Messages" not in sqs.receive_message(QueueUrl=queue)
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": ""})
    sqs.send_message(QueueUrl=queue, **entry)
    assert sqs.receive_message(QueueUrl=queue)["Messages"][0]["Body"] == "x"
