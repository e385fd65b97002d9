"""A message on the SQS wire: read from a send, written into a receive.

Rules: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html and API_ReceiveMessage.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from chaski_core.errors import BackendRejectedError
from chaski_core.ports import OutgoingMessage, Sent
from chaski_embedded.queue import AttributedMessage, AttributedReceived
from chaski_embedded.sqs_api import fields as sqs_fields
from chaski_embedded.sqs_api.attributes import (
    Attribute,
    carries,
    chosen,
    md5_of_attributes,
    md5_of_body,
    read_attributes,
    read_system_attributes,
)
from chaski_embedded.sqs_api.errors import invalid_parameter, invalid_value, missing
from chaski_embedded.sqs_api.fields import Fields
from chaski_embedded.sqs_api.queues import ACCOUNT

MAX_DELAY_SECONDS = 900
_TOKEN = re.compile(r"[!-~]{1,128}\Z")
_SEQUENCE_DIGITS = 20  # as on AWS, so that numbers compare alike as text
_RECEIVE_NAMES = (
    "SenderId",
    "SentTimestamp",
    "ApproximateReceiveCount",
    "ApproximateFirstReceiveTimestamp",
    "SequenceNumber",
    "MessageDeduplicationId",
    "MessageGroupId",
    "AWSTraceHeader",
    "DeadLetterQueueSourceArn",
)


@dataclass(frozen=True, slots=True)
class Submission:
    """A message as it was handed in."""

    message: OutgoingMessage
    attributes: tuple[Attribute, ...]
    system_attributes: tuple[Attribute, ...]

    @property
    def size(self) -> int:
        """Bytes that count against `MaximumMessageSize`: body and user attributes; system attributes are free."""
        return len(self.message.body) + sum(attribute.size for attribute in self.attributes)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a receive asked to be told of each message."""

    system_names: tuple[str, ...]
    attribute_names: tuple[str, ...]


def check_token(value: str, parameter: str) -> str:
    """A group, deduplication or attempt id: 1 to 128 letters, digits and ASCII punctuation.

    Raises:
        BackendRejectedError: InvalidParameterValue.
    """
    if not _TOKEN.match(value):
        reason = f"{parameter} can only include alphanumeric and punctuation characters. 1 to 128 in length."
        raise invalid_value(value, parameter, reason)
    return value


def read_submission(fields: Fields, content_based: bool) -> Submission:
    """A message to be sent to a FIFO queue; `content_based`: the queue takes the body's hash for a deduplication id.

    Raises:
        BackendRejectedError: MissingParameter, InvalidParameterValue or InvalidMessageContents.
    """
    body = sqs_fields.needed_text(fields, "MessageBody")
    _check_delay(fields)
    group = sqs_fields.text(fields, "MessageGroupId")
    if group is None:
        raise missing("MessageGroupId")
    check_token(group, "MessageGroupId")
    if not carries(body):
        raise BackendRejectedError(
            "InvalidMessageContents",
            "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | "
            "#xE000 to #xFFFD | #x10000 to #x10FFFF",
        )
    data = body.encode()
    return Submission(
        OutgoingMessage(data, group, _deduplication_id(fields, data, content_based)),
        read_attributes(sqs_fields.object_map(fields, "MessageAttributes")),
        read_system_attributes(sqs_fields.object_map(fields, "MessageSystemAttributes")),
    )


def sent_json(submission: Submission, sent: Sent) -> dict[str, str]:
    """What a sender is told: digests of what it handed in, id and sequence number of what the queue has."""
    answer = {
        "MessageId": sent.message_id,
        "MD5OfMessageBody": md5_of_body(submission.message.body),
        "SequenceNumber": sequence_text(sent.sequence_number),
    }
    if submission.attributes:
        answer["MD5OfMessageAttributes"] = md5_of_attributes(submission.attributes)
    if submission.system_attributes:
        answer["MD5OfMessageSystemAttributes"] = md5_of_attributes(submission.system_attributes)
    return answer


def sequence_text(number: int) -> str:
    """A sequence number as SQS writes it."""
    return f"{number:0{_SEQUENCE_DIGITS}d}"


def check_size(submission: Submission, limit: int, *, of_batch: bool = False) -> Submission:
    """Refuses a message that is longer than the queue's `MaximumMessageSize`, in bytes; AWS has a sentence for each place.

    Raises:
        BackendRejectedError: InvalidParameterValue.
    """
    if submission.size > limit:
        fault = "cannot be validated" if of_batch else "are invalid"
        raise invalid_parameter(f"One or more parameters {fault}. Reason: Message must be shorter than {limit} bytes.")
    return submission


def outgoing(submission: Submission, trace_header: str = "") -> AttributedMessage:
    """The message as the queue takes it; what it carries beside its body is packed into bytes that the queue does not read.

    `trace_header`: `X-Amzn-Trace-Id` of the request; it becomes the system attribute where the message brings none.
    """
    system = submission.system_attributes
    if trace_header and not system:
        system = (Attribute("AWSTraceHeader", "String", trace_header.encode()),)
    groups = (submission.attributes, system)
    packed = orjson.dumps([{each.name: each.as_json() for each in group} for group in groups]) if any(groups) else None
    message = submission.message
    return AttributedMessage(message.body, message.group_id, message.deduplication_id, packed)


def carried_attributes(packed: bytes | None) -> tuple[tuple[Attribute, ...], tuple[Attribute, ...]]:
    """A message's user attributes and system attributes, out of what `outgoing` packed."""
    if packed is None:
        return (), ()
    user, system = orjson.loads(packed)
    return read_attributes(user), read_system_attributes(system)


def read_wanted(fields: Fields) -> Wanted:
    """What a receive asks to be told of each message.

    Raises:
        BackendRejectedError: InvalidAttributeName for a system attribute that does not exist.
    """
    # Where both are given, AWS heeds the newer parameter and ignores the deprecated one (test_sqs.py of LocalStack,
    # test_message_system_attribute_names_with_attribute_names, JSON protocol).
    names = sqs_fields.text_list(fields, "MessageSystemAttributeNames") or sqs_fields.text_list(
        fields, "AttributeNames"
    )
    for name in names:
        if name not in (*_RECEIVE_NAMES, "All"):
            raise BackendRejectedError("InvalidAttributeName", f"Unknown Attribute {name}.")
    return Wanted(
        _RECEIVE_NAMES if "All" in names else tuple(names),
        tuple(sqs_fields.text_list(fields, "MessageAttributeNames")),
    )


def received_json(message: AttributedReceived, wanted: Wanted) -> dict[str, Any]:
    """A message as a receive hands it out."""
    user, system = carried_attributes(message.attributes)
    answer: dict[str, Any] = {
        "MessageId": message.message_id,
        "ReceiptHandle": message.receipt_handle,
        "MD5OfBody": md5_of_body(message.body),
        "Body": message.body.decode(),
    }
    values = _system_values(message, system)
    if told := {name: values[name] for name in wanted.system_names if name in values}:
        answer["Attributes"] = told
    if picked := chosen(user, wanted.attribute_names):
        answer["MD5OfMessageAttributes"] = md5_of_attributes(picked)
        answer["MessageAttributes"] = {each.name: each.as_json() for each in picked}
    return answer


def _system_values(message: AttributedReceived, system: Sequence[Attribute]) -> dict[str, str]:
    values = {
        "SenderId": ACCOUNT,
        "SentTimestamp": str(message.sent_at),
        "ApproximateReceiveCount": str(message.receive_count),
        "ApproximateFirstReceiveTimestamp": str(message.first_received_at),
        "SequenceNumber": sequence_text(message.sequence_number),
        "MessageDeduplicationId": message.deduplication_id,
        "MessageGroupId": message.group_id,
    }
    return values | {each.name: each.value.decode() for each in system}


def _check_delay(fields: Fields) -> None:
    # On a FIFO queue the delay is the queue's own; 0 is accepted and means exactly that (research of AWS's answers:
    # test_fifo_queue_send_message_with_zero_delay_defaults_to_queue_delay).
    allowed = range(MAX_DELAY_SECONDS + 1)
    delay = sqs_fields.integer(fields, "DelaySeconds", allowed, "DelaySeconds must be >= 0 and <= 900.")
    if delay:
        raise invalid_value(
            delay, "DelaySeconds", "The request include parameter that is not valid for this queue type."
        )


def _deduplication_id(fields: Fields, body: bytes, content_based: bool) -> str:
    given = sqs_fields.text(fields, "MessageDeduplicationId")
    if given is not None:
        return check_token(given, "MessageDeduplicationId")
    if content_based:
        return hashlib.sha256(body).hexdigest()
    raise invalid_parameter(
        "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly"
    )
