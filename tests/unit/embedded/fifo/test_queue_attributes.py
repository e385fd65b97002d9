"""Queue names, attributes and policies."""

import json
from typing import Any

import pytest

from chaski_core.errors import BackendRejectedError
from chaski_embedded.fifo.queue_attributes import (
    blocks_sends,
    check_new_queue,
    check_same,
    check_settings,
    merge_settings,
    normalize,
    select_attributes,
)


@pytest.mark.parametrize(
    ("name", "attributes", "code"),
    [
        pytest.param("orders", {}, "UnsupportedOperation", id="standard queue"),
        pytest.param("orders.fifo", {}, "InvalidParameterValue", id="fifo name on a standard queue"),
        pytest.param(
            "orders", {"FifoQueue": "false"}, "InvalidAttributeName", id="AWS, no FIFO queue in so many words"
        ),
        pytest.param("orders", {"FifoQueue": "true"}, "InvalidParameterValue", id="no suffix"),
        pytest.param("a" * 76 + ".fifo", {"FifoQueue": "true"}, "InvalidParameterValue", id="81 characters"),
        pytest.param("a b.fifo", {"FifoQueue": "true"}, "InvalidParameterValue", id="space"),
        pytest.param("../a.fifo", {"FifoQueue": "true"}, "InvalidParameterValue", id="path"),
        pytest.param(".fifo", {"FifoQueue": "true"}, "InvalidParameterValue", id="suffix alone"),
    ],
)
def test_a_queue_that_cant_be_created_is_refused(name: str, attributes: dict[str, str], code: str) -> None:
    """Names follow API_CreateQueue, and only FIFO queues are supported."""
    with pytest.raises(BackendRejectedError) as caught:
        check_new_queue(name, attributes)
    assert caught.value.code == code


def test_a_name_of_eighty_characters_is_allowed() -> None:
    """The suffix counts."""
    check_new_queue("a" * 75 + ".fifo", {"FifoQueue": "true"})


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("DelaySeconds", 0, 900),
        ("MaximumMessageSize", 1_024, 1_048_576),
        ("MessageRetentionPeriod", 60, 1_209_600),
        ("ReceiveMessageWaitTimeSeconds", 0, 20),
        ("VisibilityTimeout", 0, 43_200),
    ],
)
def test_a_number_must_be_in_its_documented_range(name: str, low: int, high: int) -> None:
    """Both ends are allowed, the next values are not."""
    for value in (low, high):
        check_settings({name: str(value)}, {})
    for value in (low - 1, high + 1):
        with pytest.raises(BackendRejectedError, match=name) as caught:
            check_settings({name: str(value)}, {})
        assert caught.value.code == "InvalidAttributeValue"


@pytest.mark.parametrize(
    ("given", "code"),
    [
        pytest.param({"Colour": "red"}, "InvalidAttributeName", id="unknown"),
        pytest.param({"QueueArn": "arn"}, "InvalidAttributeName", id="computed"),
        pytest.param({"VisibilityTimeout": "soon"}, "InvalidAttributeValue", id="no number"),
        pytest.param({"VisibilityTimeout": "٣"}, "InvalidAttributeValue", id="digit outside ASCII"),
        pytest.param({"FifoQueue": "false"}, "InvalidAttributeValue", id="type changed"),
        pytest.param({"ContentBasedDeduplication": "yes"}, "InvalidAttributeValue", id="no boolean"),
        pytest.param({"DeduplicationScope": "group"}, "InvalidAttributeValue", id="no scope"),
        pytest.param({"FifoThroughputLimit": "perMessageGroupId"}, "InvalidAttributeValue", id="limit without scope"),
        pytest.param({"Policy": "{"}, "InvalidAttributeValue", id="policy that is no JSON"),
        pytest.param({"Policy": '{"Statement": [1]}'}, "InvalidAttributeValue", id="statement that is no object"),
        pytest.param({"RedrivePolicy": "{}"}, "UnsupportedOperation", id="redrive"),
        pytest.param(
            {"KmsMasterKeyId": "key", "SqsManagedSseEnabled": "true"}, "InvalidAttributeName", id="AWS, two encryptions"
        ),
    ],
)
def test_an_attribute_that_cant_be_set_is_refused(given: dict[str, str], code: str) -> None:
    """Each with AWS's error code."""
    with pytest.raises(BackendRejectedError) as caught:
        check_settings(given, {})
    assert caught.value.code == code


def test_two_kinds_of_encryption_are_refused_with_the_message_of_aws() -> None:
    """Recorded by LocalStack; removing the key and returning to SQS-managed keys in one call is allowed."""
    with pytest.raises(BackendRejectedError) as caught:
        check_settings({"KmsMasterKeyId": "key", "SqsManagedSseEnabled": "true"}, {})
    assert caught.value.reason == (
        "You can use one type of server-side encryption (SSE) at one time. You can either enable KMS SSE or SQS SSE."
    )
    check_settings({"KmsMasterKeyId": "", "SqsManagedSseEnabled": "true"}, {"KmsMasterKeyId": "key"})


def test_booleans_are_accepted_in_any_case() -> None:
    """As on AWS; other values stay unchanged and are refused."""
    given = {"FifoQueue": "True", "SqsManagedSseEnabled": "FALSE", "DeduplicationScope": "messageGroup"}
    assert normalize(given) == {**given, "FifoQueue": "true", "SqsManagedSseEnabled": "false"}
    assert normalize({"FifoQueue": "Yes", "Policy": "TRUE"}) == {"FifoQueue": "Yes", "Policy": "TRUE"}


def test_the_throughput_limit_is_validated_with_the_scope_of_the_queue() -> None:
    """Set together, or one after the other; but the scope can't be reset while the limit needs it."""
    high = {"DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"}
    check_settings(high, {})
    check_settings({"FifoThroughputLimit": "perMessageGroupId"}, {"DeduplicationScope": "messageGroup"})
    with pytest.raises(BackendRejectedError):
        check_settings({"DeduplicationScope": "queue"}, high)


def test_setting_attributes_leaves_the_others() -> None:
    """SetQueueAttributes merges; an empty text removes a policy."""
    before = {"DelaySeconds": "5", "Policy": "{}"}
    assert merge_settings({"VisibilityTimeout": "7"}, before) == {**before, "VisibilityTimeout": "7"}
    assert merge_settings({"Policy": ""}, before) == {"DelaySeconds": "5"}


def test_a_queue_has_one_kind_of_encryption() -> None:
    """A KMS key disables SQS-managed encryption, and the other way round."""
    keyed = merge_settings({"KmsMasterKeyId": "key", "KmsDataKeyReusePeriodSeconds": "6000"}, {})
    assert keyed["SqsManagedSseEnabled"] == "false"
    assert merge_settings({"SqsManagedSseEnabled": "true"}, keyed) == {"SqsManagedSseEnabled": "true"}


def test_creating_a_queue_again_needs_the_same_attributes() -> None:
    """A default counts as set; absent attributes are not compared; the error names the difference."""
    check_same({"FifoQueue": "true", "DelaySeconds": "0"}, {"VisibilityTimeout": "7"})
    with pytest.raises(BackendRejectedError, match="for attribute VisibilityTimeout") as caught:
        check_same({"VisibilityTimeout": "8"}, {"VisibilityTimeout": "7"})
    assert caught.value.code == "QueueNameExists"


def test_only_requested_attributes_are_returned() -> None:
    """All, some, none; an attribute that the queue lacks is omitted, an unknown name is refused."""
    has = {"DelaySeconds": "0", "QueueArn": "arn"}
    assert select_attributes(["All"], has) == has
    assert select_attributes(["DelaySeconds", "Policy"], has) == {"DelaySeconds": "0"}
    assert select_attributes([], has) == {}
    with pytest.raises(BackendRejectedError) as caught:
        select_attributes(["Colour"], has)
    assert caught.value.code == "InvalidAttributeName"


DENY: dict[str, Any] = {"Effect": "Deny", "Principal": "*", "Action": "sqs:SendMessage", "Resource": "*"}


@pytest.mark.parametrize(
    ("statement", "denied"),
    [
        pytest.param(DENY, True, id="deny"),
        pytest.param({**DENY, "Principal": {"AWS": "*"}, "Action": ["SQS:SendMessage"]}, True, id="other spelling"),
        pytest.param({**DENY, "Action": "sqs:*"}, True, id="every action"),
        pytest.param({**DENY, "Effect": "Allow"}, False, id="allow"),
        pytest.param({**DENY, "Action": "sqs:ReceiveMessage"}, False, id="other action"),
        pytest.param({**DENY, "Principal": {"AWS": "arn:aws:iam::1:root"}}, False, id="somebody"),
        pytest.param({**DENY, "Condition": {"Bool": {"aws:SecureTransport": "false"}}}, False, id="condition"),
    ],
)
def test_a_policy_can_block_sends(statement: dict[str, Any], denied: bool) -> None:
    """Only a deny for every principal without a condition has an effect, alone or in a list."""
    assert blocks_sends({"Policy": json.dumps({"Statement": [statement]})}) is denied
    assert blocks_sends({"Policy": json.dumps({"Statement": statement})}) is denied


def test_a_queue_without_a_policy_accepts_messages() -> None:
    """Without a policy nothing is denied."""
    assert blocks_sends({}) is False
    assert blocks_sends({"Policy": "{}"}) is False
