"""Messages on the queue, with a mark by which the target recognizes each."""

import uuid

import orjson

from benchmarks.plan import CONTENT_BYTES
from benchmarks.traffic import MARK_HEADER

NAMESPACE, ROUTE = "bench", "engine"
_CONTENT = "x" * CONTENT_BYTES


def mark(subject: int, number: int, put: float) -> str:
    """The mark of a message for the target, with the time when it was put on the queue (monotonic seconds)."""
    return f"{subject} {number} {put:.6f}"


def placed(index: int, subjects: int, hot_percent: int = 0) -> tuple[int, int]:
    """Subject of message `index` and its number within the subject, both from 0.

    Args:
        index: of the message in the load, from 0.
        subjects: how many there are; at least two where one is hot.
        hot_percent: messages of a hundred that belong to subject 0, evenly spread; the others take turns.
    """
    hot_before = index * hot_percent // 100
    if (index + 1) * hot_percent // 100 > hot_before:
        return 0, hot_before
    first, rest = (1, index - hot_before) if hot_percent else (0, index)
    return first + rest % (subjects - first), rest // (subjects - first)


def group(subject: int) -> str:
    """The message group of a subject."""
    return f"subject-{subject}"


def queued(target_url: str, subject: int, number: int, put: float) -> str:
    """A message as ingest sends it to the queue."""
    body = {
        "url": target_url,
        "headers": {MARK_HEADER: mark(subject, number, put), "Content-Type": "text/plain"},
        "content": _CONTENT,
    }
    metadata = {"id": str(uuid.uuid4()), "route": f"{NAMESPACE}/{ROUTE}", "acceptedAt": "2026-01-01T00:00:00.000Z"}
    return orjson.dumps({"subject": group(subject), "body": body, "metadata": metadata}).decode()
