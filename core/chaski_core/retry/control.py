"""What people decided about waiting subjects: an attempt now, a dead letter instead of an attempt, or a hold. Pure.

A record about a message names its identity, and never applies to another one. A hold is about a subject: its messages wait, in
order, until the hold is released. A decision about the message at the head takes precedence over a hold, so that a held subject
can be tried out by one message.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class ControlAction(StrEnum):
    """What a record asks for."""

    RETRY_NOW = "retry-now"  # the next attempt of a message, before it is due
    SKIP = "skip"  # no attempt any more: a dead letter
    HOLD = "hold"  # no attempt of any message of the subject


@dataclass(frozen=True, slots=True)
class ControlRecord:
    """One decision about a subject of a route."""

    route: str  # namespace/name
    subject: str
    action: ControlAction
    at: int  # epoch milliseconds
    message_id: str = ""  # identity of the message that it means; "" for a hold
    #: Of the message when `retry-now` was decided: another attempt since then was the one meant. None: unknown.
    attempts: int | None = None

    def is_about(self, subject: str, message_id: str) -> bool:
        """Whether it means this message of this subject, or the subject as a whole."""
        return self.subject == subject and self.message_id in ("", message_id)

    def is_done(self, attempts: int) -> bool:
        """Whether a message with that number of attempts has had the attempt that was decided."""
        return self.action is ControlAction.RETRY_NOW and self.attempts is not None and attempts > self.attempts


@dataclass(frozen=True, slots=True)
class Controls:
    """The records of a route by what they mean: one for each message, and one for each held subject."""

    held: Mapping[str, ControlRecord]  # by subject
    by_message: Mapping[str, ControlRecord]  # by identity

    @classmethod
    def of(cls, records: Iterable[ControlRecord]) -> "Controls":
        """Sorts records."""
        held: dict[str, ControlRecord] = {}
        by_message: dict[str, ControlRecord] = {}
        for record in records:
            if record.action is ControlAction.HOLD:
                held[record.subject] = record
            else:
                by_message[record.message_id] = record
        return cls(held, by_message)

    def find(self, subject: str, message_id: str, attempts: int) -> ControlRecord | None:
        """What applies to a message that would be attempted now; None where nothing was decided.

        Args:
            subject: of the message.
            message_id: its identity.
            attempts: how often it was attempted.
        """
        record = self.by_message.get(message_id)
        if record is not None and record.is_about(subject, message_id) and not record.is_done(attempts):
            return record
        return self.held.get(subject)


NO_CONTROLS = Controls({}, {})
