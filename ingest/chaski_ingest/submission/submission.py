"""Validates one message's JSON and makes the message for the queue, or the list of all its errors. Pure."""

import base64
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from chaski_core import json_codec
from chaski_core.errors import FieldError
from chaski_core.message.envelope import Metadata, add_metadata
from chaski_core.message.http_rules import header_errors, method_errors
from chaski_core.message.identity import deduplication_key, generate_label, is_label, label_from_key
from chaski_core.message.subject import MAX_SUBJECT_CHARACTERS, first_deduplication_id, group_id, may_send
from chaski_core.message.target_url import url_fault
from chaski_core.ports import OutgoingMessage
from chaski_core.route.resolved import ResolvedRoute
from chaski_core.values import message_value
from chaski_ingest.problems import Problem, invalid, subject_denied, too_large
from chaski_ingest.settings import IngestSettings
from chaski_ingest.submission.capacity import Holder

MAX_KEY_CHARACTERS = 255
BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # a parser may leave it out: RFC 8259 §8.1
_KEY = re.compile(rf"[\x20-\x7e]{{1,{MAX_KEY_CHARACTERS}}}\Z")


@message_value
class Origin:
    """The context of a message beside its JSON."""

    route: str  # namespace/name
    now_ms: int
    producer: str | None = None
    traceparent: str | None = None  # a valid one
    idempotency_key: str | None = None  # a valid one, see `key_error`
    subjects: tuple[str, ...] = ()  # patterns of the subjects that the producer may send; empty: all


@message_value
class RequestContext:
    """A request that was admitted to its route."""

    resolved: ResolvedRoute
    origin: Origin
    debit: Callable[[int], None] | None = None  # debits the messages after the first; None: no rate limit

    @property
    def holder(self) -> Holder:
        """The holder of a share of this process's memory: one producer of one route, in the route's namespace."""
        return self.resolved.route.namespace, self.origin.route, self.origin.producer


@message_value
class Submission:
    """A message that can be accepted."""

    id: str  # the label
    subject: str
    message: OutgoingMessage


@dataclass(frozen=True, slots=True)
class Rejection:
    """A message that can't be accepted. In a batch it blocks later lines of its subject, or all where that is unreadable."""

    problem: Problem
    subject: str | None = None


def validate(data: bytes, origin: Origin, random: bytes, settings: IngestSettings) -> Submission | Rejection:
    """Validates one message.

    Args:
        data: its JSON as received; a leading byte order mark is ignored.
        origin: its route, producer and time.
        random: 10 random bytes, for the label of a message without an id.
        settings: the limits.
    """
    data = data.removeprefix(BYTE_ORDER_MARK)
    try:
        document, compact, duplicates = _read(data)
    except json_codec.JsonError as error:
        return Rejection(_oversize(data, settings) or invalid((FieldError("", f"is not valid JSON: {error}"),)))
    if not isinstance(document, dict):
        return Rejection(invalid((FieldError("", "is not a JSON object with `subject` and `body`"),)))
    given = document.get("subject")
    subject = given if isinstance(given, str) else ""
    if oversize := _oversize(data, settings):
        return Rejection(oversize, subject)
    if errors := [*duplicates, *_subject_errors(document), *_id_errors(document), *_body_errors(document.get("body"))]:
        problem: Problem | None = invalid(tuple(errors))
    elif origin.subjects and not may_send(origin.subjects, subject):
        problem = subject_denied(origin.producer, origin.route)
    else:
        problem = None
    if problem is not None:
        return Rejection(problem, subject)
    label, key = _label_and_key(document, origin, random)
    queued = add_metadata(compact, Metadata(label, origin.route, origin.now_ms, origin.producer, origin.traceparent))
    if len(queued) > settings.max_queue_bytes:
        return Rejection(too_large(_queue_size_detail(len(queued), settings)), subject)
    return Submission(label, subject, OutgoingMessage(queued, group_id(subject), first_deduplication_id(key)))


def key_error(key: str) -> str | None:
    """Why an `Idempotency-Key` is not valid; None where it is."""
    if _KEY.match(key):
        return None
    return f"must be 1 to {MAX_KEY_CHARACTERS} printable ASCII characters"


def _label_and_key(document: dict[str, Any], origin: Origin, random: bytes) -> tuple[str, str]:
    """The message's label, and its deduplication key."""
    given, subject = document.get("id"), document["subject"]
    if given is not None:
        label, token = given, f"id:{given}"
    elif origin.idempotency_key is not None:
        token = f"key:{origin.idempotency_key}"
        label = label_from_key(origin.route, origin.producer, subject, origin.idempotency_key)
    else:
        label = generate_label(origin.now_ms, random)
        return label, label
    return label, deduplication_key(origin.route, origin.producer, subject, token, document["body"])


def _read(data: bytes) -> tuple[Any, bytes, Sequence[FieldError]]:
    """The value, its compact JSON, and an error for a duplicate key."""
    try:
        return *json_codec.loads_compact(data), ()
    except json_codec.DuplicateKeyError as error:
        duplicate = FieldError(
            error.path, "is a duplicate key; JSON readers differ in which value they use, so remove one"
        )
        return json_codec.loads(data), data, (duplicate,)


def _oversize(data: bytes, settings: IngestSettings) -> Problem | None:
    if len(data) <= settings.max_message_bytes:
        return None
    return too_large(f"the message has {len(data)} bytes; {settings.max_message_bytes} are allowed")


def _queue_size_detail(size: int, settings: IngestSettings) -> str:
    return (
        f"the message has {size} bytes in the queue's format; {settings.max_queue_bytes} are allowed"
        " (some characters take more bytes there than as received)"
    )


# ---- field errors


def _subject_errors(document: dict[str, Any]) -> list[FieldError]:
    subject = document.get("subject")
    if not isinstance(subject, str):
        what = f"is {_kind(subject)}, not a string" if "subject" in document else "is missing"
        return [FieldError("subject", f"{what}: messages are ordered by their subject")]
    if not 1 <= len(subject) <= MAX_SUBJECT_CHARACTERS:
        return [FieldError("subject", f"has {len(subject)} characters; 1 to {MAX_SUBJECT_CHARACTERS} are allowed")]
    return []


def _id_errors(document: dict[str, Any]) -> list[FieldError]:
    errors = []
    given = document.get("id")
    if given is not None and (not isinstance(given, str) or not is_label(given)):
        errors.append(FieldError("id", "must be 1 to 64 characters of A-Z, a-z, 0-9, `.`, `_` and `-`"))
    if "metadata" in document:
        errors.append(FieldError("metadata", "is set by Chaski; leave it out"))
    return errors


def _body_errors(body: object) -> list[FieldError]:
    if body is None:
        return [FieldError("body", "is missing: it describes the request to make, with `url` at least")]
    if not isinstance(body, dict):
        return [FieldError("body", f"is {_kind(body)}, not an object")]
    return [*_url_errors(body), *_method_errors(body), *_header_errors(body), *_content_errors(body)]


def _url_errors(body: dict[str, Any]) -> list[FieldError]:
    url = body.get("url")
    if not isinstance(url, str):
        return [FieldError("body.url", f"is {_kind(url)}, not a string" if "url" in body else "is missing")]
    fault = url_fault(url)
    return [FieldError("body.url", fault.detail)] if fault is not None else []


def _method_errors(body: dict[str, Any]) -> list[FieldError]:
    method = body.get("method")
    if method is None:
        return []
    return (
        method_errors(method)
        if isinstance(method, str)
        else [FieldError("body.method", f"is {_kind(method)}, not a string")]
    )


def _header_errors(body: dict[str, Any]) -> list[FieldError]:
    headers = body.get("headers")
    if not headers and (headers is None or isinstance(headers, dict)):
        return []
    if not isinstance(headers, dict):
        return [FieldError("body.headers", f"is {_kind(headers)}, not an object")]
    strings = [(name, value) for name, value in headers.items() if isinstance(value, str)]
    errors = header_errors(strings)
    if len(strings) < len(headers):
        others = (name for name, value in headers.items() if not isinstance(value, str))
        errors += [FieldError(f"body.headers.{name}", f"is {_kind(headers[name])}, not a string") for name in others]
    if len(headers) > 1 and len({name.lower() for name in headers}) < len(headers):
        counted = Counter(name.lower() for name in headers)
        repeated = (name for name in headers if counted[name.lower()] > 1)
        errors += [
            FieldError(f"body.headers.{name}", "is given more than once, in different case") for name in repeated
        ]
    return errors


def _content_errors(body: dict[str, Any]) -> list[FieldError]:
    encoding, content = body.get("contentEncoding"), body.get("content")
    if encoding is None:
        return []
    if encoding != "base64":
        return [FieldError("body.contentEncoding", 'is unknown; leave it out, or use "base64"')]
    if content is None:
        return []
    if not isinstance(content, str):
        return [FieldError("body.contentEncoding", f"applies to a string, but body.content is {_kind(content)}")]
    try:
        base64.b64decode(content, validate=True)
    except ValueError as error:  # binascii.Error, or a plain ValueError for non-ASCII characters
        return [FieldError("body.content", f"is not base64: {error}")]
    return []


def _kind(value: object) -> str:
    kinds: dict[type, str] = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    kinds |= dict.fromkeys((int, float, json_codec.Number), "a number")
    return kinds.get(type(value), "null")
