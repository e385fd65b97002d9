"""Rules of queue names and queue attributes: names, allowed values, defaults.

Rules: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html and
API_SetQueueAttributes. Attributes are text on the wire and are stored as text.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from chaski_core.errors import BackendRejectedError

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
_TEXTS = ("KmsMasterKeyId", "Policy")  # stored and returned; "" removes them
_UNSUPPORTED = ("RedrivePolicy", "RedriveAllowPolicy")  # only "" is accepted, which is the default
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
    """The ARN of a queue."""
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"


def check_new_queue(name: str, attributes: Mapping[str, str]) -> None:
    """Refuses a queue that can't be created here.

    Raises:
        BackendRejectedError: UnsupportedOperation for a standard queue, InvalidAttributeName for `FifoQueue` false (as
            on AWS), InvalidParameterValue for an invalid name.
    """
    if attributes.get("FifoQueue") == "false":
        raise BackendRejectedError("InvalidAttributeName", "Unknown Attribute FifoQueue.")
    fifo = attributes.get("FifoQueue") == "true"
    if not fifo and not name.endswith(".fifo"):
        raise BackendRejectedError("UnsupportedOperation", "Only FIFO queues exist here: set FifoQueue to true.")
    if not fifo:
        raise _invalid_parameter("Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length")
    if not _NAME.match(name):
        raise _invalid_parameter(
            "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, "
            "must end with .fifo suffix and be 1 to 80 in length."
        )


def normalize(given: Mapping[str, str]) -> dict[str, str]:
    """Attributes in the spelling in which AWS returns them; it accepts booleans in any case."""
    return {
        name: value.lower() if name in _CHOICES and value.lower() in _BOOLEANS else value
        for name, value in given.items()
    }


def check_settings(given: Mapping[str, str], current: Mapping[str, str]) -> None:
    """Refuses attributes that can't be set on a queue with the settings `current` (empty for a new queue).

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
    """The attributes of a queue after some were set: others stay, an empty text removes one."""
    merged = {**current, **given}
    if given.get("KmsMasterKeyId"):  # a queue has one kind of encryption
        merged["SqsManagedSseEnabled"] = "false"
    elif given.get("SqsManagedSseEnabled") == "true":
        merged["KmsMasterKeyId"] = merged["KmsDataKeyReusePeriodSeconds"] = ""
    return {name: value for name, value in merged.items() if value}


def check_same(given: Mapping[str, str], current: Mapping[str, str]) -> None:
    """Refuses to create a queue that exists with a different value of an attribute.

    Raises:
        BackendRejectedError: QueueNameExists.
    """
    existing = {**DEFAULTS, **current}
    for name, value in given.items():
        if existing.get(name, "") != value:
            sentence = f"A queue already exists with the same name and a different value for attribute {name}"
            raise BackendRejectedError("QueueNameExists", sentence)


def select_attributes(names: Sequence[str], attributes: Mapping[str, str]) -> dict[str, str]:
    """The requested attributes, where the queue has them.

    Raises:
        BackendRejectedError: InvalidAttributeName.
    """
    for name in names:
        if name != "All" and name not in _READABLE:
            raise BackendRejectedError("InvalidAttributeName", f"Unknown Attribute {name}.")
    return dict(attributes) if "All" in names else {name: attributes[name] for name in names if name in attributes}


def blocks_sends(settings: Mapping[str, str]) -> bool:
    """Whether the queue's policy denies SendMessage to every principal, without a condition.

    Sends to retired queues are blocked in this way. Other statements of a policy have no effect here: without
    authentication there are no principals to distinguish.
    """
    policy = settings.get("Policy")
    if not policy:
        return False
    statements = orjson.loads(policy).get("Statement", [])
    return any(_blocks_sends(each) for each in (statements if isinstance(statements, list) else [statements]))


def _blocks_sends(statement: Mapping[str, Any]) -> bool:
    actions = statement.get("Action", [])
    action_list = actions if isinstance(actions, list) else [actions]
    everyone = statement.get("Principal") in ("*", {"AWS": "*"}, {"AWS": ["*"]})
    sending = any(str(action).lower() in ("sqs:sendmessage", "sqs:*", "*") for action in action_list)
    return statement.get("Effect") == "Deny" and everyone and sending and not statement.get("Condition")


def _check_setting(name: str, value: str) -> None:
    if name in _UNSUPPORTED:
        if value:
            raise BackendRejectedError("UnsupportedOperation", f"{name} is not supported: redrive is not implemented.")
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


def _invalid_parameter(reason: str) -> BackendRejectedError:
    return BackendRejectedError("InvalidParameterValue", reason)
