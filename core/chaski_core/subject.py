"""From a subject to the keys that SQS FIFO understands: group id, deduplication id, partition.

Limits: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
(MessageGroupId and MessageDeduplicationId: 1 to 128 characters, letters, digits and ASCII punctuation, no space).
"""

import hashlib
import re

import mmh3

MAX_SUBJECT_CHARACTERS = 512
_SQS_TOKEN = re.compile(r"[!-~]{1,128}\Z")


def group_id(subject: str) -> str:
    """The message group of a subject: the subject itself where SQS can carry it, else a stable hash of it."""
    return _token(subject)


def deduplication_id(message_id: str, epoch: int, rung: str, retry: int) -> str:
    """Names one hop of one message, so that a hop repeated after a crash within five minutes is one message.

    Args:
        message_id: the id that the producer gave or was given, at most 64 characters.
        epoch: 0 for the first sending, one more for each replay.
        rung: where the hop goes; "first" for the route's own queues.
        retry: number of the retry that the hop leads to, from 0.

    What SQS can't carry (an id of another release, a long rung's name) becomes a stable hash.
    """
    return _token(f"{message_id}:{epoch}:{rung}:{retry}")


def _token(text: str) -> str:
    return text if _SQS_TOKEN.match(text) else "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def partition(subject: str, partitions: int) -> int:
    """Index of the queue partition, 0 to partitions - 1: murmur3_32 of the UTF-8 subject, seed 0, unsigned."""
    return mmh3.hash(subject.encode(), signed=False) % partitions


def matches_pattern(pattern: str, subject: str) -> bool:
    """Whether a subject fits a queue's pattern, in which `*` stands for any characters, none included."""
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
