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

from chaski_aws.store import keys
from chaski_core import jsontext
from chaski_core.deadletter import DeadLetter, ReplayMark
from chaski_core.ladder import ErrorNote, LadderState, Reason
from chaski_core.ports import RETENTION_SECONDS, AttemptRecord

Item = dict[str, dict[str, Any]]  # attribute -> {"S" | "N" | "B": value}

MAX_ITEM_BYTES = 400_000
PART_BYTES = 380_000
TTL_ATTRIBUTE = "expiresAt"
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
    """What is written for a dead letter: parts first, so that a letter that is there is whole."""

    hour: Item  # marks the partition as one that was written to
    parts: tuple[Item, ...]
    letter: Item


# ---- dead letters


def stored_letter(letter: DeadLetter, retention_days: int) -> StoredLetter:
    """The items of a dead letter; the same ones for every repetition of a put."""
    key = keys.letter_key(letter.key)
    letter = _carriable(letter)
    expires_at = letter.dead_lettered_at // 1000 + retention_days * _DAY_SECONDS
    head = _head(letter, key, expires_at)
    envelope = None if letter.envelope is None else jsontext.dumps(letter.envelope)
    whole = head | _message(envelope, letter.raw)
    for cut in (None, *_LIGHT_CUTS):
        item = whole | _for_people(letter, cut)
        if item_bytes(item) < MAX_ITEM_BYTES:
            return StoredLetter(_hour(key.pk, letter.dead_lettered_at), (), item)
    blob = (envelope or b"") + (letter.raw or b"")
    digest = hashlib.sha256(blob).hexdigest()
    pieces = [blob[at : at + PART_BYTES] for at in range(0, len(blob), PART_BYTES)]
    parts_pk = keys.parts_pk(key.pk, key.sk, digest)
    parts = [
        {"pk": _s(parts_pk), "sk": _s(f"{number:06d}"), "part": _b(piece)}
        | {TTL_ATTRIBUTE: _n(expires_at + _PARTS_OUTLIVE_SECONDS)}
        for number, piece in enumerate(pieces)
    ]
    apart = head | {"partsDigest": _s(digest)}
    if envelope is not None:
        apart["envelopeBytes"] = _n(len(envelope))
    if letter.raw is not None:
        apart["rawBytes"] = _n(len(letter.raw))
    fitting = (apart | _for_people(letter, cut) for cut in (None, *_EVERY_CUT))
    item = next(
        (item for item in fitting if item_bytes(item) < MAX_ITEM_BYTES), apart | _for_people(letter, _EVERY_CUT[-1])
    )
    return StoredLetter(_hour(key.pk, letter.dead_lettered_at), tuple(parts), item)


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
    reason, detail = _read_reason(_text(item, "reason")), _text(item, "detail")
    if reason is None:
        reason, detail = Reason.UNSENDABLE, f"reason {_text(item, 'reason')}, of a newer release. {detail}".strip()
    if envelope is None and raw is None:
        detail = f"the message is not in the store any more. {detail}".strip()
    return DeadLetter(
        route=_text(item, "route"),
        id=_text(item, "id"),
        subject=_text(item, "subject"),
        dead_lettered_at=_number(item, "deadLetteredAt"),
        reason=reason,
        error_class=_text(item, "errorClass"),
        target=_text(item, "target"),
        url=_text(item, "url"),
        attempts=_number(item, "attempts"),
        errors=_read_notes(item),
        envelope=None if envelope is None else jsontext.loads(envelope),
        raw=raw,
        detail=detail,
        replay=_read_mark(item),
    )


def mark_text(mark: ReplayMark) -> str:
    """What stands in a dead letter's attribute `replay`."""
    return jsontext.dumps([mark.run, mark.epoch, mark.at]).decode()


def _read_mark(item: Item) -> ReplayMark | None:
    if "replay" not in item:
        return None
    run, epoch, at, *_ = jsontext.loads(_text(item, "replay").encode())
    return ReplayMark(str(run), int(epoch), int(at))


def document_of(letter: DeadLetter) -> str:
    """The message as text, to look for texts in."""
    if letter.raw is not None:
        return letter.raw.decode("utf-8", "backslashreplace")
    return "" if letter.envelope is None else jsontext.dumps(letter.envelope).decode()


def is_expired(item: Item, now_ms: int) -> bool:
    """Whether its retention is over: DynamoDB still tells such items for days."""
    return TTL_ATTRIBUTE in item and _number(item, TTL_ATTRIBUTE) * 1000 <= now_ms


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
        "pk": _s(key.pk),
        "sk": _s(key.sk),
        "subjectKey": _s(keys.token(letter.subject)),
        "targetKey": _s(keys.target_pk(letter.target, key.pk)),
        "idKey": _s(keys.token(letter.id)),
        TTL_ATTRIBUTE: _n(expires_at),
        "route": _s(letter.route),
        "id": _s(letter.id),
        "subject": _s(letter.subject),
        "deadLetteredAt": _n(letter.dead_lettered_at),
        "reason": _s(letter.reason.value),
        "errorClass": _s(letter.error_class),
        "target": _s(letter.target),
        "attempts": _n(letter.attempts),
    } | ({} if letter.replay is None else {"replay": _s(mark_text(letter.replay))})


def _for_people(letter: DeadLetter, cut: _Cut | None) -> Item:
    url, detail = letter.url, letter.detail
    if cut is not None:
        url, detail = url[: cut.url], detail[: max(cut.detail, 1_000)]
    return {"url": _s(url), "detail": _s(detail), "errors": _s(_notes(letter.errors, cut))}


def _message(envelope: bytes | None, raw: bytes | None) -> Item:
    item: Item = {}
    if envelope is not None:
        item["envelope"] = _s(envelope.decode())
    if raw is not None:
        item["raw"] = _b(raw)
    return item


def _read_message(item: Item, parts: Sequence[Item]) -> tuple[bytes | None, bytes | None]:
    if "partsDigest" not in item:
        envelope = item["envelope"]["S"].encode() if "envelope" in item else None
        return envelope, base64.b64decode(item["raw"]["B"]) if "raw" in item else None
    blob = b"".join(base64.b64decode(part["part"]["B"]) for part in parts)
    if hashlib.sha256(blob).hexdigest() != item["partsDigest"]["S"]:
        return None, None
    length = _number(item, "envelopeBytes") if "envelopeBytes" in item else 0
    return blob[:length] if "envelopeBytes" in item else None, blob[length:] if "rawBytes" in item else None


def _read_reason(text: str) -> Reason | None:
    try:
        return Reason(text)
    except ValueError:
        return None


def _hour(pk: str, moment_ms: int) -> Item:
    # Its time does not depend on the route's retention, which may change.
    expires_at = moment_ms // 1000 + (MAX_RETENTION_DAYS + 1) * _DAY_SECONDS
    return {"pk": _s(keys.HOURS_PK), "sk": _s(pk), TTL_ATTRIBUTE: _n(expires_at)}


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
        "pk": _s(keys.attempt_pk(message_id)),
        "sk": _s(keys.ATTEMPT_SK),
        TTL_ATTRIBUTE: _n(now_ms // 1000 + _RECORD_SECONDS),
        "key": _s(record.state.key),
        "retries": _n(record.state.retries),
        "dueAt": _n(record.due_at),
        "receives": _n(record.receives),
    }
    if record.exhausted_at is not None:
        item["exhaustedAt"] = _n(record.exhausted_at)
    notes = [replace(note, detail=_utf8(note.detail), excerpt=_utf8(note.excerpt)) for note in record.state.errors]
    fitting = (item | {"errors": _s(_notes(notes, cut))} for cut in (None, *_EVERY_CUT[:-1]))
    last = item | {"errors": _s(_notes(notes, _EVERY_CUT[-1]))}
    return next((made for made in fitting if item_bytes(made) < MAX_ITEM_BYTES), last)


def read_record(item: Item) -> AttemptRecord:
    """The attempt record of an item."""
    state = LadderState(_text(item, "key"), _number(item, "retries"), _read_notes(item))
    exhausted_at = _number(item, "exhaustedAt") if "exhaustedAt" in item else None
    return AttemptRecord(
        state, _number(item, "dueAt"), exhausted_at, _number(item, "receives") if "receives" in item else 0
    )


# ---- values


def _notes(notes: Sequence[ErrorNote], cut: _Cut | None) -> str:
    if cut is None:
        return jsontext.dumps([[note.key, note.at, note.detail, note.excerpt] for note in notes]).decode()
    kept = notes if cut.notes is None or len(notes) <= cut.notes else (notes[0], *notes[-cut.notes :])
    short = [[note.key, note.at, note.detail[: cut.detail], note.excerpt[: cut.excerpt]] for note in kept]
    return jsontext.dumps(short).decode()


def _read_notes(item: Item) -> tuple[ErrorNote, ...]:
    stored = jsontext.loads(_text(item, "errors").encode())
    return tuple(ErrorNote(key, at, detail, excerpt) for key, at, detail, excerpt, *_ in stored)


def _s(text: str) -> dict[str, str]:
    return {"S": text}


def _n(number: int) -> dict[str, str]:
    return {"N": str(number)}


def _b(data: bytes) -> dict[str, str]:
    return {"B": base64.b64encode(data).decode()}


def _text(item: Item, name: str) -> str:
    return str(item[name]["S"]) if name in item else ""


def _number(item: Item, name: str) -> int:
    return int(item[name]["N"])
