"""Queue names, attributes and policies."""

import json
from typing import Any

import pytest

from chaski_core.errors import BackendRejectedError
from chaski_embedded.sqs_api.queues import (
    as_kept,
    check_new_queue,
    check_same,
    check_settings,
    denies_sending,
    merge_settings,
    told_attributes,
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
def test_a_queue_that_cant_be_made_is_refused(name: str, attributes: dict[str, str], code: str) -> None:
    """Names follow API_CreateQueue, and only FIFO queues exist here."""
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
def test_a_number_is_held_to_its_documented_range(name: str, low: int, high: int) -> None:
    """Both ends pass, their neighbours do not."""
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
    """Each with the code that AWS gives."""
    with pytest.raises(BackendRejectedError) as caught:
        check_settings(given, {})
    assert caught.value.code == code


def test_two_kinds_of_encryption_are_refused_in_the_words_of_aws() -> None:
    """Recorded by LocalStack; dropping the key and going back to SQS's own in one call is allowed."""
    with pytest.raises(BackendRejectedError) as caught:
        check_settings({"KmsMasterKeyId": "key", "SqsManagedSseEnabled": "true"}, {})
    assert caught.value.reason == (
        "You can use one type of server-side encryption (SSE) at one time. You can either enable KMS SSE or SQS SSE."
    )
    check_settings({"KmsMasterKeyId": "", "SqsManagedSseEnabled": "true"}, {"KmsMasterKeyId": "key"})


def test_booleans_are_taken_in_any_case() -> None:
    """As AWS does; other values stay as they are, so that they are refused."""
    given = {"FifoQueue": "True", "SqsManagedSseEnabled": "FALSE", "DeduplicationScope": "messageGroup"}
    assert as_kept(given) == {**given, "FifoQueue": "true", "SqsManagedSseEnabled": "false"}
    assert as_kept({"FifoQueue": "Yes", "Policy": "TRUE"}) == {"FifoQueue": "Yes", "Policy": "TRUE"}


def test_the_throughput_limit_is_judged_with_the_scope_that_the_queue_has() -> None:
    """Set together, or one after the other; but the scope can't be taken away from under the limit."""
    high = {"DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"}
    check_settings(high, {})
    check_settings({"FifoThroughputLimit": "perMessageGroupId"}, {"DeduplicationScope": "messageGroup"})
    with pytest.raises(BackendRejectedError):
        check_settings({"DeduplicationScope": "queue"}, high)


def test_setting_attributes_leaves_the_others() -> None:
    """SetQueueAttributes merges; empty text drops a policy."""
    before = {"DelaySeconds": "5", "Policy": "{}"}
    assert merge_settings({"VisibilityTimeout": "7"}, before) == {**before, "VisibilityTimeout": "7"}
    assert merge_settings({"Policy": ""}, before) == {"DelaySeconds": "5"}


def test_a_queue_has_one_kind_of_encryption() -> None:
    """A KMS key turns SQS's own encryption off, and the other way round."""
    keyed = merge_settings({"KmsMasterKeyId": "key", "KmsDataKeyReusePeriodSeconds": "6000"}, {})
    assert keyed["SqsManagedSseEnabled"] == "false"
    assert merge_settings({"SqsManagedSseEnabled": "true"}, keyed) == {"SqsManagedSseEnabled": "true"}


def test_making_a_queue_again_needs_the_same_attributes() -> None:
    """A default counts as set; what is not given is not compared; a difference is named."""
    check_same({"FifoQueue": "true", "DelaySeconds": "0"}, {"VisibilityTimeout": "7"})
    with pytest.raises(BackendRejectedError, match="for attribute VisibilityTimeout") as caught:
        check_same({"VisibilityTimeout": "8"}, {"VisibilityTimeout": "7"})
    assert caught.value.code == "QueueNameExists"


def test_only_what_is_asked_for_is_told() -> None:
    """All, some, none; an attribute that the queue does not have is left out, one that does not exist is refused."""
    has = {"DelaySeconds": "0", "QueueArn": "arn"}
    assert told_attributes(["All"], has) == has
    assert told_attributes(["DelaySeconds", "Policy"], has) == {"DelaySeconds": "0"}
    assert told_attributes([], has) == {}
    with pytest.raises(BackendRejectedError) as caught:
        told_attributes(["Colour"], has)
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
def test_a_policy_can_close_a_queue_to_senders(statement: dict[str, Any], denied: bool) -> None:
    """Only a deny for everyone without a condition has an effect, alone or in a list."""
    assert denies_sending({"Policy": json.dumps({"Statement": [statement]})}) is denied
    assert denies_sending({"Policy": json.dumps({"Statement": statement})}) is denied


def test_a_queue_without_a_policy_takes_messages() -> None:
    """No policy, no deny."""
    assert denies_sending({}) is False
    assert denies_sending({"Policy": "{}"}) is False
