"""The retry ladder: a pure decision about where a message goes after an attempt.

The class of the FIRST error fixes the ladder. Retry number r (from 0) goes to `rungs[r // retries_per_rung]`, and a
message gets exactly `retries_per_rung * len(rungs)` retries. The ladder is looked up in the route of now, so a
message that was under way when the route changed follows the new ladder of its first error's class.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from chaski_core.retry.outcome import ErrorClass, Outcome, class_of_key


@dataclass(frozen=True, slots=True)
class Rung:
    """One delay step."""

    name: str
    delay_seconds: int


@dataclass(frozen=True, slots=True)
class Ladder:
    """For one error class: which rungs, and how many retries on each."""

    error_class: str  # a class, a status such as "404", or "any"
    retries_per_rung: int
    rungs: tuple[str, ...]

    @property
    def retries(self) -> int:
        """How many retries a message gets in all."""
        return self.retries_per_rung * len(self.rungs)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """A route's rungs and ladders."""

    rungs: tuple[Rung, ...]
    ladders: tuple[Ladder, ...]

    def rung(self, name: str) -> Rung:
        """The rung of that name. Raises KeyError where the route has none."""
        for rung in self.rungs:
            if rung.name == name:
                return rung
        raise KeyError(name)

    def ladder_for(self, key: str) -> Ladder | None:
        """The most specific ladder: status before class before `any`; `any` does not cover `refused`."""
        by_class: Mapping[str, Ladder] = {ladder.error_class: ladder for ladder in self.ladders}
        names = [key, class_of_key(key)]
        if key != ErrorClass.REFUSED:
            names.append("any")
        return next((by_class[name] for name in names if name in by_class), None)


@dataclass(frozen=True, slots=True)
class ErrorNote:
    """What one failed attempt leaves behind for people."""

    key: str  # status or class
    at: int  # epoch milliseconds
    detail: str = ""
    excerpt: str = ""


@dataclass(frozen=True, slots=True)
class LadderState:
    """How far a message has climbed. Absent (None) before its first error."""

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
    NO_LADDER = "no-ladder"  # the route has no ladder for the class of the first error
    REFUSED = "refused"  # the route does not allow the target
    MALFORMED = "malformed"  # the bytes on the queue are no envelope
    NO_METADATA = "no-metadata"  # lay on a rung queue without saying how far it has climbed
    EXPIRED = "expired"  # about to be deleted by the queue's retention
    UNSENDABLE = "unsendable"  # the next rung's queue refuses it for good, for example because it is too large


@dataclass(frozen=True, slots=True)
class Delivered:
    """Delete the message."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Attempt again after the rung's delay."""

    rung: Rung
    number: int  # of the retry to come, from 0
    state: LadderState


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Put the message to the dead letters."""

    reason: Reason
    state: LadderState


def decide(
    policy: RetryPolicy, outcome: Outcome, before: LadderState | None, now_ms: int
) -> Delivered | Retry | GiveUp:
    """Where a message goes after an attempt.

    Args:
        policy: the route's rungs and ladders as they are now.
        outcome: what the attempt came to.
        before: how far the message had climbed before this attempt; None if this was its first.
        now_ms: epoch milliseconds at the end of the attempt.
    """
    if outcome.delivered:
        return Delivered()
    note = ErrorNote(outcome.key, now_ms, outcome.detail, outcome.excerpt)
    if before is None:
        state = LadderState(outcome.key, 0, (note,))
    else:
        state = replace(before, retries=before.retries + 1, errors=(*before.errors, note))
    ladder = policy.ladder_for(state.key)
    if ladder is None:
        return GiveUp(Reason.REFUSED if state.key == ErrorClass.REFUSED else Reason.NO_LADDER, state)
    if state.retries >= ladder.retries:
        return GiveUp(Reason.EXHAUSTED, state)
    rung = policy.rung(ladder.rungs[state.retries // ladder.retries_per_rung])
    return Retry(rung, state.retries, state)
