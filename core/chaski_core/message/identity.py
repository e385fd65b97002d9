"""The identity of a message, its label, and the key by which a repeated request is recognized.

The identity of an accepted message is the MessageId that its first queue gave it. It never changes and is unique. The
`id` of a producer is a label: it may repeat, over subjects, producers and time. Generated labels are ordered by time;
labels derived from an idempotency key are stable.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from chaski_core import json_codec

# API_SendMessage: a MessageId is a UUID; "up to 100 characters" by the developer guide (queue and message identifiers).
_MESSAGE_ID = re.compile(r"[!-~]{1,100}\Z")
_SEQUENCE_NUMBER = re.compile(r"[0-9]{1,128}\Z")  # API_SendMessage: a large number, 128 bits
_LABEL = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_RANDOM_BYTES = 10


def read_message_id(value: object) -> str | None:
    """An identity in metadata; None where the value can't be one."""
    return value if isinstance(value, str) and _MESSAGE_ID.match(value) else None


def read_sequence_number(value: object) -> int | None:
    """A sequence number in metadata: a text, because other JSON readers round such large numbers."""
    return int(value) if isinstance(value, str) and _SEQUENCE_NUMBER.match(value) else None


def deduplication_key(route: str, producer: str | None, subject: str, token: str, body: Mapping[str, Any]) -> str:
    """The key that two requests share if and only if one repeats the other: 64 hexadecimal digits.

    Another producer, subject or body makes another message. So a producer can't suppress a message of another one with a
    guessed id, and an id that is reused for a new message is not taken for a repeat.

    Args:
        route: namespace/name.
        producer: the sender; None where a route has no producers.
        subject: of the message.
        token: `id:` and the producer's id, or `key:` and its `Idempotency-Key`.
        body: as parsed: the order of keys and white space make no difference.
    """
    return hashlib.sha256(json_codec.canonical([route, producer, subject, token, body])).hexdigest()


def is_label(text: str) -> bool:
    """Whether a producer's id is allowed: `[A-Za-z0-9._-]{1,64}`."""
    return _LABEL.match(text) is not None


def generate_label(now_ms: int, random: bytes) -> str:
    """A UUID version 7 (RFC 9562 §5.7): sorts by time. `random`: 10 random bytes."""
    if len(random) != _RANDOM_BYTES:
        raise ValueError(f"{_RANDOM_BYTES} random bytes are needed, not {len(random)}")
    value = bytearray(now_ms.to_bytes(6, "big") + random)
    value[6] = (value[6] & 0x0F) | 0x70
    value[8] = (value[8] & 0x3F) | 0x80
    digits = value.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def label_from_key(route: str, producer: str | None, subject: str, key: str) -> str:
    """The label of a message that has only an `Idempotency-Key`: the same for the same four."""
    texts = (route, producer or "", subject, key)
    parts = b"\0".join(text.encode("utf-8", "surrogatepass") for text in texts)  # a key is a header's bytes
    return "ik-" + hashlib.sha256(parts).hexdigest()[:48]
