"""JSON lines of delivered attempts, in less time than field by field.

Nearly all attempts of a route are delivered, and their lines differ in a few fields only. So one line is rendered as all
others are, with marks where they differ, and is cut there; each later one is put together from the pieces. What a line
says is decided in one place, `attempt_fields`.
"""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson

from chaski_core.timestamps import timestamp
from chaski_runtime.observability.log_fields import Attempt, add_url, attempt_fields

_REMEMBERED_LINES = 256  # kinds of lines: routes, queues and targets of one process
_REMEMBERED_URLS = 256  # most messages go to few URLs, each of at most 2,048 characters
_MARKS = tuple(f"@{number}@" for number in range(7))  # no name of a route, a queue or a target holds an @
_TIME, _DURATION, _IDENTITY, _LABEL, _SUBJECT, _URL, _TRACE = _MARKS
_ANY_TRACEPARENT = f"00-{'0' * 32}-{'0' * 16}-00"

Render = Callable[[dict[str, Any]], bytes]


class DeliveredLines:
    """Makes the lines of one process."""

    def __init__(self, render: Render) -> None:
        """Takes what makes a line of JSON of its fields, in their order."""
        self._render = render
        self._pieces: dict[tuple[Any, ...], tuple[bytes, ...]] = {}

    def line(self, attempt: Attempt, now_ms: int) -> bytes | None:
        """The line of an attempt; None where it has to be rendered field by field.

        Raises:
            orjson.JSONEncodeError: a text is none that UTF-8 can say.
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
    """The fields of a line like that of an attempt, with marks for what differs."""
    traceparent = _ANY_TRACEPARENT if attempt.traceparent else None
    fields: dict[str, Any] = {}
    for name, value in attempt_fields(replace(attempt, traceparent=traceparent), 0).items():
        if name.startswith("url."):
            fields[_URL] = ""  # for all of them
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
        if not found:  # it has no trace: the piece before is empty, and the rest the end
            assert mark is _TRACE  # noqa: S101 - all others are in every line
            piece, line = b"", piece
        pieces.append(piece)
    return (*pieces, line)


@functools.lru_cache(_REMEMBERED_URLS)
def _url_json(url: str) -> bytes:
    """The fields of a URL as they stand in a line; empty where it can't be read."""
    fields: dict[str, Any] = {}
    add_url(fields, url)
    return orjson.dumps(fields)[1:-1]
