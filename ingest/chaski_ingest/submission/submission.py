"""From one message's JSON to what is put on the queue, or to everything that is wrong with it. Pure."""

import base64
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chaski_core import json_codec
from chaski_core.errors import FieldError
from chaski_core.message import labels
from chaski_core.message.envelope import Metadata, add_metadata
from chaski_core.message.http_rules import header_faults, method_faults
from chaski_core.message.identity import deduplication_key
from chaski_core.message.subject import MAX_SUBJECT_CHARACTERS, first_deduplication_id, group_id
from chaski_core.message.target_url import url_fault
from chaski_core.ports import OutgoingMessage
from chaski_core.values import message_value
from chaski_ingest.http.problems import Problem, invalid, too_large
from chaski_ingest.settings import IngestSettings

MAX_KEY_CHARACTERS = 255
BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # a parser may leave it out: RFC 8259 §8.1
_KEY = re.compile(rf"[\x20-\x7e]{{1,{MAX_KEY_CHARACTERS}}}\Z")


@message_value
class Origin:
    """What is known of a message beside its JSON."""

    route: str  # namespace/name
    now_ms: int
    producer: str | None = None
    traceparent: str | None = None  # a valid one, see `trace_context`
    idempotency_key: str | None = None  # a valid one, see `key_fault`


@message_value
class Submission:
    """A message that can be accepted."""

    id: str  # the label
    subject: str
    message: OutgoingMessage


@dataclass(frozen=True, slots=True)
class Rejection:
    """A message that can't; its subject, where it could be read, holds later lines of the same batch back, and else all."""

    problem: Problem
    subject: str | None = None


def judge(data: bytes, origin: Origin, random: bytes, settings: IngestSettings) -> Submission | Rejection:
    """Judges one message.

    Args:
        data: its JSON as received; a byte order mark in front of it is left out.
        origin: what else is known of it.
        random: 10 random bytes, for the label of a message that comes without one.
        settings: the limits.
    """
    data = data.removeprefix(BYTE_ORDER_MARK)
    try:
        document, compact, duplicates = _read(data)
    except json_codec.JsonError as error:
        return Rejection(
            _oversize(data, settings) or invalid((FieldError("", f"is no JSON that can be carried: {error}"),))
        )
    if not isinstance(document, dict):
        return Rejection(invalid((FieldError("", "is no JSON object with `subject` and `body`"),)))
    given = document.get("subject")
    subject = given if isinstance(given, str) else ""
    if oversize := _oversize(data, settings):
        return Rejection(oversize, subject)
    if faults := [*duplicates, *_subject_faults(document), *_id_faults(document), *_body_faults(document.get("body"))]:
        return Rejection(invalid(tuple(faults)), subject)
    label, key = _label_and_key(document, origin, random)
    queued = add_metadata(compact, Metadata(label, origin.route, origin.now_ms, origin.producer, origin.traceparent))
    if len(queued) > settings.max_queue_bytes:
        return Rejection(too_large(_grown(len(queued), settings)), subject)
    return Submission(label, subject, OutgoingMessage(queued, group_id(subject), first_deduplication_id(key)))


def key_fault(key: str) -> str | None:
    """What is wrong with an `Idempotency-Key`; None where nothing is."""
    if _KEY.match(key):
        return None
    return f"has to be 1 to {MAX_KEY_CHARACTERS} printable ASCII characters"


def _label_and_key(document: dict[str, Any], origin: Origin, random: bytes) -> tuple[str, str]:
    """The message's label, and what makes a later request a repeat of this one."""
    given, subject = document.get("id"), document["subject"]
    if given is not None:
        label, token = given, f"id:{given}"
    elif origin.idempotency_key is not None:
        token = f"key:{origin.idempotency_key}"
        label = labels.from_idempotency_key(origin.route, origin.producer, subject, origin.idempotency_key)
    else:
        label = labels.generate(origin.now_ms, random)
        return label, label
    return label, deduplication_key(origin.route, origin.producer, subject, token, document["body"])


def _read(data: bytes) -> tuple[Any, bytes, Sequence[FieldError]]:
    """The value, the same as compact JSON, and what makes it ambiguous."""
    try:
        return *json_codec.loads_compact(data), ()
    except json_codec.DuplicateKeyError as error:
        fault = FieldError(error.path, "stands here twice; readers differ in which one counts, so leave one out")
        return json_codec.loads(data), data, (fault,)


def _oversize(data: bytes, settings: IngestSettings) -> Problem | None:
    if len(data) <= settings.max_message_bytes:
        return None
    return too_large(f"the message has {len(data)} bytes; {settings.max_message_bytes} are allowed")


def _grown(size: int, settings: IngestSettings) -> str:
    return (
        f"the message has {size} bytes as it would lie on the queue; {settings.max_queue_bytes} are allowed"
        " (numbers and escapes may be written shorter than they are read)"
    )


# ---- what is wrong with it


def _subject_faults(document: dict[str, Any]) -> list[FieldError]:
    subject = document.get("subject")
    if not isinstance(subject, str):
        what = f"is {_kind(subject)}, not text" if "subject" in document else "is missing"
        return [FieldError("subject", f"{what}: the subject is what messages are ordered by")]
    if not 1 <= len(subject) <= MAX_SUBJECT_CHARACTERS:
        return [FieldError("subject", f"has {len(subject)} characters; 1 to {MAX_SUBJECT_CHARACTERS} are allowed")]
    return []


def _id_faults(document: dict[str, Any]) -> list[FieldError]:
    faults = []
    given = document.get("id")
    if given is not None and (not isinstance(given, str) or not labels.is_label(given)):
        faults.append(FieldError("id", "has to be 1 to 64 characters of A-Z, a-z, 0-9, `.`, `_` and `-`"))
    if "metadata" in document:
        faults.append(FieldError("metadata", "is set by Chaski; leave it out"))
    return faults


def _body_faults(body: object) -> list[FieldError]:
    if body is None:
        return [FieldError("body", "is missing: it says which request to make, with `url` at least")]
    if not isinstance(body, dict):
        return [FieldError("body", f"is {_kind(body)}, not an object")]
    return [*_url_faults(body), *_method_faults(body), *_header_faults(body), *_content_faults(body)]


def _url_faults(body: dict[str, Any]) -> list[FieldError]:
    url = body.get("url")
    if not isinstance(url, str):
        return [FieldError("body.url", f"is {_kind(url)}, not text" if "url" in body else "is missing")]
    fault = url_fault(url)
    return [FieldError("body.url", fault.detail)] if fault is not None else []


def _method_faults(body: dict[str, Any]) -> list[FieldError]:
    method = body.get("method")
    if method is None:
        return []
    return (
        method_faults(method)
        if isinstance(method, str)
        else [FieldError("body.method", f"is {_kind(method)}, not text")]
    )


def _header_faults(body: dict[str, Any]) -> list[FieldError]:
    headers = body.get("headers")
    if not headers and (headers is None or isinstance(headers, dict)):
        return []
    if not isinstance(headers, dict):
        return [FieldError("body.headers", f"is {_kind(headers)}, not an object")]
    texts = [(name, value) for name, value in headers.items() if isinstance(value, str)]
    faults = header_faults(texts)
    if len(texts) < len(headers):
        others = (name for name, value in headers.items() if not isinstance(value, str))
        faults += [FieldError(f"body.headers.{name}", f"is {_kind(headers[name])}, not text") for name in others]
    if len(headers) > 1 and len({name.lower() for name in headers}) < len(headers):
        counted = Counter(name.lower() for name in headers)
        twice = (name for name in headers if counted[name.lower()] > 1)
        faults += [
            FieldError(f"body.headers.{name}", "is given more than once, in different capitals") for name in twice
        ]
    return faults


def _content_faults(body: dict[str, Any]) -> list[FieldError]:
    encoding, content = body.get("contentEncoding"), body.get("content")
    if encoding is None:
        return []
    if encoding != "base64":
        return [FieldError("body.contentEncoding", 'is not known; leave it out, or use "base64"')]
    if content is None:
        return []
    if not isinstance(content, str):
        return [FieldError("body.contentEncoding", f"is for text, but body.content is {_kind(content)}")]
    try:
        base64.b64decode(content, validate=True)
    except ValueError as error:  # binascii.Error is one; characters beyond ASCII raise the plain one
        return [FieldError("body.content", f"is not base64: {error}")]
    return []


def _kind(value: object) -> str:
    kinds: dict[type, str] = {dict: "an object", list: "a list", str: "text", bool: "true or false"}
    kinds |= dict.fromkeys((int, float, json_codec.Number), "a number")
    return kinds.get(type(value), "null")
