"""Dead letters and attempt records as DynamoDB items. Pure.

An item may be 400 KB, attribute names included (Constraints.html); here it stays below 400,000 bytes. A dead letter that
would be larger has the texts of its errors cut; if that is not enough, its message goes into items of its own, the
parts, and nothing of it is lost.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from chaski_aws.dynamodb import keys
from chaski_aws.dynamodb.marks import TTL_ATTRIBUTE, died_item, mark_text, read_mark
from chaski_aws.dynamodb.values import Item, b, n, read_number, read_text, s
from chaski_core import json_codec
from chaski_core.dead_letter import DeadLetter
from chaski_core.message.identity import read_sequence_number
from chaski_core.ports import RETENTION_SECONDS, AttemptRecord
from chaski_core.retry.ladder import ErrorNote, LadderState, Reason

MAX_ITEM_BYTES = 400_000
PART_BYTES = 380_000
SUBJECT_INDEX, TARGET_INDEX, ID_INDEX = "by-subject", "by-target", "by-id"
INDEX_KEYS: Mapping[str, str] = {SUBJECT_INDEX: "subjectKey", TARGET_INDEX: "targetKey", ID_INDEX: "idKey"}
PROJECTED = ("errorClass", TTL_ATTRIBUTE)  # what an index holds beside keys: enough to leave out what can't pass
MAX_RETENTION_DAYS = 3_650  # of a ChaskiRoute
_DAY_SECONDS = 86_400
_RECORD_SECONDS = RETENTION_SECONDS + _DAY_SECONDS  # a record outlives its message by a day
_PARTS_OUTLIVE_SECONDS = 7 * _DAY_SECONDS  # DynamoDB deletes expired items within days, in any order
_NUMBER_BYTES = 21


@dataclass(frozen=True, slots=True)
class _Cut:
    """How much of the texts for people is kept."""

    detail: int  # characters
    excerpt: int
    notes: int | None = None  # the newest so many, and the first
    url: int | None = None  # the message has it whole


_LIGHT_CUTS = (_Cut(1_000, 200), _Cut(250, 0))
_EVERY_CUT = (*_LIGHT_CUTS, _Cut(40, 0, notes=100, url=2_000))


@dataclass(frozen=True, slots=True)
class StoredLetter:
    """What is written for a dead letter: hour and parts first, so that a letter that is there is found and whole."""

    hour: Item  # marks the partition as one that was written to
    parts: tuple[Item, ...]
    letter: Item  # in one transaction with `died`
    died: Item  # one for each identity


# ---- dead letters


def stored_letter(letter: DeadLetter, retention_days: int) -> StoredLetter:
    """The items of a dead letter.

    A put that is repeated has another time, so other keys: pieces that an earlier try wrote expire by themselves.
    """
    key = keys.letter_key(letter.key)
    letter = _carriable(letter)
    expires_at = letter.dead_lettered_at // 1000 + retention_days * _DAY_SECONDS
    head = _head(letter, key, expires_at)
    envelope = None if letter.envelope is None else json_codec.dumps(letter.envelope)
    whole = head | _message(envelope, letter.raw)
    for cut in (None, *_LIGHT_CUTS):
        item = whole | _for_people(letter, cut)
        if item_bytes(item) < MAX_ITEM_BYTES:
            return StoredLetter(_hour(key.pk, letter.dead_lettered_at), (), item, died_item(letter, key, expires_at))
    blob = (envelope or b"") + (letter.raw or b"")
    digest = hashlib.sha256(blob).hexdigest()
    pieces = [blob[at : at + PART_BYTES] for at in range(0, len(blob), PART_BYTES)]
    parts_pk = keys.parts_pk(key.pk, key.sk, digest)
    parts = [
        {"pk": s(parts_pk), "sk": s(f"{number:06d}"), "part": b(piece)}
        | {TTL_ATTRIBUTE: n(expires_at + _PARTS_OUTLIVE_SECONDS)}
        for number, piece in enumerate(pieces)
    ]
    apart = head | {"partsDigest": s(digest)}
    if envelope is not None:
        apart["envelopeBytes"] = n(len(envelope))
    if letter.raw is not None:
        apart["rawBytes"] = n(len(letter.raw))
    fitting = (apart | _for_people(letter, cut) for cut in (None, *_EVERY_CUT))
    item = next(
        (item for item in fitting if item_bytes(item) < MAX_ITEM_BYTES), apart | _for_people(letter, _EVERY_CUT[-1])
    )
    return StoredLetter(_hour(key.pk, letter.dead_lettered_at), tuple(parts), item, died_item(letter, key, expires_at))


def parts_of(item: Item) -> str | None:
    """Partition where the item's message lies, if not in the item itself."""
    if "partsDigest" not in item:
        return None
    return keys.parts_pk(item["pk"]["S"], item["sk"]["S"], item["partsDigest"]["S"])


def read_letter(item: Item, parts: Sequence[Item] = ()) -> DeadLetter:
    """The dead letter of an item. Fields that this release does not know are ignored.

    Args:
        item: the item.
        parts: the items of `parts_of`, in the order of their sort keys.
    """
    envelope, raw = _read_message(item, parts)
    reason, detail = _read_reason(read_text(item, "reason")), read_text(item, "detail")
    if reason is None:
        reason, detail = Reason.UNSENDABLE, f"reason {read_text(item, 'reason')}, of a newer release. {detail}".strip()
    if envelope is None and raw is None:
        detail = f"the message is not in the store any more. {detail}".strip()
    return DeadLetter(
        route=read_text(item, "route"),
        message_id=read_text(item, "messageId")
        or read_text(item, "id"),  # a release before identities wrote the id only
        id=read_text(item, "id"),
        subject=read_text(item, "subject"),
        dead_lettered_at=read_number(item, "deadLetteredAt"),
        reason=reason,
        error_class=read_text(item, "errorClass"),
        target=read_text(item, "target"),
        url=read_text(item, "url"),
        attempts=read_number(item, "attempts"),
        errors=_read_notes(item),
        envelope=None if envelope is None else json_codec.loads(envelope),
        raw=raw,
        detail=detail,
        replay=read_mark(item),
        sequence_number=read_sequence_number(read_text(item, "sequenceNumber")),
    )


def document_of(letter: DeadLetter) -> str:
    """The message as text, to look for texts in."""
    if letter.raw is not None:
        return letter.raw.decode("utf-8", "backslashreplace")
    return "" if letter.envelope is None else json_codec.dumps(letter.envelope).decode()


def is_expired(item: Item, now_ms: int) -> bool:
    """Whether its retention is over: DynamoDB still tells such items for days."""
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


def _head(letter: DeadLetter, key: keys.Key, expires_at: int) -> Item:
    return {
        "pk": s(key.pk),
        "sk": s(key.sk),
        "subjectKey": s(keys.token(letter.subject)),
        "targetKey": s(keys.target_pk(letter.target, key.pk)),
        "idKey": s(keys.token(letter.id)),
        TTL_ATTRIBUTE: n(expires_at),
        "route": s(letter.route),
        "messageId": s(letter.message_id),
        "id": s(letter.id),
        "subject": s(letter.subject),
        "deadLetteredAt": n(letter.dead_lettered_at),
        "reason": s(letter.reason.value),
        "errorClass": s(letter.error_class),
        "target": s(letter.target),
        "attempts": n(letter.attempts),
    } | _order_and_replays(letter)


def _order_and_replays(letter: DeadLetter) -> Item:
    item: Item = {} if letter.replay is None else {"replay": s(mark_text(letter.replay))}
    if letter.sequence_number is not None:
        item["sequenceNumber"] = s(str(letter.sequence_number))  # 128 bits: more digits than a number holds
    return item if letter.replay_of is None else item | {"replayOf": s(letter.replay_of)}


def _for_people(letter: DeadLetter, cut: _Cut | None) -> Item:
    url, detail = letter.url, letter.detail
    if cut is not None:
        url, detail = url[: cut.url], detail[: max(cut.detail, 1_000)]
    return {"url": s(url), "detail": s(detail), "errors": s(_notes(letter.errors, cut))}


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


def _hour(pk: str, moment_ms: int) -> Item:
    # Its time does not depend on the route's retention, which may change.
    expires_at = moment_ms // 1000 + (MAX_RETENTION_DAYS + 1) * _DAY_SECONDS
    return {"pk": s(keys.HOURS_PK), "sk": s(pk), TTL_ATTRIBUTE: n(expires_at)}


def _carriable(letter: DeadLetter) -> DeadLetter:
    # Texts of the world outside may hold lone surrogates (a header decoded leniently), which UTF-8 can't say.
    notes = tuple(replace(note, detail=_utf8(note.detail), excerpt=_utf8(note.excerpt)) for note in letter.errors)
    return replace(letter, url=_utf8(letter.url), detail=_utf8(letter.detail), errors=notes)


def _utf8(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


# ---- attempt records


def record_item(message_id: str, record: AttemptRecord, now_ms: int) -> Item:
    """The item of an attempt record."""
    item: Item = {
        "pk": s(keys.attempt_pk(message_id)),
        "sk": s(keys.ATTEMPT_SK),
        TTL_ATTRIBUTE: n(now_ms // 1000 + _RECORD_SECONDS),
        "key": s(record.state.key),
        "retries": n(record.state.retries),
        "dueAt": n(record.due_at),
        "receives": n(record.receives),
    }
    if record.exhausted_at is not None:
        item["exhaustedAt"] = n(record.exhausted_at)
    notes = [replace(note, detail=_utf8(note.detail), excerpt=_utf8(note.excerpt)) for note in record.state.errors]
    fitting = (item | {"errors": s(_notes(notes, cut))} for cut in (None, *_EVERY_CUT[:-1]))
    last = item | {"errors": s(_notes(notes, _EVERY_CUT[-1]))}
    return next((made for made in fitting if item_bytes(made) < MAX_ITEM_BYTES), last)


def read_record(item: Item) -> AttemptRecord:
    """The attempt record of an item."""
    state = LadderState(read_text(item, "key"), read_number(item, "retries"), _read_notes(item))
    exhausted_at = read_number(item, "exhaustedAt") if "exhaustedAt" in item else None
    return AttemptRecord(
        state, read_number(item, "dueAt"), exhausted_at, read_number(item, "receives") if "receives" in item else 0
    )


# ---- values


def _notes(notes: Sequence[ErrorNote], cut: _Cut | None) -> str:
    if cut is None:
        return json_codec.dumps([[note.key, note.at, note.detail, note.excerpt] for note in notes]).decode()
    kept = notes if cut.notes is None or len(notes) <= cut.notes else (notes[0], *notes[-cut.notes :])
    short = [[note.key, note.at, note.detail[: cut.detail], note.excerpt[: cut.excerpt]] for note in kept]
    return json_codec.dumps(short).decode()


def _read_notes(item: Item) -> tuple[ErrorNote, ...]:
    stored = json_codec.loads(read_text(item, "errors").encode())
    return tuple(ErrorNote(key, at, detail, excerpt) for key, at, detail, excerpt, *_ in stored)
