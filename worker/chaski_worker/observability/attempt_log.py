"""The log line of each attempt, in Elastic Common Schema field names.

Queries and headers are never logged, and of bodies only what the settings ask to show.

Nearly all attempts of a route are delivered, and their lines differ in a few fields only. So one line is rendered field
by field with marks for those fields and cut at the marks; each later line is assembled from the pieces. The content of a
line is decided in one place, `attempt_fields`.
"""

import functools
import logging
import re
import time
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import orjson

from chaski_core.retry.outcome import Outcome
from chaski_core.timestamps import timestamp
from chaski_core.values import message_value
from chaski_runtime.observability.logs import ECS_VERSION, LEVELS, Logs, Render

_REMEMBERED_LINES = 256  # kinds of lines: routes, queues and targets of one process
_REMEMBERED_URLS = 256  # most messages go to few URLs, each of at most 2,048 characters
_MARKS = tuple(f"@{number}@" for number in range(7))  # no name of a route, a queue or a target contains an @
_TIME, _DURATION, _IDENTITY, _LABEL, _SUBJECT, _URL, _TRACE = _MARKS
_ANY_TRACEPARENT = f"00-{'0' * 32}-{'0' * 16}-00"
_PORTS = {"http": 80, "https": 443}
_USUAL_URL = re.compile(
    r"(https?)://([a-z0-9.-]+)(?::(\d{1,5}))?(/[^?#]*|(?=[?#]|\Z))"
)  # ten times faster than urlsplit


@message_value
class Attempt:
    """An attempt that has ended."""

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
    next: str = ""  # where the message goes, for people: "rung medium in 60 s", "dead letter: exhausted"
    traceparent: str | None = None
    content: str = ""  # the part of the message's content that may be shown

    @property
    def level(self) -> int:
        """The level of its log line, as `logging` counts."""
        return logging.INFO if self.outcome.delivered else logging.WARNING


def attempt_fields(attempt: Attempt, now_ms: int) -> dict[str, Any]:
    """The fields of an attempt's log line.

    Args:
        attempt: the attempt.
        now_ms: epoch milliseconds at its end.
    """
    outcome = attempt.outcome
    fields: dict[str, Any] = {
        "@timestamp": timestamp(now_ms),
        "log.level": LEVELS[attempt.level],
        "message": attempt_message(attempt),
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


def attempt_message(attempt: Attempt) -> str:
    """One attempt as a text."""
    outcome = attempt.outcome
    if outcome.delivered:
        return "delivered"
    text = outcome.label if outcome.label == outcome.key else f"{outcome.label} with {outcome.key}"
    if outcome.detail:
        text += f": {outcome.detail}"
    return f"{text}; {attempt.next}" if attempt.next else text


class AttemptLog:
    """Logs attempts. Takes about 10 µs a line."""

    def __init__(self, logs: Logs) -> None:
        self._logs = logs
        self._delivered = DeliveredLines(logs.render) if logs.format == "json" else None

    def write(self, attempt: Attempt) -> None:
        """Logs an attempt that has just ended."""
        if self._logs.is_enabled(attempt.level):
            self._logs.write(self._line(attempt, time.time_ns() // 1_000_000))

    def _line(self, attempt: Attempt, now_ms: int) -> bytes:
        try:
            line = self._delivered.line(attempt, now_ms) if self._delivered is not None else None
        except orjson.JSONEncodeError:  # a lone surrogate, which `render` can show
            line = None
        return self._logs.render(attempt_fields(attempt, now_ms)) if line is None else line


class DeliveredLines:
    """Renders the lines of delivered attempts. Remembers a limited number of kinds of lines."""

    def __init__(self, render: Render) -> None:
        """`render`: makes a line of JSON of fields, in their order."""
        self._render = render
        self._pieces: dict[tuple[Any, ...], tuple[bytes, ...]] = {}

    def line(self, attempt: Attempt, now_ms: int) -> bytes | None:
        """The line of an attempt; None where it must be rendered field by field.

        Raises:
            orjson.JSONEncodeError: UTF-8 can't encode a text.
        """
        outcome, traceparent = attempt.outcome, attempt.traceparent
        url = _url_json(attempt.url) if outcome.delivered and not attempt.next and not attempt.content else b""
        if not url:
            return None
        before_time, before_duration, *before_texts, before_trace, end = self._cut(attempt)
        before_identity, before_label, before_subject, before_url = before_texts
        return b'%b"%b"%b%d%b%b%b%b%b%b%b%b%b%b%b' % (
            before_time,
            timestamp(now_ms).encode(),
            before_duration,
            round(outcome.duration_seconds * 1e9),
            before_identity,
            orjson.dumps(attempt.message_id),
            before_label,
            orjson.dumps(attempt.id),
            before_subject,
            orjson.dumps(attempt.subject),
            before_url,
            url,
            before_trace,
            orjson.dumps(traceparent[3:35]) if traceparent else b"",
            end,
        )

    def _cut(self, attempt: Attempt) -> tuple[bytes, ...]:
        outcome = attempt.outcome
        key = (
            attempt.namespace,
            attempt.route,
            attempt.queue,
            attempt.stage,
            attempt.number,
            attempt.method,
            outcome.target,
            outcome.status,
            not attempt.traceparent,
        )
        pieces = self._pieces.get(key)
        if pieces is None:
            if len(self._pieces) >= _REMEMBERED_LINES:
                self._pieces.clear()
            pieces = self._pieces[key] = _cut(self._render(_marked(attempt)))
        return pieces


def _marked(attempt: Attempt) -> dict[str, Any]:
    """The fields of a line like that of an attempt, with marks in place of the values that differ."""
    traceparent = _ANY_TRACEPARENT if attempt.traceparent else None
    fields: dict[str, Any] = {}
    for name, value in attempt_fields(replace(attempt, traceparent=traceparent), 0).items():
        if name.startswith("url."):
            fields[_URL] = ""  # stands for all URL fields
        else:
            fields[name] = _MARK_OF.get(name, value)
    return fields


_MARK_OF = {
    "@timestamp": _TIME,
    "event.duration": _DURATION,
    "chaski.message.id": _IDENTITY,
    "chaski.id": _LABEL,
    "chaski.subject": _SUBJECT,
    "trace.id": _TRACE,
}


def _cut(line: bytes) -> tuple[bytes, ...]:
    pieces = []
    for mark in _MARKS:
        written = f'"{mark}":""' if mark is _URL else f'"{mark}"'
        piece, found, line = line.partition(written.encode())
        if not found:  # the line has no trace: the piece before is empty, the rest is the end
            assert mark is _TRACE  # noqa: S101 - every line has all others
            piece, line = b"", piece
        pieces.append(piece)
    return (*pieces, line)


@functools.lru_cache(_REMEMBERED_URLS)
def _url_json(url: str) -> bytes:
    """The fields of a URL as in a line; empty where it can't be parsed."""
    fields: dict[str, Any] = {}
    add_url(fields, url)
    return orjson.dumps(fields)[1:-1]


@functools.lru_cache(_REMEMBERED_URLS)
def _url_parts(url: str) -> tuple[str, str, int, str] | None:
    """Scheme, host, port and path; None where the URL can't be parsed."""
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
    """Adds the fields of a URL; nothing where it can't be parsed."""
    parts = _url_parts(url)
    if parts is not None:
        fields["url.scheme"], fields["url.domain"], fields["url.port"], fields["url.path"] = parts
