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


def queued(target_url: str, subject: int, number: int, put: float) -> str:
    """A message as ingest sends it to the queue."""
    body = {
        "url": target_url,
        "headers": {MARK_HEADER: mark(subject, number, put), "Content-Type": "text/plain"},
        "content": _CONTENT,
    }
    metadata = {"id": str(uuid.uuid4()), "route": f"{NAMESPACE}/{ROUTE}", "acceptedAt": "2026-01-01T00:00:00.000Z"}
    return orjson.dumps({"subject": f"subject-{subject}", "body": body, "metadata": metadata}).decode()
