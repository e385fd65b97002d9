"""The SQS FIFO keys of a subject: group id, deduplication id, partition.

Limits: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
(MessageGroupId and MessageDeduplicationId: 1 to 128 characters, letters, digits and ASCII punctuation, no space).
"""

import hashlib
import re
from collections.abc import Iterable

import mmh3

MAX_SUBJECT_CHARACTERS = 512
_ACCEPTED = ":first"
_REPLAY = ":replay:"
_SQS_TOKEN = re.compile(r"[!-~]{1,128}\Z")
_HASH_PREFIX = "sha256:"
_HASH = re.compile(_HASH_PREFIX + r"[0-9a-f]{64}\Z")


def group_id(subject: str) -> str:
    """The message group of a subject: the subject itself if SQS accepts it, else a stable hash of it."""
    return _token(subject)


def first_deduplication_id(key: str) -> str:
    """The deduplication id of an accepted message: SQS accepts the same one once within five minutes.

    `key`: at most 120 characters; see `chaski_core.message.identity.deduplication_key`.
    """
    return _token(key + _ACCEPTED)


def is_accepted(deduplication_id: str) -> bool:
    """Whether a message came from ingest, by the deduplication id under which it was sent."""
    return deduplication_id.endswith(_ACCEPTED)


def hop_deduplication_id(message_id: str, rung: str, retry: int, hop: int) -> str:
    """The deduplication id of one hop of a message to a rung: repeated after a crash, it makes no second message.

    Args:
        message_id: the identity of the message.
        rung: the destination of the hop.
        retry: number of the retry after the hop, from 0.
        hop: number of the hop, from 1: sending a message to the same rung for the same retry again is not a repeat.

    An id that SQS does not accept (a long MessageId of another queue, a long name) is replaced by a stable hash.
    """
    return _token(f"{message_id}:{rung}:{retry}:{hop}")


def replay_deduplication_id(message_id: str, number: int) -> str:
    """The deduplication id of one replay of a dead letter: two runs that send it at the same time send one message.

    Args:
        message_id: the identity of the dead letter.
        number: of the replay of this dead letter, from 1.
    """
    return _token(f"{message_id}{_REPLAY}{number}")


def replayed_message(deduplication_id: str) -> str | None:
    """The identity of the dead letter that a message replays, by the deduplication id under which it was sent."""
    message_id, separator, number = deduplication_id.partition(_REPLAY)
    return message_id if separator and ":" not in number else None  # a rung may have that name


def _token(text: str) -> str:
    return text if _SQS_TOKEN.match(text) else _HASH_PREFIX + hashlib.sha256(text.encode()).hexdigest()


def partition(subject: str, partitions: int) -> int:
    """Index of the queue partition, 0 to partitions - 1: murmur3_32 of the UTF-8 subject, seed 0, unsigned."""
    return mmh3.hash(subject.encode(), signed=False) % partitions


def may_send(patterns: Iterable[str], subject: str) -> bool:
    """Whether a producer with these patterns may send a subject.

    A subject that is written like the hash of another one shares that one's message group, and so its order. It needs a
    pattern that is meant for such subjects: one that begins with `sha256:`.
    """
    if _HASH.match(subject):
        patterns = (pattern for pattern in patterns if pattern.startswith(_HASH_PREFIX))
    return matches_any(patterns, subject)


def matches_any(patterns: Iterable[str], text: str) -> bool:
    """Whether a text matches one of the patterns."""
    return any(matches_pattern(pattern, text) for pattern in patterns)


def matches_pattern(pattern: str, subject: str) -> bool:
    """Whether a subject, or a name, matches a pattern of a queue, a producer or a policy. `*` matches any characters, or none.

    Each part between two `*` is searched once, from the end of the part before: no choice is ever tried again.
    """
    head, *rest = pattern.split("*")
    if not rest:
        return subject == pattern
    if not subject.startswith(head):
        return False
    position = len(head)
    *middle, tail = rest
    for part in middle:
        found = subject.find(part, position)
        if found < 0:
            return False
        position = found + len(part)
    return len(subject) - position >= len(tail) and subject.endswith(tail)
