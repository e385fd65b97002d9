"""The message: what a producer sends, what lies on the queue, and the HTTP request that it stands for.

On the queue lies the producer's own JSON plus an optional `metadata` object. Only `subject` and `body` are required,
and every field that this release does not know travels on untouched, so that messages accepted by an older or a newer
release, or by the predecessor (which wrote no metadata), stay readable.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from chaski_core import jsontext
from chaski_core.ladder import ErrorNote, LadderState

MAX_METADATA_BYTES = 16_384
_MAX_LADDER_BYTES = 12_288  # of metadata; the rest is for ids, producer and what other releases write
_MAX_NOTES = 120  # errors listed; a route's ladder can hold no more retries than this
_LONG_DETAIL_CHARACTERS = 1_000


@dataclass(frozen=True, slots=True)
class Metadata:
    """What Chaski knows about a message beside what the producer sent. Every field is optional on the queue."""

    id: str | None = None
    route: str | None = None  # "namespace/name" of the route that accepted it
    accepted_at: int | None = None  # epoch milliseconds
    producer: str | None = None
    traceparent: str | None = None
    epoch: int = 0  # 0, and one more for each replay
    ladder: LadderState | None = None


@dataclass(frozen=True, slots=True)
class Envelope:
    """A readable message: `document` is everything as it was read, the other fields are views of it."""

    subject: str
    body: Mapping[str, Any]
    metadata: Metadata | None  # None where the message has none at all, as the predecessor's
    document: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Malformed:
    """Bytes on a queue that are no envelope; `reason` says why."""

    reason: str


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """The request that a message stands for."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None


def read_envelope(data: bytes) -> Envelope | Malformed:
    """Reads what lies on a queue, leniently: what is not needed for delivery is never a reason to refuse."""
    try:
        document = jsontext.loads(data)
    except jsontext.JsonError as error:
        return Malformed(f"not JSON: {error}")
    if not isinstance(document, dict):
        return Malformed(f"a JSON {_json_type(document)} where an object with subject and body is expected")
    subject, body = document.get("subject"), document.get("body")
    if not isinstance(subject, str) or not subject:
        return Malformed("`subject` is no text" if "subject" in document else "has no `subject`")
    if not isinstance(body, dict):
        return Malformed("`body` is no object" if "body" in document else "has no `body`")
    raw = document.get("metadata")
    return Envelope(subject, body, _read_metadata(raw) if isinstance(raw, dict) else None, document)


def write_envelope(document: Mapping[str, Any], metadata: Metadata) -> bytes:
    """The bytes to put on a queue: `document` with Chaski's fields in its metadata replaced, all others kept."""
    known = _metadata_json(metadata)
    kept = document.get("metadata")
    merged = {**kept, **known} if isinstance(kept, dict) else known
    old_ladder = kept.get("ladder") if isinstance(kept, dict) else None
    if isinstance(old_ladder, dict) and "ladder" in known:
        merged["ladder"] = {**old_ladder, **known["ladder"]}
    return jsontext.dumps({**document, "metadata": merged})


def http_request(body: Mapping[str, Any]) -> HttpRequest:
    """The HTTP request that an envelope's body stands for.

    Content: text is sent as UTF-8; an object, array, number or boolean as JSON with `Content-Type: application/json`
    unless a type is given; null or absent means no body; with `contentEncoding: base64` the text's bytes are sent.

    Raises:
        ValueError: the body can't be made into a request; the sentence says why.
    """
    url, method = body.get("url"), body.get("method") or "POST"
    if not isinstance(url, str):
        raise ValueError("body.url: is no text")  # noqa: TRY004 - a value of a message, not a programming error
    if not isinstance(method, str):
        raise ValueError("body.method: is no text")  # noqa: TRY004 - as above
    given = body.get("headers") or {}
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise ValueError("body.headers: is no object of texts")
    headers = tuple(given.items())
    content = body.get("content")
    if content is None:
        return HttpRequest(method, url, headers, None)
    if isinstance(content, str):
        return HttpRequest(method, url, headers, _text_bytes(content, body.get("contentEncoding")))
    if not any(name.lower() == "content-type" for name in given):
        headers = (*headers, ("Content-Type", "application/json"))
    return HttpRequest(method, url, headers, jsontext.dumps(content))


def _text_bytes(content: str, encoding: object) -> bytes:
    if encoding is None:
        return content.encode()
    if encoding != "base64":
        raise ValueError(f'body.contentEncoding: "{encoding}" is not known; leave it out, or use "base64"')
    try:
        return base64.b64decode(content, validate=True)
    except binascii.Error as error:
        raise ValueError(f"body.content: is not base64: {error}") from error


def timestamp(milliseconds: int) -> str:
    """RFC 3339 in UTC with milliseconds."""
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"


def milliseconds(text: object) -> int | None:
    """Epoch milliseconds of an RFC 3339 text, or None where it is none."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def _json_type(value: object) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")


# ---- metadata <-> JSON


def _metadata_json(metadata: Metadata) -> dict[str, Any]:
    values: dict[str, Any] = {
        "id": metadata.id,
        "route": metadata.route,
        "acceptedAt": None if metadata.accepted_at is None else timestamp(metadata.accepted_at),
        "producer": metadata.producer,
        "traceparent": metadata.traceparent,
        "epoch": metadata.epoch or None,
        "ladder": None if metadata.ladder is None else ladder_json(metadata.ladder),
    }
    return {name: value for name, value in values.items() if value is not None}


def _read_metadata(raw: Mapping[str, Any]) -> Metadata:
    epoch = raw.get("epoch")
    return Metadata(
        id=_text(raw.get("id")),
        route=_text(raw.get("route")),
        accepted_at=milliseconds(raw.get("acceptedAt")),
        producer=_text(raw.get("producer")),
        traceparent=_text(raw.get("traceparent")),
        epoch=epoch if isinstance(epoch, int) and not isinstance(epoch, bool) and epoch >= 0 else 0,
        ladder=read_ladder(raw.get("ladder")),
    )


def ladder_json(state: LadderState) -> dict[str, Any]:
    """A message's climb as it lies on the queue: `{class, retries, firstError, lastError, errors}`.

    Texts are cut, and in the extreme dropped, until it all fits, so that metadata stays below `MAX_METADATA_BYTES`.
    """
    ladder: dict[str, Any] = {}
    for long, short in ((1_000, 80), (250, 20), (40, 0), (0, 0)):
        ladder = {"class": state.key, "retries": state.retries}
        if state.errors:
            ladder["errors"] = [_note_json(note, short, 0) for note in state.errors[-_MAX_NOTES:]]
            ladder["firstError"] = _note_json(state.errors[0], long, long)
            ladder["lastError"] = _note_json(state.errors[-1], long, long)
        if len(jsontext.dumps(ladder)) <= _MAX_LADDER_BYTES:
            break
    return ladder


def read_ladder(raw: object) -> LadderState | None:
    """A message's climb as read from a queue or a record; None where there is none that can be understood."""
    if not isinstance(raw, dict):
        return None
    key, retries = raw.get("class"), raw.get("retries")
    if not isinstance(key, str) or not isinstance(retries, int) or isinstance(retries, bool) or retries < 0:
        return None
    listed = raw.get("errors")
    notes = [_read_note(note) for note in listed] if isinstance(listed, list) else []
    if notes and isinstance(raw.get("firstError"), dict) and len(notes) > retries:
        notes[0] = _read_note(raw["firstError"])
    if notes and isinstance(raw.get("lastError"), dict):
        notes[-1] = _read_note(raw["lastError"])
    if not notes:
        notes = [_read_note(raw[name]) for name in ("firstError", "lastError") if raw.get(name) is not None]
    return LadderState(key, retries, tuple(notes))


def note_json(note: ErrorNote) -> dict[str, Any]:
    """One error as dead letters show it: `{class, at, detail, excerpt}`, the last two only where there is something."""
    return _note_json(note, _LONG_DETAIL_CHARACTERS, _LONG_DETAIL_CHARACTERS)


def _note_json(note: ErrorNote, detail_characters: int, excerpt_characters: int) -> dict[str, Any]:
    values: dict[str, Any] = {"class": note.key, "at": timestamp(note.at)}
    if note.detail and detail_characters:
        values["detail"] = note.detail[:detail_characters]
    if note.excerpt and excerpt_characters:
        values["excerpt"] = note.excerpt[:excerpt_characters]
    return values


def _read_note(raw: object) -> ErrorNote:
    if not isinstance(raw, dict):
        return ErrorNote("unknown", 0, str(raw))
    return ErrorNote(
        key=_text(raw.get("class")) or "unknown",
        at=milliseconds(raw.get("at")) or 0,
        detail=_text(raw.get("detail")) or "",
        excerpt=_text(raw.get("excerpt")) or "",
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
