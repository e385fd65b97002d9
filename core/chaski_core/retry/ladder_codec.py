"""A message's climb as JSON: in an envelope's metadata, in an attempt record, and each error in a dead letter."""

from collections.abc import Mapping, Sequence
from typing import Any

from chaski_core import json_codec
from chaski_core.retry.ladder import ErrorNote, LadderState
from chaski_core.timestamps import milliseconds, timestamp

_MAX_LADDER_BYTES = 12_288  # of the envelope's metadata; the rest is for ids, producer and what other releases write
_MAX_NOTES = 120  # errors listed; a route's ladder can hold no more retries than this
_LONG_CHARACTERS = 1_000
_CUTS = ((_LONG_CHARACTERS, 80), (250, 20), (40, 0), (0, 0))  # characters: first and last error, each one listed
_TEXTS = ("detail", "excerpt")


def ladder_json(state: LadderState, written: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A message's climb as it lies on the queue: `{class, retries, firstError, lastError, errors}`.

    Texts are cut, and in the extreme dropped, until it all fits, so that metadata stays below `MAX_METADATA_BYTES`.

    Args:
        state: the climb.
        written: the JSON that it continues; what this release does not know in it, or in its errors, is kept.
    """
    kept = written or {}
    before = read_ladder(kept)
    known = before.errors if before else ()
    if state.errors[: len(known)] != known:
        known = ()
    listed = _listed(kept, known, state.errors)
    first = kept.get("firstError") if known else None
    last = kept.get("lastError") if known and len(known) == len(state.errors) else None
    ladder: dict[str, Any] = {}
    for long, short in _CUTS:
        ladder = {**kept, "class": state.key, "retries": state.retries}
        if state.errors:
            pairs = list(zip(state.errors, listed, strict=True))[-_MAX_NOTES:]
            ladder["errors"] = [_note_json(note, short, 0, old) for note, old in pairs]
            ladder["firstError"] = _note_json(state.errors[0], long, long, first)
            ladder["lastError"] = _note_json(state.errors[-1], long, long, last)
        if len(json_codec.dumps(ladder)) <= _MAX_LADDER_BYTES:
            break
    return ladder


def read_ladder(raw: object) -> LadderState | None:
    """A message's climb as read from a queue or a record; None where there is none that can be understood."""
    if not isinstance(raw, dict):
        return None
    key, retries = raw.get("class"), raw.get("retries")
    if not isinstance(key, str) or not isinstance(retries, int) or isinstance(retries, bool) or retries < 0:
        return None
    return LadderState(key, retries, tuple(_read_notes(raw, retries)))


def note_json(note: ErrorNote) -> dict[str, Any]:
    """One error as dead letters show it: `{class, at, detail, excerpt}`, the last two only where there is something."""
    return _note_json(note, _LONG_CHARACTERS, _LONG_CHARACTERS)


def _listed(kept: Mapping[str, Any], known: Sequence[ErrorNote], errors: Sequence[ErrorNote]) -> list[object]:
    # For each error, the JSON in `kept` that it was read from. The newest notes of `known` are the ones listed.
    listed = kept.get("errors")
    olds: list[object] = listed[-len(known) :] if known and isinstance(listed, list) else []
    missing = len(known) - len(olds)
    return [None] * missing + olds + [None] * (len(errors) - len(known))


def _read_notes(raw: Mapping[str, Any], retries: int) -> list[ErrorNote]:
    listed = raw.get("errors")
    notes = [_read_note(note) for note in listed] if isinstance(listed, list) else []
    first, last = (None if raw.get(name) is None else _read_note(raw[name]) for name in ("firstError", "lastError"))
    if not notes:
        ends = [first] if retries == 0 and first else [first, last]
        return [note for note in ends if note]
    if last:
        notes[-1] = last
    if first and len(notes) > retries:
        notes[0] = first
    elif first and (first.key, first.at) != (notes[0].key, notes[0].at):
        notes.insert(0, first)  # the list holds only the newest errors
    return notes


def _note_json(note: ErrorNote, detail_characters: int, excerpt_characters: int, old: object = None) -> dict[str, Any]:
    values: dict[str, Any] = {"class": note.key, "at": timestamp(note.at)}
    if isinstance(old, dict):
        values = {name: value for name, value in old.items() if not (name in _TEXTS and isinstance(value, str))}
    if note.detail and detail_characters:
        values["detail"] = _carriable(note.detail[:detail_characters])
    if note.excerpt and excerpt_characters:
        values["excerpt"] = _carriable(note.excerpt[:excerpt_characters])
    return values


def _carriable(text: str) -> str:
    # Texts of the world outside may hold lone surrogates (a header decoded leniently); those can't be put on a queue.
    return text.encode("utf-8", "replace").decode()


def _read_note(raw: object) -> ErrorNote:
    if not isinstance(raw, dict):
        return ErrorNote("unknown", 0, str(raw))
    key, detail, excerpt = (value if isinstance(value, str) else "" for value in map(raw.get, ("class", *_TEXTS)))
    return ErrorNote(key or "unknown", milliseconds(raw.get("at")) or 0, detail, excerpt)
