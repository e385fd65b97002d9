"""The wire format of messages in sends and receives."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from chaski_core.errors import BackendRejectedError
from chaski_core.ports import Sent
from chaski_embedded.broker.queue import AttributedReceived
from chaski_embedded.fifo.queue_attributes import ACCOUNT
from chaski_embedded.sqs_api.messages import (
    ReceiveSelection,
    check_size,
    check_token,
    decode_attributes,
    outgoing,
    read_selection,
    read_submission,
    received_json,
    sent_json,
)

FIELDS: dict[str, Any] = {"MessageBody": "hi", "MessageGroupId": "g", "MessageDeduplicationId": "d"}
ATTRIBUTES = {"Foo": {"DataType": "String", "StringValue": "Bar"}}
TRACE = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1"}}
RECEIVED = AttributedReceived("id-1", "handle-1", b"msg", "g", "d", 42, 1_000, 2, 1_500)
ALL = read_selection({"MessageSystemAttributeNames": ["All"], "MessageAttributeNames": ["All"]})


def test_a_message_is_read_completely() -> None:
    """Body, keys, attributes; user attributes count for the size, system attributes do not."""
    submission = read_submission({**FIELDS, "MessageAttributes": ATTRIBUTES, "MessageSystemAttributes": TRACE}, False)
    assert submission.message.body == b"hi"
    assert (submission.message.group_id, submission.message.deduplication_id) == ("g", "d")
    assert submission.size == len("hi") + len("Foo") + len("String") + len("Bar")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param({"MessageBody": ""}, "MissingParameter", id="empty body"),
        pytest.param({"MessageBody": None}, "MissingParameter", id="no body"),
        pytest.param({"MessageBody": "a\x00"}, "InvalidMessageContents", id="NUL"),
        pytest.param({"MessageBody": "a\uffff"}, "InvalidMessageContents", id="U+FFFF"),
        pytest.param({"MessageGroupId": None}, "MissingParameter", id="no group"),
        pytest.param({"MessageGroupId": ""}, "InvalidParameterValue", id="empty group"),
        pytest.param({"MessageGroupId": "g g"}, "InvalidParameterValue", id="space in a group"),
        pytest.param({"MessageGroupId": "é"}, "InvalidParameterValue", id="no ASCII group"),
        pytest.param({"MessageGroupId": "g" * 129}, "InvalidParameterValue", id="long group"),
        pytest.param({"MessageDeduplicationId": None}, "InvalidParameterValue", id="no deduplication id"),
        pytest.param({"MessageDeduplicationId": ""}, "InvalidParameterValue", id="empty deduplication id"),
        pytest.param({"MessageDeduplicationId": "d" * 129}, "InvalidParameterValue", id="long deduplication id"),
        pytest.param({"DelaySeconds": 1}, "InvalidParameterValue", id="a delay of its own"),
        pytest.param({"DelaySeconds": -1}, "InvalidParameterValue", id="negative delay"),
        pytest.param({"DelaySeconds": 901}, "InvalidParameterValue", id="long delay"),
    ],
)
def test_a_message_that_aws_refuses_is_refused(change: dict[str, Any], code: str) -> None:
    """Each with AWS's error code."""
    with pytest.raises(BackendRejectedError) as caught:
        read_submission({**FIELDS, **change}, False)
    assert caught.value.code == code


def test_a_delay_of_zero_is_accepted() -> None:
    """On AWS it means the queue's delay."""
    assert read_submission({**FIELDS, "DelaySeconds": 0}, False) == read_submission(FIELDS, False)


def test_content_based_deduplication_hashes_the_body_only() -> None:
    """SHA-256 of the body, whatever the attributes; an explicit id has precedence."""
    fields = {"MessageBody": "hi", "MessageGroupId": "g", "MessageAttributes": ATTRIBUTES}
    assert read_submission(fields, True).message.deduplication_id == hashlib.sha256(b"hi").hexdigest()
    assert read_submission(FIELDS, True).message.deduplication_id == "d"


def test_every_letter_digit_and_punctuation_mark_makes_a_token() -> None:
    """The alphabet of API_SendMessage, 128 characters at most."""
    alphabet = "".join(chr(code) for code in range(0x21, 0x7F))
    assert check_token(alphabet, "MessageGroupId") == alphabet
    assert check_token("g" * 128, "MessageGroupId") == "g" * 128


def test_a_send_returns_digests_of_its_parts() -> None:
    """Attribute digests only where there are attributes; the sequence number has twenty digits."""
    plain = sent_json(read_submission(FIELDS, False), Sent("id-1", 42))
    assert plain == {
        "MessageId": "id-1",
        "MD5OfMessageBody": hashlib.md5(b"hi", usedforsecurity=False).hexdigest(),
        "SequenceNumber": "00000000000000000042",
    }
    fields = {**FIELDS, "MessageAttributes": ATTRIBUTES, "MessageSystemAttributes": TRACE}
    full = sent_json(read_submission(fields, False), Sent("id-1", 42))
    assert full["MD5OfMessageAttributes"] == "ae7155c6026991b6d54b11589678bf9c"
    assert full["MD5OfMessageSystemAttributes"] != full["MD5OfMessageAttributes"]


def test_attributes_survive_the_queue() -> None:
    """Attributes are read back unchanged; a message without attributes stores none."""
    fields = {**FIELDS, "MessageAttributes": ATTRIBUTES, "MessageSystemAttributes": TRACE}
    submission = read_submission(fields, False)
    message = outgoing(submission)
    assert (message.body, message.group_id, message.deduplication_id) == (b"hi", "g", "d")
    assert decode_attributes(message.attributes) == (submission.attributes, submission.system_attributes)
    assert outgoing(read_submission(FIELDS, False)).attributes is None
    assert decode_attributes(None) == ((), ())


@pytest.mark.parametrize(("limit", "fits"), [(1_036, True), (1_035, False)])
def test_body_and_user_attributes_share_the_queues_limit(limit: int, fits: bool) -> None:
    """1,024 bytes of body and 12 of attributes, at the limit and one byte above."""
    fields = {**FIELDS, "MessageBody": "a" * 1_024, "MessageAttributes": ATTRIBUTES, "MessageSystemAttributes": TRACE}
    submission = read_submission(fields, False)
    if fits:
        assert check_size(submission, limit) is submission
    else:
        with pytest.raises(BackendRejectedError, match="shorter than 1035 bytes") as caught:
            check_size(submission, limit)
        assert caught.value.code == "InvalidParameterValue"


def test_a_receive_gets_everything_that_it_requests() -> None:
    """System attributes as texts, times in epoch milliseconds, attributes with their digest."""
    fields = {**FIELDS, "MessageAttributes": ATTRIBUTES, "MessageSystemAttributes": TRACE}
    packed = outgoing(read_submission(fields, False)).attributes
    assert received_json(replace(RECEIVED, attributes=packed), ALL) == {
        "MessageId": "id-1",
        "ReceiptHandle": "handle-1",
        "MD5OfBody": "6e2baaf3b97dbeef01c0043275f9a0e7",
        "Body": "msg",
        "Attributes": {
            "SenderId": ACCOUNT,
            "SentTimestamp": "1000",
            "ApproximateReceiveCount": "2",
            "ApproximateFirstReceiveTimestamp": "1500",
            "SequenceNumber": "00000000000000000042",
            "MessageDeduplicationId": "d",
            "MessageGroupId": "g",
            "AWSTraceHeader": "Root=1",
        },
        "MD5OfMessageAttributes": "ae7155c6026991b6d54b11589678bf9c",
        "MessageAttributes": ATTRIBUTES,
    }


def test_a_receive_without_requests_gets_the_minimum() -> None:
    """Id, handle, body and its digest, and no empty maps."""
    answer = received_json(RECEIVED, ReceiveSelection((), ()))
    assert set(answer) == {"MessageId", "ReceiptHandle", "MD5OfBody", "Body"}


def test_the_newer_name_of_the_parameter_wins() -> None:
    """As on AWS where both are given; the deprecated one alone works too."""
    both = read_selection({"MessageSystemAttributeNames": ["SentTimestamp"], "AttributeNames": ["SenderId"]})
    assert both.system_names == ("SentTimestamp",)
    assert read_selection({"AttributeNames": ["SenderId"]}).system_names == ("SenderId",)


def test_an_unknown_system_attribute_is_refused() -> None:
    """InvalidAttributeName, with the name."""
    with pytest.raises(BackendRejectedError, match="Foobar") as caught:
        read_selection({"MessageSystemAttributeNames": ["Foobar"]})
    assert caught.value.code == "InvalidAttributeName"
