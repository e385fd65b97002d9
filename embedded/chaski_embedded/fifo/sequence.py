"""Sequence numbers, message ids and receipt handles. Pure.

A sequence number is the queue time of sending in milliseconds, shifted by 20 bits, plus a counter: it sorts by
sending, never repeats, and contains the time of sending without another field in memory.

Queue time is the broker's own (queue_time.py): a wall clock that is set back can neither lengthen a visibility timeout
nor repeat a sequence number, and one that is set forward can't end a visibility timeout early.
"""

import hashlib
import re
from dataclasses import dataclass

_COUNTER_BITS = 20
_HANDLE = re.compile(r"1-([0-9a-f]{1,12})-([0-9a-f]{1,16})-([0-9a-f]{1,8})\Z")


def next_sequence(last: int, now: int) -> int:
    """The number after `last` for a message sent at queue time `now` (milliseconds)."""
    return max(last + 1, now << _COUNTER_BITS)


def time_of(sequence: int) -> int:
    """Queue time of sending, milliseconds."""
    return sequence >> _COUNTER_BITS


def first_sequence_at(time: int) -> int:
    """The smallest number of a message sent at a queue time."""
    return time << _COUNTER_BITS


def message_id(salt: bytes, sequence: int) -> str:
    """The MessageId of a message, in the form of a UUID, derived from its number; `salt` is the file's own."""
    digits = hashlib.blake2b(sequence.to_bytes(8, "big"), digest_size=16, key=salt).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


@dataclass(frozen=True, slots=True)
class Receipt:
    """A parsed receipt handle."""

    queue: int  # row of the queue
    sequence: int
    receive: int  # number of the receive, from 1

    def handle(self) -> str:
        return f"1-{self.queue:x}-{self.sequence:x}-{self.receive:x}"


def read_handle(text: str) -> Receipt | None:
    """The receipt of a handle; None where the text is not a handle."""
    match = _HANDLE.match(text)
    return Receipt(*(int(part, 16) for part in match.groups())) if match else None
