"""Queue names and queue attributes: what may be set, to which values, and what is told.

Rules: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html and
API_SetQueueAttributes. Attributes travel as text, and so they are kept.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from chaski_core.errors import BackendRejectedError
from chaski_embedded.sqs_api.errors import invalid_parameter

REGION = "us-east-1"
ACCOUNT = "000000000000"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,75}\.fifo\Z")
_INTEGER = re.compile(r"[0-9]{1,10}\Z")

DEFAULTS: Mapping[str, str] = {
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
_RANGES = {
    "DelaySeconds": (0, 900),
    "KmsDataKeyReusePeriodSeconds": (60, 86_400),
    "MaximumMessageSize": (1_024, 1_048_576),
    "MessageRetentionPeriod": (60, 1_209_600),
    "ReceiveMessageWaitTimeSeconds": (0, 20),
    "VisibilityTimeout": (0, 43_200),
}
_CHOICES = {
    "ContentBasedDeduplication": ("true", "false"),
    "DeduplicationScope": ("queue", "messageGroup"),
    "FifoQueue": ("true",),
    "FifoThroughputLimit": ("perQueue", "perMessageGroupId"),
    "SqsManagedSseEnabled": ("true", "false"),
}
_BOOLEANS = ("true", "false")
_TEXTS = ("KmsMasterKeyId", "Policy")  # kept and told; "" drops them
_UNSUPPORTED = ("RedrivePolicy", "RedriveAllowPolicy")  # "" is what a queue without one has already
_COMPUTED = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesDelayed",
    "ApproximateNumberOfMessagesNotVisible",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
    "QueueArn",
)
_READABLE = frozenset({*DEFAULTS, *_RANGES, *_TEXTS, *_UNSUPPORTED, *_COMPUTED})


def queue_arn(name: str) -> str:
    """The name by which policies and other services call a queue."""
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"


def check_new_queue(name: str, attributes: Mapping[str, str]) -> None:
    """Refuses a queue that can't be made here.

    Raises:
        BackendRejectedError: UnsupportedOperation for a standard queue, InvalidAttributeName for `FifoQueue` false (AWS
            knows no such thing), InvalidParameterValue for a name.
    """
    if attributes.get("FifoQueue") == "false":
        raise BackendRejectedError("InvalidAttributeName", "Unknown Attribute FifoQueue.")
    fifo = attributes.get("FifoQueue") == "true"
    if not fifo and not name.endswith(".fifo"):
        raise BackendRejectedError("UnsupportedOperation", "Only FIFO queues exist here: set FifoQueue to true.")
    if not fifo:
        raise invalid_parameter("Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length")
    if not _NAME.match(name):
        raise invalid_parameter(
            "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, "
            "must end with .fifo suffix and be 1 to 80 in length."
        )


def as_kept(given: Mapping[str, str]) -> dict[str, str]:
    """Attributes in the spelling in which AWS returns them: it takes a boolean in any case."""
    return {
        name: value.lower() if name in _CHOICES and value.lower() in _BOOLEANS else value
        for name, value in given.items()
    }


def check_settings(given: Mapping[str, str], current: Mapping[str, str]) -> None:
    """Refuses attributes that can't be set to a queue that has `current`, or `DEFAULTS` before it is made.

    Raises:
        BackendRejectedError: InvalidAttributeName, InvalidAttributeValue, or UnsupportedOperation for a redrive policy.
    """
    for name, value in given.items():
        _check_setting(name, value)
    if given.get("KmsMasterKeyId") and given.get("SqsManagedSseEnabled") == "true":
        raise BackendRejectedError(
            "InvalidAttributeName",
            "You can use one type of server-side encryption (SSE) at one time. You can either enable KMS SSE or SQS SSE.",
        )
    merged = {**DEFAULTS, **current, **given}
    if merged["FifoThroughputLimit"] == "perMessageGroupId" and merged["DeduplicationScope"] != "messageGroup":
        raise BackendRejectedError(
            "InvalidAttributeValue",
            "Invalid value for the parameter FifoThroughputLimit. Reason: The perMessageGroupId value is allowed only "
            "when the value for DeduplicationScope is messageGroup.",
        )


def merge_settings(given: Mapping[str, str], current: Mapping[str, str]) -> dict[str, str]:
    """The attributes of a queue after some were set: what is not given stays, empty text drops."""
    merged = {**current, **given}
    if given.get("KmsMasterKeyId"):  # a queue has one kind of encryption
        merged["SqsManagedSseEnabled"] = "false"
    elif given.get("SqsManagedSseEnabled") == "true":
        merged["KmsMasterKeyId"] = merged["KmsDataKeyReusePeriodSeconds"] = ""
    return {name: value for name, value in merged.items() if value}


def check_same(given: Mapping[str, str], current: Mapping[str, str]) -> None:
    """Refuses to make a queue that exists with a different value for an attribute.

    Raises:
        BackendRejectedError: QueueNameExists.
    """
    existing = {**DEFAULTS, **current}
    for name, value in given.items():
        if existing.get(name, "") != value:
            sentence = f"A queue already exists with the same name and a different value for attribute {name}"
            raise BackendRejectedError("QueueNameExists", sentence)


def told_attributes(asked: Sequence[str], attributes: Mapping[str, str]) -> dict[str, str]:
    """The attributes of a queue that a caller asked for; only those that it has.

    Raises:
        BackendRejectedError: InvalidAttributeName.
    """
    for name in asked:
        if name != "All" and name not in _READABLE:
            raise BackendRejectedError("InvalidAttributeName", f"Unknown Attribute {name}.")
    return dict(attributes) if "All" in asked else {name: attributes[name] for name in asked if name in attributes}


def denies_sending(settings: Mapping[str, str]) -> bool:
    """Whether the queue's policy denies SendMessage to everyone, without a condition.

    That is how a queue is fenced off for good. No other statement of a policy has an effect here: there is no
    authentication, so there is nobody to tell apart.
    """
    policy = settings.get("Policy")
    if not policy:
        return False
    statements = orjson.loads(policy).get("Statement", [])
    return any(_denies_sending(each) for each in (statements if isinstance(statements, list) else [statements]))


def _denies_sending(statement: Mapping[str, Any]) -> bool:
    actions = statement.get("Action", [])
    listed = actions if isinstance(actions, list) else [actions]
    everyone = statement.get("Principal") in ("*", {"AWS": "*"}, {"AWS": ["*"]})
    sending = any(str(action).lower() in ("sqs:sendmessage", "sqs:*", "*") for action in listed)
    return statement.get("Effect") == "Deny" and everyone and sending and not statement.get("Condition")


def _check_setting(name: str, value: str) -> None:
    if name in _UNSUPPORTED:
        if value:
            raise BackendRejectedError("UnsupportedOperation", f"{name} is not supported: there are no redrives here.")
    elif name == "FifoQueue":
        _refuse_unless(value in _CHOICES[name], name, " Reason: Modifying queue type is not supported.")
    elif name in _CHOICES:
        _refuse_unless(value in _CHOICES[name], name)
    elif name in _RANGES:
        low, high = _RANGES[name]
        _refuse_unless(_INTEGER.match(value) is not None and low <= int(value) <= high, name)
    elif name == "Policy":
        _refuse_unless(not value or _is_policy(value), name)
    elif name not in _TEXTS:
        raise BackendRejectedError("InvalidAttributeName", f"Unknown Attribute {name}.")


def _refuse_unless(allowed: bool, name: str, reason: str = "") -> None:
    if not allowed:
        raise BackendRejectedError("InvalidAttributeValue", f"Invalid value for the parameter {name}.{reason}")


def _is_policy(value: str) -> bool:
    try:
        policy = orjson.loads(value)
    except orjson.JSONDecodeError:
        return False
    if not isinstance(policy, dict):
        return False
    statements = policy.get("Statement", [])
    return all(isinstance(each, dict) for each in (statements if isinstance(statements, list) else [statements]))
