"""Message attributes, and the MD5 digests by which SDKs verify a message.

Rules: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chaski_embedded.sqs_api.errors import invalid_parameter
from chaski_embedded.sqs_api.fields import read_object_map, read_text

MAX_ATTRIBUTES = 10
_MAX_NAME_CHARACTERS = 256
_NAME = re.compile(r"(?!\.)(?!.*\.\.)[\w.-]+(?<!\.)\Z")  # AWS accepts letters of any script
_ALL = frozenset({"All", ".*", "*"})
_RESERVED = ("aws.", "amazon.")
_TYPE = re.compile(r"(String|Number|Binary)(\..+)?\Z", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?\Z", re.ASCII)
_INVALID_CHARACTER = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TRANSPORT_TEXT, _TRANSPORT_BINARY = b"\x01", b"\x02"


@dataclass(frozen=True, slots=True)
class Attribute:
    """One user or system attribute of a message."""

    name: str
    data_type: str  # String, Number or Binary, with an optional suffix: `Number.float`
    value: bytes  # UTF-8 of a text or number; the bytes of a binary

    @property
    def binary(self) -> bool:
        """Whether the value is a `BinaryValue`."""
        return self.data_type.startswith("Binary")

    @property
    def size(self) -> int:
        """Bytes that count for the size of the message: name, type and value."""
        return len(self.name.encode()) + len(self.data_type.encode()) + len(self.value)

    def as_json(self) -> dict[str, str]:
        """The attribute's value in the wire format."""
        if self.binary:
            return {"DataType": self.data_type, "BinaryValue": base64.b64encode(self.value).decode()}
        return {"DataType": self.data_type, "StringValue": self.value.decode()}


def is_valid_text(characters: str) -> bool:
    """Whether SQS accepts every character: #x9 #xA #xD #x20-#xD7FF #xE000-#xFFFD #x10000-#x10FFFF (API_SendMessage)."""
    return _INVALID_CHARACTER.search(characters) is None


def read_attributes(raw: Mapping[str, Any]) -> tuple[Attribute, ...]:
    """The user attributes of a message to be sent, by name.

    Raises:
        BackendRejectedError: InvalidParameterValue, or MalformedInput for a wrong JSON type.
    """
    if len(raw) > MAX_ATTRIBUTES:
        raise invalid_parameter(
            f"Number of message attributes [{len(raw)}] exceeds the allowed maximum [{MAX_ATTRIBUTES}]."
        )
    for name in raw:
        _check_name(name)
    return tuple(_read_one(name, read_object_map(raw, name), "user") for name in sorted(raw))


def read_system_attributes(raw: Mapping[str, Any]) -> tuple[Attribute, ...]:
    """The system attributes of a message to be sent: `AWSTraceHeader`, a text, and no other.

    Raises:
        BackendRejectedError: InvalidParameterValue, or MalformedInput for a wrong JSON type.
    """
    for name in raw:
        if name != "AWSTraceHeader":
            raise invalid_parameter(f"Message system attribute name '{name}' is invalid.")
    attributes = tuple(_read_one(name, read_object_map(raw, name), "system") for name in raw)
    if any(attribute.data_type != "String" for attribute in attributes):
        raise invalid_parameter("The data type of message system attribute 'AWSTraceHeader' must be String.")
    return attributes


def md5_of_attributes(attributes: Sequence[Attribute]) -> str:
    """The digest over names, types and values, by name: four bytes of length before each, one byte for the transport.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html
    #sqs-attributes-md5-message-digest-calculation
    """
    digest = hashlib.md5(usedforsecurity=False)
    for attribute in sorted(attributes, key=lambda each: each.name):
        for part in (attribute.name.encode(), attribute.data_type.encode()):
            digest.update(len(part).to_bytes(4, "big") + part)
        digest.update(_TRANSPORT_BINARY if attribute.binary else _TRANSPORT_TEXT)
        digest.update(len(attribute.value).to_bytes(4, "big") + attribute.value)
    return digest.hexdigest()


def md5_of_body(body: bytes) -> str:
    """The digest of a message body."""
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


def select_attributes(attributes: Sequence[Attribute], names: Sequence[str]) -> tuple[Attribute, ...]:
    """The attributes requested by `MessageAttributeNames`: a name, a prefix such as `foo.*`, or all.

    On AWS `Hel.*` matches every name that begins with `Hel`, not with `Hel.`
    (localstack/localstack, test_receive_message_message_attribute_names_filters).
    """
    if not _ALL.isdisjoint(names):
        return tuple(attributes)
    exact = frozenset(names)
    prefixes = tuple(name.removesuffix(".*") for name in names if name.endswith(".*"))
    return tuple(each for each in attributes if each.name in exact or each.name.startswith(prefixes))


def _check_name(name: str) -> None:
    if not name or len(name) > _MAX_NAME_CHARACTERS:
        raise invalid_parameter("Message (user) attribute names must be 1 to 256 characters long.")
    if not _NAME.match(name):
        raise invalid_parameter(
            f"The message (user) attribute name '{name}' can only include letters, digits, periods, hyphens and "
            "underscores, and no period at its start, at its end or after another period."
        )
    if name.lower().startswith(_RESERVED):
        raise invalid_parameter("You can't use message attribute names beginning with 'AWS.' or 'Amazon.'.")


def _read_one(name: str, raw: Mapping[str, Any], kind: str) -> Attribute:
    what = f"Message ({kind}) attribute '{name}'"
    data_type = read_text(raw, "DataType")
    if not data_type:
        raise invalid_parameter(f"The {what[0].lower()}{what[1:]} must contain a non-empty message attribute type.")
    if len(data_type) > _MAX_NAME_CHARACTERS or not _TYPE.match(data_type) or not is_valid_text(data_type):
        raise invalid_parameter(f"{what} has the type '{data_type}'; it must begin with String, Number or Binary.")
    if raw.get("StringListValues") or raw.get("BinaryListValues"):
        raise invalid_parameter("Message attribute list values in SendMessage operation are not supported.")
    if data_type.startswith("Binary"):
        return Attribute(name, data_type, _read_binary(what, raw))
    return Attribute(name, data_type, _read_text(what, data_type, raw))


def _read_text(what: str, data_type: str, raw: Mapping[str, Any]) -> bytes:
    value = read_text(raw, "StringValue")
    if not value:
        raise invalid_parameter(f"{what} must contain a non-empty value of type 'String'.")
    if not is_valid_text(value):
        raise invalid_parameter(f"{what} contains a character that SQS does not accept.")
    if data_type.startswith("Number") and not _NUMBER.match(value):
        raise invalid_parameter(f"Can't cast the value of {what[0].lower()}{what[1:]} to a number.")
    return value.encode()


def _read_binary(what: str, raw: Mapping[str, Any]) -> bytes:
    value = read_text(raw, "BinaryValue")
    if not value:
        raise invalid_parameter(f"{what} must contain a non-empty value of type 'Binary'.")
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise invalid_parameter(f"{what} is not base64.") from error
