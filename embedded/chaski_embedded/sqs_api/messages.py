"""The wire format of messages: read from sends, written in responses to receives.

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
from chaski_embedded.broker.queue import AttributedMessage, AttributedReceived
from chaski_embedded.fifo.queue_attributes import ACCOUNT
from chaski_embedded.sqs_api.errors import invalid_parameter, invalid_value, missing
from chaski_embedded.sqs_api.fields import (
    Fields,
    read_integer,
    read_object_map,
    read_text,
    read_text_list,
    require_text,
)
from chaski_embedded.sqs_api.message_attributes import (
    Attribute,
    is_valid_text,
    md5_of_attributes,
    md5_of_body,
    read_attributes,
    read_system_attributes,
    select_attributes,
)

MAX_DELAY_SECONDS = 900
_TOKEN = re.compile(r"[!-~]{1,128}\Z")
_SEQUENCE_DIGITS = 20  # as on AWS, so that numbers sort as text
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
    """A message of a send request."""

    message: OutgoingMessage
    attributes: tuple[Attribute, ...]
    system_attributes: tuple[Attribute, ...]

    @property
    def size(self) -> int:
        """Bytes that count against `MaximumMessageSize`: body and user attributes; system attributes are free."""
        return len(self.message.body) + sum(attribute.size for attribute in self.attributes)


@dataclass(frozen=True, slots=True)
class ReceiveSelection:
    """The attributes that a receive requests for each message."""

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
    """A message to be sent to a FIFO queue; `content_based`: the deduplication id defaults to the body's hash.

    Raises:
        BackendRejectedError: MissingParameter, InvalidParameterValue or InvalidMessageContents.
    """
    body = require_text(fields, "MessageBody")
    _check_delay(fields)
    group = read_text(fields, "MessageGroupId")
    if group is None:
        raise missing("MessageGroupId")
    check_token(group, "MessageGroupId")
    if not is_valid_text(body):
        raise BackendRejectedError(
            "InvalidMessageContents",
            "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | "
            "#xE000 to #xFFFD | #x10000 to #x10FFFF",
        )
    data = body.encode()
    return Submission(
        OutgoingMessage(data, group, _deduplication_id(fields, data, content_based)),
        read_attributes(read_object_map(fields, "MessageAttributes")),
        read_system_attributes(read_object_map(fields, "MessageSystemAttributes")),
    )


def sent_json(submission: Submission, sent: Sent) -> dict[str, str]:
    """The response to a send: digests of the request's parts, MessageId and sequence number."""
    document = {
        "MessageId": sent.message_id,
        "MD5OfMessageBody": md5_of_body(submission.message.body),
        "SequenceNumber": sequence_text(sent.sequence_number),
    }
    if submission.attributes:
        document["MD5OfMessageAttributes"] = md5_of_attributes(submission.attributes)
    if submission.system_attributes:
        document["MD5OfMessageSystemAttributes"] = md5_of_attributes(submission.system_attributes)
    return document


def sequence_text(number: int) -> str:
    """A sequence number as SQS writes it."""
    return f"{number:0{_SEQUENCE_DIGITS}d}"


def check_size(submission: Submission, limit: int, *, of_batch: bool = False) -> Submission:
    """Refuses a message larger than the queue's `MaximumMessageSize`, in bytes; AWS's text differs for batches.

    Raises:
        BackendRejectedError: InvalidParameterValue.
    """
    if submission.size > limit:
        error = "cannot be validated" if of_batch else "are invalid"
        raise invalid_parameter(f"One or more parameters {error}. Reason: Message must be shorter than {limit} bytes.")
    return submission


def outgoing(submission: Submission, trace_header: str = "") -> AttributedMessage:
    """The message for the queue; its attributes are encoded as bytes that the queue does not read.

    `trace_header`: `X-Amzn-Trace-Id` of the request; the default of the system attribute.
    """
    system = submission.system_attributes
    if trace_header and not system:
        system = (Attribute("AWSTraceHeader", "String", trace_header.encode()),)
    groups = (submission.attributes, system)
    encoded = orjson.dumps([{each.name: each.as_json() for each in group} for group in groups]) if any(groups) else None
    message = submission.message
    return AttributedMessage(message.body, message.group_id, message.deduplication_id, encoded)


def decode_attributes(encoded: bytes | None) -> tuple[tuple[Attribute, ...], tuple[Attribute, ...]]:
    """A message's user attributes and system attributes, as encoded by `outgoing`."""
    if encoded is None:
        return (), ()
    user, system = orjson.loads(encoded)
    return read_attributes(user), read_system_attributes(system)


def read_selection(fields: Fields) -> ReceiveSelection:
    """The attributes that a receive requests for each message.

    Raises:
        BackendRejectedError: InvalidAttributeName for a system attribute that does not exist.
    """
    # Where both are given, AWS uses the newer parameter and ignores the deprecated one (test_sqs.py of LocalStack,
    # test_message_system_attribute_names_with_attribute_names, JSON protocol).
    names = read_text_list(fields, "MessageSystemAttributeNames") or read_text_list(fields, "AttributeNames")
    for name in names:
        if name not in (*_RECEIVE_NAMES, "All"):
            raise BackendRejectedError("InvalidAttributeName", f"Unknown Attribute {name}.")
    return ReceiveSelection(
        _RECEIVE_NAMES if "All" in names else tuple(names),
        tuple(read_text_list(fields, "MessageAttributeNames")),
    )


def received_json(message: AttributedReceived, selection: ReceiveSelection) -> dict[str, Any]:
    """A message in the response to a receive."""
    user, system = decode_attributes(message.attributes)
    document: dict[str, Any] = {
        "MessageId": message.message_id,
        "ReceiptHandle": message.receipt_handle,
        "MD5OfBody": md5_of_body(message.body),
        "Body": message.body.decode(),
    }
    values = _system_values(message, system)
    if system_values := {name: values[name] for name in selection.system_names if name in values}:
        document["Attributes"] = system_values
    if attributes := select_attributes(user, selection.attribute_names):
        document["MD5OfMessageAttributes"] = md5_of_attributes(attributes)
        document["MessageAttributes"] = {each.name: each.as_json() for each in attributes}
    return document


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
    # On a FIFO queue the queue's delay applies; 0 is accepted and means the queue's delay (recorded from AWS:
    # test_fifo_queue_send_message_with_zero_delay_defaults_to_queue_delay).
    allowed = range(MAX_DELAY_SECONDS + 1)
    delay = read_integer(fields, "DelaySeconds", allowed, "DelaySeconds must be >= 0 and <= 900.")
    if delay:
        raise invalid_value(
            delay, "DelaySeconds", "The request include parameter that is not valid for this queue type."
        )


def _deduplication_id(fields: Fields, body: bytes, content_based: bool) -> str:
    given = read_text(fields, "MessageDeduplicationId")
    if given is not None:
        return check_token(given, "MessageDeduplicationId")
    if content_based:
        return hashlib.sha256(body).hexdigest()
    raise invalid_parameter(
        "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly"
    )
