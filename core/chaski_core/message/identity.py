"""The identity of a message, and what makes a producer's request a repeat of an earlier one. Pure.

The identity of an accepted message is the MessageId that its first queue gave it. It never changes, and no two messages
share it. The `id` of a producer is a label: it may repeat, over subjects, producers and time.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from chaski_core import json_codec

# API_SendMessage: a MessageId is a UUID; "up to 100 characters" by the developer guide (queue and message identifiers).
_MESSAGE_ID = re.compile(r"[!-~]{1,100}\Z")
_SEQUENCE_NUMBER = re.compile(r"[0-9]{1,128}\Z")  # API_SendMessage: a large number, 128 bits


def read_message_id(value: object) -> str | None:
    """An identity as it lies in metadata; None where it can't be one."""
    return value if isinstance(value, str) and _MESSAGE_ID.match(value) else None


def read_sequence_number(value: object) -> int | None:
    """A sequence number as it lies in metadata: text, since JSON readers elsewhere round such large numbers."""
    return int(value) if isinstance(value, str) and _SEQUENCE_NUMBER.match(value) else None


def deduplication_key(route: str, producer: str | None, subject: str, token: str, body: Mapping[str, Any]) -> str:
    """What two requests share if and only if one repeats the other: 64 hexadecimal digits.

    Another producer, subject or body makes another message, so that nobody can swallow a message of somebody else by an
    id that was guessed, and an id that is used for something new is not taken for a repeat.

    Args:
        route: namespace/name.
        producer: who sent it; None where a route has no producers.
        subject: of the message.
        token: `id:` and the producer's id, or `key:` and its `Idempotency-Key`.
        body: as parsed: the order of keys and white space make no difference.
    """
    return hashlib.sha256(json_codec.canonical([route, producer, subject, token, body])).hexdigest()
