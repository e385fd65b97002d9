"""The message: what a producer sends, what lies on the queue, and the HTTP request that it stands for.

On the queue lies the producer's own JSON plus an optional `metadata` object. Only `subject` and `body` are required,
and every field that this release does not know travels on untouched, so that messages accepted by an older or a newer
release, or by the predecessor (which wrote no metadata), stay readable.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chaski_core import json_codec
from chaski_core.message.identity import read_message_id, read_sequence_number
from chaski_core.message.traceparent import valid_traceparent
from chaski_core.retry.ladder import LadderState
from chaski_core.retry.ladder_codec import ladder_json, note_json, read_ladder
from chaski_core.timestamps import milliseconds, timestamp
from chaski_core.values import message_value

__all__ = [
    "MAX_METADATA_BYTES",
    "Envelope",
    "HttpRequest",
    "Malformed",
    "Metadata",
    "add_metadata",
    "http_request",
    "ladder_json",
    "metadata_of",
    "milliseconds",
    "note_json",
    "read_envelope",
    "read_ladder",
    "timestamp",
    "write_envelope",
]

MAX_METADATA_BYTES = 16_384


@message_value
class Metadata:
    """What Chaski knows about a message beside what the producer sent. Every field is optional on the queue."""

    id: str | None = None  # the producer's label, or one that ingest made; may repeat
    route: str | None = None  # "namespace/name" of the route that accepted it
    accepted_at: int | None = None  # epoch milliseconds
    producer: str | None = None
    traceparent: str | None = None  # by `trace_context.valid_traceparent`
    epoch: int = 0  # 0, and one more for each replay: what a release before `message_id` tells replays apart by
    ladder: LadderState | None = None
    message_id: str | None = None  # the identity; None on the first queue, where it is the queue's MessageId
    sequence_number: int | None = None  # that the first queue gave it
    hops: int = 0  # how often it was put on a rung
    replay_of: str | None = None  # of a replay: the identity of the message that was accepted


@message_value
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


@message_value
class HttpRequest:
    """The request that a message stands for."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None


def read_envelope(data: bytes) -> Envelope | Malformed:
    """Reads what lies on a queue, leniently: what is not needed for delivery is never a reason to refuse."""
    try:
        document = json_codec.loads(data)
    except json_codec.JsonError as error:
        return Malformed(f"not JSON: {error}")
    if not isinstance(document, dict):
        return Malformed(f"a JSON {_json_type(document)} where an object with subject and body is expected")
    subject, body = document.get("subject"), document.get("body")
    if not isinstance(subject, str):
        return Malformed("`subject` is no text" if "subject" in document else "has no `subject`")
    if not subject:
        return Malformed("`subject` is empty")
    if not isinstance(body, dict):
        return Malformed("`body` is no object" if "body" in document else "has no `body`")
    raw = document.get("metadata")
    return Envelope(subject, body, _read_metadata(raw) if isinstance(raw, dict) else None, document)


def metadata_of(document: Mapping[str, Any]) -> Metadata | None:
    """What Chaski knows about a message that was read before; None where it has no metadata."""
    raw = document.get("metadata")
    return _read_metadata(raw) if isinstance(raw, dict) else None


def write_envelope(document: Mapping[str, Any], metadata: Metadata) -> bytes:
    """The bytes to put on a queue: `document` with Chaski's fields in its metadata replaced, all others kept.

    A field that is None (or epoch 0) in `metadata` and was readable in `document` is left out: a replay starts afresh.

    Raises:
        JsonError: `document` or `metadata` holds what JSON can't say; never for what `read_envelope` returned.
    """
    kept = document.get("metadata")
    return json_codec.dumps({**document, "metadata": _merged(kept if isinstance(kept, dict) else {}, metadata)})


def add_metadata(message: bytes, metadata: Metadata) -> bytes:
    """The bytes to put on a queue for a message that ingest accepts: as `write_envelope`, without writing it anew.

    Args:
        message: an object of JSON that is not empty and has no metadata, as `jsontext` writes it.
        metadata: of a message that no worker has seen.
    """
    return b'%b,"metadata":%b}' % (message[:-1], json_codec.dumps(_fresh(metadata)))


_TEXTS = frozenset({str})


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
    if not isinstance(given, dict) or not _TEXTS.issuperset(map(type, given.values())):
        raise ValueError("body.headers: is no object of texts")
    headers = tuple(given.items())
    content = body.get("content")
    if content is None:
        return HttpRequest(method, url, headers, None)
    if isinstance(content, str):
        return HttpRequest(method, url, headers, _text_bytes(content, body.get("contentEncoding")))
    if body.get("contentEncoding") is not None:
        raise ValueError(f"body.contentEncoding: is for text, and body.content is a JSON {_json_type(content)}")
    if not any(name.lower() == "content-type" for name in given):
        headers = (*headers, ("Content-Type", "application/json"))
    return HttpRequest(method, url, headers, json_codec.dumps(content))


def _text_bytes(content: str, encoding: object) -> bytes:
    if encoding is None:
        return content.encode()
    if encoding != "base64":
        raise ValueError(f'body.contentEncoding: {str(encoding)[:40]!r} is not known; leave it out, or use "base64"')
    try:
        return base64.b64decode(content, validate=True)
    except ValueError as error:  # binascii.Error is one; characters beyond ASCII raise the plain one
        raise ValueError(f"body.content: is not base64: {error}") from error


def _json_type(value: object) -> str:
    names: dict[type, str] = {dict: "object", list: "array", str: "string", bool: "boolean"}
    names |= dict.fromkeys((int, float, json_codec.Number), "number")
    return names.get(type(value), "null")


# ---- metadata <-> JSON


def _values(metadata: Metadata) -> dict[str, Any]:
    return {
        "id": metadata.id,
        "route": metadata.route,
        "acceptedAt": metadata.accepted_at,
        "producer": metadata.producer,
        "traceparent": metadata.traceparent,
        "epoch": metadata.epoch or None,
        "messageId": metadata.message_id,
        "sequenceNumber": None if metadata.sequence_number is None else str(metadata.sequence_number),
        "hops": metadata.hops or None,
        "replayOf": metadata.replay_of,
        "ladder": metadata.ladder,
    }


_NOTHING = _values(Metadata())


def _merged(kept: Mapping[str, Any], metadata: Metadata) -> dict[str, Any]:
    if not kept and metadata.ladder is None and metadata.message_id is None:
        return _fresh(metadata)
    # A value that has not changed since it was read stays as it is written, even in a form that can't be read here.
    before, merged = _values(_read_metadata(kept)) if kept else _NOTHING, dict(kept)
    for name, value in _values(metadata).items():
        if value == before[name]:
            continue
        if value is None:
            del merged[name]
        elif isinstance(value, LadderState):
            old = kept.get(name)
            merged[name] = ladder_json(value, old if isinstance(old, dict) else None)
        else:
            merged[name] = timestamp(value) if name == "acceptedAt" else value
    return merged


def _fresh(metadata: Metadata) -> dict[str, Any]:
    """What ingest writes: the same as below, for a message that has had none."""
    written: dict[str, Any] = {}
    if metadata.id is not None:
        written["id"] = metadata.id
    if metadata.route is not None:
        written["route"] = metadata.route
    if metadata.accepted_at is not None:
        written["acceptedAt"] = timestamp(metadata.accepted_at)
    if metadata.producer is not None:
        written["producer"] = metadata.producer
    if metadata.traceparent is not None:
        written["traceparent"] = metadata.traceparent
    if metadata.epoch:
        written["epoch"] = metadata.epoch
    if metadata.replay_of is not None:
        written["replayOf"] = metadata.replay_of
    return written


def _read_metadata(raw: Mapping[str, Any]) -> Metadata:
    return Metadata(
        id=_text(raw.get("id")),
        route=_text(raw.get("route")),
        accepted_at=milliseconds(raw.get("acceptedAt")),
        producer=_text(raw.get("producer")),
        traceparent=valid_traceparent(raw.get("traceparent")),  # queue content is not trusted
        epoch=_count(raw.get("epoch")),
        ladder=read_ladder(raw.get("ladder")),
        message_id=read_message_id(raw.get("messageId")),
        sequence_number=read_sequence_number(raw.get("sequenceNumber")),
        hops=_count(raw.get("hops")),
        replay_of=read_message_id(raw.get("replayOf")),
    )


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
