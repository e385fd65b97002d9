"""What a log line says, in Elastic Common Schema field names. Pure.

Keys are dotted and flat, as ECS writes them: Elasticsearch reads both forms alike, and `grep` and `jq` read this one
better. Queries and headers are never logged, and of bodies only what a worker was told to show.
"""

import functools
import logging
import re
import traceback
from typing import Any
from urllib.parse import urlsplit

from chaski_core.retry.outcome import Outcome
from chaski_core.timestamps import timestamp
from chaski_core.values import message_value

ECS_VERSION = "8.17.0"
_REMEMBERED_URLS = 256  # most messages go to few URLs, each of at most 2,048 characters
_PORTS = {"http": 80, "https": 443}
_USUAL_URL = re.compile(
    r"(https?)://([a-z0-9.-]+)(?::(\d{1,5}))?(/[^?#]*|(?=[?#]|\Z))"
)  # ten times faster than urlsplit
_LEVELS = {
    logging.DEBUG: "debug",
    logging.INFO: "info",
    logging.WARNING: "warn",
    logging.ERROR: "error",
    logging.CRITICAL: "fatal",
}


@message_value
class Attempt:
    """One attempt, ended."""

    namespace: str
    route: str
    queue: str  # the declared queue's name
    stage: str  # first | retry
    number: int  # from 1
    message_id: str  # the identity
    id: str  # the label
    subject: str
    method: str
    url: str
    outcome: Outcome
    next: str = ""  # what becomes of the message, for people: "rung medium in 60 s", "dead letter: exhausted"
    traceparent: str | None = None
    content: str = ""  # what may be shown of the message's content

    @property
    def level(self) -> int:
        """The level of the attempt's line, as `logging` counts."""
        return logging.INFO if self.outcome.delivered else logging.WARNING


def attempt_fields(attempt: Attempt, now_ms: int) -> dict[str, Any]:
    """The fields of one attempt's line.

    Args:
        attempt: the attempt.
        now_ms: epoch milliseconds at its end.
    """
    outcome = attempt.outcome
    fields: dict[str, Any] = {
        "@timestamp": timestamp(now_ms),
        "log.level": _LEVELS[attempt.level],
        "message": attempt_sentence(attempt),
        "ecs.version": ECS_VERSION,
        "event.action": "delivery",
        "event.category": ["web"],
        "event.outcome": "success" if outcome.delivered else "failure",
        "event.duration": round(outcome.duration_seconds * 1e9),
        "http.request.method": attempt.method,
        "labels.namespace": attempt.namespace,
        "labels.route": attempt.route,
        "labels.queue": attempt.queue,
        "labels.target": outcome.target,
        "chaski.message.id": attempt.message_id,
        "chaski.id": attempt.id,
        "chaski.subject": attempt.subject,
        "chaski.attempt.number": attempt.number,
        "chaski.attempt.stage": attempt.stage,
        "chaski.attempt.outcome": outcome.label,
    }
    add_url(fields, attempt.url)
    if outcome.status is not None:
        fields["http.response.status_code"] = outcome.status
    if not outcome.delivered:
        fields["error.type"] = outcome.key
        fields["error.message"] = outcome.detail
    if attempt.next:
        fields["chaski.next"] = attempt.next
    if attempt.traceparent:
        fields["trace.id"] = attempt.traceparent[3:35]
    if attempt.content:
        fields["http.request.body.content"] = attempt.content
    return fields


def attempt_sentence(attempt: Attempt) -> str:
    """One attempt in words."""
    outcome = attempt.outcome
    if outcome.delivered:
        return "delivered"
    sentence = outcome.label if outcome.label == outcome.key else f"{outcome.label} with {outcome.key}"
    if outcome.detail:
        sentence += f": {outcome.detail}"
    return f"{sentence}; {attempt.next}" if attempt.next else sentence


def record_fields(record: logging.LogRecord) -> dict[str, Any]:
    """The fields of a line that came by Python's `logging`; `extra={"ecs": {...}}` adds to them."""
    fields: dict[str, Any] = {
        "@timestamp": timestamp(int(record.created * 1000)),
        "log.level": _LEVELS.get(record.levelno, record.levelname.lower()),
        "message": record.getMessage(),
        "ecs.version": ECS_VERSION,
        "log.logger": record.name,
    }
    if record.exc_info and record.exc_info[0] is not None:
        kind, error, trace = record.exc_info
        fields["error.type"] = kind.__name__
        fields["error.message"] = str(error)
        fields["error.stack_trace"] = "".join(traceback.format_exception(kind, error, trace))
    fields.update(getattr(record, "ecs", {}))
    return fields


@functools.lru_cache(_REMEMBERED_URLS)
def _url_parts(url: str) -> tuple[str, str, int, str] | None:
    """Scheme, host, port and path; None where the URL can't be read."""
    found = _USUAL_URL.match(url)
    if found is not None:
        scheme, domain, digits, path = found.groups()
        return scheme, domain, int(digits) if digits else _PORTS[scheme], path
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0), parts.path
    except ValueError:
        return None


def add_url(fields: dict[str, Any], url: str) -> None:
    """Adds what a line says of a URL; nothing where it can't be read."""
    parts = _url_parts(url)
    if parts is not None:
        fields["url.scheme"], fields["url.domain"], fields["url.port"], fields["url.path"] = parts
