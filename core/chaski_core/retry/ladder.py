"""The retry ladder: a pure decision about where a message goes after an attempt, and the JSON form of its state.

The class of the FIRST error fixes the ladder. Retry number r (from 0) goes to `rungs[r // retries_per_rung]`, and a
message gets exactly `retries_per_rung * len(rungs)` retries. The ladder is that of the current route, so a message that
was in flight when the route changed follows the new ladder of its first error's class.

The JSON form is part of an envelope's metadata, of an attempt record, and, for each error, of a dead letter.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from chaski_core import json_codec
from chaski_core.retry.outcome import ErrorClass, Outcome
from chaski_core.retry.policy import Result, RetryPolicy, Rung
from chaski_core.timestamps import milliseconds, timestamp

_MAX_LADDER_BYTES = 12_288  # of the envelope's metadata; the rest is for ids, producer and fields of other releases
#: By which the wall clocks of two processes may differ: each is corrected by AWS's time once it is 5 s off.
_CLOCK_DIFFERENCE_MS = 10_000
_MAX_NOTES = 120  # errors listed; a route's ladder can't have more retries than this
_LONG_CHARACTERS = 1_000
_CUTS = ((_LONG_CHARACTERS, 80), (250, 20), (40, 0), (0, 0))  # characters: first and last error, each one listed
_TEXTS = ("detail", "excerpt")


@dataclass(frozen=True, slots=True)
class ErrorNote:
    """The record of one failed attempt."""

    key: str  # status or class
    at: int  # epoch milliseconds
    detail: str = ""
    excerpt: str = ""


@dataclass(frozen=True, slots=True)
class LadderState:
    """The progress of a message on its ladder. None before its first error."""

    key: str  # most specific name of the first error: fixes the ladder
    retries: int  # retries made so far
    errors: tuple[ErrorNote, ...]  # one for each failed attempt, oldest first

    @property
    def attempts(self) -> int:
        """Attempts made so far."""
        return self.retries + 1


class Reason(StrEnum):
    """Why a message is a dead letter."""

    EXHAUSTED = "exhausted"  # the ladder has no retry left
    SKIPPED = "skipped"  # people decided that it is not attempted any more
    DISCARDED = "discarded"  # the route discards messages with the status that the target answered
    NO_LADDER = "no-ladder"  # the route has no ladder for the class of the first error
    REFUSED = "refused"  # the route does not allow the target
    MALFORMED = "malformed"  # the bytes on the queue are not an envelope
    NO_METADATA = "no-metadata"  # was on a rung queue without a ladder state
    EXPIRED = "expired"  # about to be deleted by the queue's retention
    TOO_OLD = "too-old"  # older than the route's `delivery.maxAgeSeconds`
    UNSENDABLE = "unsendable"  # the next rung's queue refuses it permanently, for example because it is too large


_LADDER_ENDED = (Reason.EXHAUSTED, Reason.NO_LADDER)


@dataclass(frozen=True, slots=True)
class Delivered:
    """Delete the message."""


@dataclass(frozen=True, slots=True)
class Discarded:
    """Delete the message: the route keeps none for which the target answered this."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Attempt again on a rung."""

    rung: Rung
    number: int  # of the retry to come, from 0
    state: LadderState
    due_at: int  # epoch milliseconds, not earlier


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Store the message as a dead letter."""

    reason: Reason
    state: LadderState


@dataclass(frozen=True, slots=True)
class Hold:
    """No retry is left, and people decide what becomes of the message."""

    state: LadderState


Decision = Delivered | Discarded | Retry | GiveUp | Hold


def decide(
    policy: RetryPolicy,
    outcome: Outcome,
    before: LadderState | None,
    now_ms: int,
    *,
    subject: str = "",
    too_old_at_ms: int | None = None,
) -> Decision:
    """Where a message goes after an attempt.

    Args:
        policy: the current rungs and ladders of the route.
        outcome: the outcome of the attempt, as `RetryPolicy.judge` returns it.
        before: the state before this attempt; None if it was the first.
        now_ms: epoch milliseconds at the end of the attempt.
        subject: of the message, for the jitter of its delay.
        too_old_at_ms: epoch milliseconds from which the message may not be attempted any more. A message that would wait
            for its retry until then is given up at once; in Strict its subject would wait with it.
    """
    if outcome.delivered:
        return Delivered()
    if outcome.discarded:
        return Discarded()
    note = ErrorNote(outcome.key, now_ms, outcome.detail, outcome.excerpt)
    if before is None:
        state = LadderState(outcome.key, 0, (note,))
    else:
        state = replace(before, retries=before.retries + 1, errors=(*before.errors, note))
    ladder = policy.ladder_for(state.key)
    if ladder is None or state.retries >= ladder.retries or policy.result_of(outcome.key) is Result.DISCARD:
        reason = reason_to_give_up(policy, state)
        return Hold(state) if policy.hold_exhausted and reason in _LADDER_ENDED else GiveUp(reason, state)
    rung = policy.rung(ladder.rungs[state.retries // ladder.retries_per_rung])
    wait_seconds = max(rung.wait_seconds(subject), min(outcome.retry_after_seconds, policy.max_retry_after_seconds))
    due_at = now_ms + math.ceil(wait_seconds * 1000)
    if too_old_at_ms is not None and due_at > too_old_at_ms:
        return GiveUp(Reason.TOO_OLD, state)
    return Retry(rung, state.retries, state, due_at)


def remaining_wait_ms(due_at: int, state: LadderState | None, now_ms: int) -> int:
    """Milliseconds until a retry is due; 0 where it is.

    A wait that is longer than the one decided after the last error, by more than two clocks may differ, shows that the wall clock
    was set back since. The retry counts as due then, or its subject would be blocked for as long as the clock was moved; the
    queue has hidden the message for its delay already.

    Args:
        due_at: epoch milliseconds, as `decide` has set it.
        state: with the last error; None: unknown, so that no wait above the difference of clocks is believed.
        now_ms: epoch milliseconds.
    """
    decided = due_at - state.errors[-1].at if state and state.errors else 0
    wait_ms = max(0, due_at - now_ms)
    return wait_ms if wait_ms <= decided + _CLOCK_DIFFERENCE_MS else 0


def reason_to_give_up(policy: RetryPolicy, state: LadderState, max_age_seconds: int | None = None) -> Reason:
    """Why a message with this state is not attempted any more.

    Args:
        policy: the current rungs and ladders of the route.
        state: after the last attempt.
        max_age_seconds: of the route's messages. Without it a ladder with retries left was changed since the message ended.
    """
    if state.errors and policy.result_of(state.errors[-1].key) is Result.DISCARD:
        return Reason.DISCARDED
    ladder = policy.ladder_for(state.key)
    if ladder is None:
        return Reason.REFUSED if state.key == ErrorClass.REFUSED else Reason.NO_LADDER
    is_too_old = max_age_seconds is not None and state.retries < ladder.retries
    return Reason.TOO_OLD if is_too_old else Reason.EXHAUSTED


# ---- state <-> JSON


def ladder_json(state: LadderState, written: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A state as JSON: `{class, retries, firstError, lastError, errors}`.

    Texts are cut, or even dropped, until everything fits, so that metadata stays below `MAX_METADATA_BYTES`.

    Args:
        state: the state.
        written: the JSON of the state before; fields that this release does not know, also in its errors, are kept.
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
    """The state in a message or a record; None where it is missing or invalid."""
    if not isinstance(raw, dict):
        return None
    key, retries = raw.get("class"), raw.get("retries")
    if not isinstance(key, str) or not isinstance(retries, int) or isinstance(retries, bool) or retries < 0:
        return None
    return LadderState(key, retries, tuple(_read_notes(raw, retries)))


def note_json(note: ErrorNote) -> dict[str, Any]:
    """One error as in dead letters: `{class, at, detail, excerpt}`, the last two only if not empty."""
    return _note_json(note, _LONG_CHARACTERS, _LONG_CHARACTERS)


def note_values(notes: Sequence[ErrorNote]) -> list[list[object]]:
    """Notes as a store keeps them: `[key, at, detail, excerpt]` each."""
    return [[note.key, note.at, note.detail, note.excerpt] for note in notes]


def notes_of(values: Sequence[Sequence[Any]]) -> tuple[ErrorNote, ...]:
    """Notes from the result of `note_values`; values that a newer release has added to a note are ignored."""
    return tuple(ErrorNote(key, at, detail, excerpt) for key, at, detail, excerpt, *_ in values)


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
        values["detail"] = _encodable(note.detail[:detail_characters])
    if note.excerpt and excerpt_characters:
        values["excerpt"] = _encodable(note.excerpt[:excerpt_characters])
    return values


def _encodable(text: str) -> str:
    # A received text may contain lone surrogates (a header decoded leniently), which SQS does not accept.
    return text.encode("utf-8", "replace").decode()


def _read_note(raw: object) -> ErrorNote:
    if not isinstance(raw, dict):
        return ErrorNote("unknown", 0, str(raw))
    key, detail, excerpt = (value if isinstance(value, str) else "" for value in map(raw.get, ("class", *_TEXTS)))
    return ErrorNote(key or "unknown", milliseconds(raw.get("at")) or 0, detail, excerpt)
