"""Dead letters as DynamoDB items. Pure.

An item may be 400 KB, attribute names included (Constraints.html); here it stays below 400,000 bytes. The error texts of
a larger dead letter are truncated; if that is not enough, its message is stored whole in separate items, the parts.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from chaski_aws.dynamodb import keys
from chaski_aws.dynamodb.marks import died_item, mark_text, read_mark
from chaski_aws.dynamodb.table import TTL_ATTRIBUTE, Item, b, n, read_number, read_text, s
from chaski_core import json_codec
from chaski_core.dead_letter import DeadLetter
from chaski_core.message.identity import read_sequence_number
from chaski_core.ports import RETENTION_SECONDS
from chaski_core.redaction import read_redaction
from chaski_core.retry.ladder import ErrorNote, Reason, note_values, notes_of

MAX_ITEM_BYTES = 400_000
PART_BYTES = 380_000
_DAY_SECONDS = 86_400
_SENT_BEFORE_DAYS = RETENTION_SECONDS // _DAY_SECONDS + 1
_HOUR_MS = 3_600_000
_TARGETS_SHARDED = "sharded"  # entries of the index by target are not split by hours
_PARTS_EXTRA_SECONDS = 7 * _DAY_SECONDS  # DynamoDB deletes expired items within days, in any order
_NUMBER_BYTES = 21


@dataclass(frozen=True, slots=True)
class _Truncation:
    """Length limits of the descriptive texts, in characters."""

    detail: int
    excerpt: int
    notes: int | None = None  # number of newest notes kept, beside the first
    url: int | None = None  # the message keeps the whole URL


_LIGHT_TRUNCATIONS = (_Truncation(1_000, 200), _Truncation(250, 0))
_TRUNCATIONS = (*_LIGHT_TRUNCATIONS, _Truncation(40, 0, notes=100, url=2_000))


@dataclass(frozen=True, slots=True)
class DeadLetterItems:
    """The items of a dead letter. Hour and parts are written first, so that an existing dead letter is complete."""

    hour: Item  # records that the partition was written to
    parts: tuple[Item, ...]
    dead_letter: Item  # in one transaction with `died`
    died: Item  # one per identity


# ---- dead letters


def dead_letter_items(dead_letter: DeadLetter, retention_days: int) -> DeadLetterItems:
    """The items of a dead letter.

    A repeated put has another time, hence other keys; parts that an earlier try wrote expire.
    """
    key = keys.dead_letter_key(dead_letter.key)
    dead_letter = _in_utf8(dead_letter)
    expires_at = dead_letter.dead_lettered_at // 1000 + retention_days * _DAY_SECONDS
    head = _head(dead_letter, key, expires_at)
    envelope = None if dead_letter.envelope is None else json_codec.dumps(dead_letter.envelope)
    whole = head | _message(envelope, dead_letter.raw)
    for truncation in (None, *_LIGHT_TRUNCATIONS):
        item = whole | _texts(dead_letter, truncation)
        if item_bytes(item) < MAX_ITEM_BYTES:
            return DeadLetterItems(
                hour_item(key.pk, dead_letter.dead_lettered_at, retention_days),
                (),
                item,
                died_item(dead_letter, key, expires_at),
            )
    blob = (envelope or b"") + (dead_letter.raw or b"")
    digest = hashlib.sha256(blob).hexdigest()
    chunks = [blob[at : at + PART_BYTES] for at in range(0, len(blob), PART_BYTES)]
    parts_pk = keys.parts_pk(key.pk, key.sk, digest)
    parts = [
        {"pk": s(parts_pk), "sk": s(f"{number:06d}"), "part": b(chunk)}
        | {TTL_ATTRIBUTE: n(expires_at + _PARTS_EXTRA_SECONDS)}
        for number, chunk in enumerate(chunks)
    ]
    head |= {"partsDigest": s(digest)}
    if envelope is not None:
        head["envelopeBytes"] = n(len(envelope))
    if dead_letter.raw is not None:
        head["rawBytes"] = n(len(dead_letter.raw))
    candidates = (head | _texts(dead_letter, truncation) for truncation in (None, *_TRUNCATIONS))
    item = next(
        (item for item in candidates if item_bytes(item) < MAX_ITEM_BYTES), head | _texts(dead_letter, _TRUNCATIONS[-1])
    )
    return DeadLetterItems(
        hour_item(key.pk, dead_letter.dead_lettered_at, retention_days),
        tuple(parts),
        item,
        died_item(dead_letter, key, expires_at),
    )


def parts_of(item: Item) -> str | None:
    """Partition of the item's parts; None where the message is in the item itself."""
    if "partsDigest" not in item:
        return None
    return keys.parts_pk(item["pk"]["S"], item["sk"]["S"], item["partsDigest"]["S"])


def read_dead_letter(item: Item, parts: Sequence[Item] = ()) -> DeadLetter:
    """The dead letter of an item. Unknown fields are ignored.

    Args:
        item: the item.
        parts: the items of `parts_of`, in the order of their sort keys.
    """
    envelope, raw = _read_message(item, parts)
    reason, detail = _read_reason(read_text(item, "reason")), read_text(item, "detail")
    if reason is None:
        reason, detail = Reason.UNSENDABLE, f"reason {read_text(item, 'reason')}, of a newer release. {detail}".strip()
    if envelope is None and raw is None:
        detail = f"the message is no longer in the store. {detail}".strip()
    return DeadLetter(
        route=read_text(item, "route"),
        # Releases before identities wrote the producer's id only.
        message_id=read_text(item, "messageId") or read_text(item, "id"),
        id=read_text(item, "id"),
        subject=read_text(item, "subject"),
        dead_lettered_at=read_number(item, "deadLetteredAt"),
        reason=reason,
        error_class=read_text(item, "errorClass"),
        target=read_text(item, "target"),
        url=read_text(item, "url"),
        attempts=read_number(item, "attempts"),
        errors=read_notes(item),
        envelope=None if envelope is None else json_codec.loads(envelope),
        raw=raw,
        detail=detail,
        replay=read_mark(item),
        sequence_number=read_sequence_number(read_text(item, "sequenceNumber")),
        redaction=read_redaction(read_text(item, "redaction")),
    )


def is_dead_letter(item: Item) -> bool:
    """Whether an item of the index by id is a dead letter, not the attempt record of a hidden head."""
    return "deadLetteredAt" in item


def is_expired(item: Item, now_ms: int) -> bool:
    """Whether its retention is over. DynamoDB returns expired items for days."""
    return TTL_ATTRIBUTE in item and read_number(item, TTL_ATTRIBUTE) * 1000 <= now_ms


def item_bytes(item: Item) -> int:
    """Size of an item by DynamoDB's rules, rounded up.

    Rules: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
    """
    return sum(len(name) + _value_bytes(value) for name, value in item.items())


def _value_bytes(value: Mapping[str, Any]) -> int:
    ((kind, content),) = value.items()
    if kind == "N":
        return _NUMBER_BYTES
    return len(content.encode()) if kind == "S" else len(content) // 4 * 3


def _head(dead_letter: DeadLetter, key: keys.Key, expires_at: int) -> Item:
    return {
        "pk": s(key.pk),
        "sk": s(key.sk),
        "subjectKey": s(keys.token(dead_letter.subject)),
        "targetKey": s(keys.target_pk(dead_letter.target, keys.shard_of(dead_letter.subject))),
        "idKey": s(keys.token(dead_letter.id)),
        TTL_ATTRIBUTE: n(expires_at),
        "route": s(dead_letter.route),
        "messageId": s(dead_letter.message_id),
        "id": s(dead_letter.id),
        "subject": s(dead_letter.subject),
        "deadLetteredAt": n(dead_letter.dead_lettered_at),
        "reason": s(dead_letter.reason.value),
        "errorClass": s(dead_letter.error_class),
        "target": s(dead_letter.target),
        "attempts": n(dead_letter.attempts),
    } | _sequence_and_replays(dead_letter)


def _sequence_and_replays(dead_letter: DeadLetter) -> Item:
    item: Item = {} if dead_letter.replay is None else {"replay": s(mark_text(dead_letter.replay))}
    if dead_letter.redaction:
        item["redaction"] = s(dead_letter.redaction.as_text())
    if dead_letter.sequence_number is not None:
        item["sequenceNumber"] = s(
            str(dead_letter.sequence_number)
        )  # 128 bits: more digits than a DynamoDB number holds
    return item if dead_letter.replay_of is None else item | {"replayOf": s(dead_letter.replay_of)}


def _texts(dead_letter: DeadLetter, truncation: _Truncation | None) -> Item:
    url, detail = dead_letter.url, dead_letter.detail
    if truncation is not None:
        url, detail = url[: truncation.url], detail[: max(truncation.detail, 1_000)]
    return {"url": s(url), "detail": s(detail), "errors": s(notes_text(dead_letter.errors, truncation))}


def _message(envelope: bytes | None, raw: bytes | None) -> Item:
    item: Item = {}
    if envelope is not None:
        item["envelope"] = s(envelope.decode())
    if raw is not None:
        item["raw"] = b(raw)
    return item


def _read_message(item: Item, parts: Sequence[Item]) -> tuple[bytes | None, bytes | None]:
    if "partsDigest" not in item:
        envelope = item["envelope"]["S"].encode() if "envelope" in item else None
        return envelope, base64.b64decode(item["raw"]["B"]) if "raw" in item else None
    blob = b"".join(base64.b64decode(part["part"]["B"]) for part in parts)
    if hashlib.sha256(blob).hexdigest() != item["partsDigest"]["S"]:
        return None, None
    length = read_number(item, "envelopeBytes") if "envelopeBytes" in item else 0
    return blob[:length] if "envelopeBytes" in item else None, blob[length:] if "rawBytes" in item else None


def _read_reason(text: str) -> Reason | None:
    try:
        return Reason(text)
    except ValueError:
        return None


def hour_item(pk: str, moment_ms: int, retention_days: int) -> Item:
    """The item that records that a partition was written to. It expires with the last dead letter of its hour."""
    hour_ends = (moment_ms // _HOUR_MS + 1) * _HOUR_MS // 1000
    expires_at = hour_ends + retention_days * _DAY_SECONDS
    return {"pk": s(keys.HOURS_PK), "sk": s(pk), TTL_ATTRIBUTE: n(expires_at), "targets": s(_TARGETS_SHARDED)}


def has_target_by_hour(hour: Item) -> bool:
    """Whether entries of the index by target may be split by this hour: the release before has written to it."""
    return "targets" not in hour


def may_have_dead_letters(hour: Item, retention_days: int, now_ms: int) -> bool:
    """Whether dead letters of an hour may still be kept.

    The item of the release before lives for ten years. Then the route's retention decides, and by how much a message may be older
    than its dead letter: releases before identities recorded the hour in which it was sent.
    """
    if not has_target_by_hour(hour):
        return not is_expired(hour, now_ms)
    since = keys.hour_of(max(0, now_ms - (retention_days + _SENT_BEFORE_DAYS) * _DAY_SECONDS * 1000))
    return keys.hour_of_partition(read_text(hour, "sk")) >= since


def _in_utf8(dead_letter: DeadLetter) -> DeadLetter:
    # Texts from responses may contain lone surrogates (a header decoded leniently), which UTF-8 can't encode.
    notes = tuple(replace(note, detail=utf8(note.detail), excerpt=utf8(note.excerpt)) for note in dead_letter.errors)
    return replace(dead_letter, url=utf8(dead_letter.url), detail=utf8(dead_letter.detail), errors=notes)


def utf8(text: str) -> str:
    """The text with `?` for each character that UTF-8 can't encode."""
    return text.encode("utf-8", "replace").decode()


# ---- error notes


def notes_text(notes: Sequence[ErrorNote], truncation: _Truncation | None = None) -> str:
    """The errors as the value of an attribute, truncated if asked to."""
    if truncation is None:
        return json_codec.dumps(note_values(notes)).decode()
    newest = truncation.notes
    kept = notes if newest is None or len(notes) <= newest else (notes[0], *notes[-newest:])
    short = [
        replace(note, detail=note.detail[: truncation.detail], excerpt=note.excerpt[: truncation.excerpt])
        for note in kept
    ]
    return json_codec.dumps(note_values(short)).decode()


def read_notes(item: Item) -> tuple[ErrorNote, ...]:
    """The errors in an item's attribute `errors`."""
    return notes_of(json_codec.loads(read_text(item, "errors").encode()))
