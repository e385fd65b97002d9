"""Which subjects wait, and what is known about the message at their head. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from chaski_core.ports import AttemptRecord
from chaski_core.retry.control import ControlRecord, Controls
from chaski_core.retry.ladder import note_json
from chaski_core.route.model import Route
from chaski_core.timestamps import timestamp


class Held(StrEnum):
    """Why a subject is held."""

    PERSON = "person"  # `chaski subjects hold`
    EXHAUSTED = "exhausted"  # its head's ladder has ended: `retry.onExhausted: Hold`


@dataclass(frozen=True, slots=True)
class Waiting:
    """One subject that waits."""

    route: str
    subject: str
    message_id: str | None  # identity of its head; None where no attempt of it failed, or it is on a rung
    record: AttemptRecord | None
    rung: str | None  # on which its head waits; None where its ladder has ended, or is another one now
    held: Held | None
    held_since: int | None  # epoch milliseconds
    decision: ControlRecord | None = None  # about its head, or about a message that is not known to be at a head

    @property
    def attempts(self) -> int | None:
        """How often its head was attempted; None: unknown."""
        return None if self.record is None else self.record.state.attempts

    @property
    def due_at(self) -> int | None:
        """When its head is attempted next, in epoch milliseconds; None: unknown, or not before people decide."""
        return None if self.record is None or self.held is not None else self.record.due_at

    def as_json(self) -> dict[str, Any]:
        """As `chaski subjects list --output json` shows it; what is unknown is null."""
        errors = self.record.state.errors if self.record is not None else ()
        return {
            "route": self.route,
            "subject": self.subject,
            "messageId": self.message_id,
            "attempts": self.attempts,
            "rung": self.rung,
            "due": None if self.due_at is None else timestamp(self.due_at),
            "held": None if self.held is None else self.held.value,
            "heldSince": None if self.held_since is None else timestamp(self.held_since),
            "lastError": note_json(errors[-1]) if errors else None,
            "decision": None if self.decision is None else self.decision.action.value,
        }


def waiting_subjects(
    route: Route, heads: Iterable[tuple[str, AttemptRecord]], records: Iterable[ControlRecord]
) -> list[Waiting]:
    """The waiting subjects of a route, by subject.

    Args:
        route: the route.
        heads: MessageId and attempt record of each hidden head.
        records: what people decided.
    """
    controls = Controls.of(records)
    found = [_of_head(route, message_id, record, controls) for message_id, record in heads]
    shown = {each.message_id for each in found}
    subjects = {each.subject for each in found}
    for message_id, decision in controls.by_message.items():
        if message_id not in shown:
            found.append(_unknown(route, decision.subject, controls, message_id, decision))
            subjects.add(decision.subject)
    found += [_unknown(route, subject, controls) for subject in controls.held if subject not in subjects]
    return sorted(found, key=lambda each: (each.subject, each.message_id or ""))


def _of_head(route: Route, message_id: str, record: AttemptRecord, controls: Controls) -> Waiting:
    subject = "" if record.head is None else record.head.subject
    hold, decision = controls.held.get(subject), controls.by_message.get(message_id)
    held, since = (Held.EXHAUSTED, record.held_at) if record.held_at is not None else (None, None)
    if hold is not None:
        held, since = Held.PERSON, hold.at
    done = decision is None or decision.is_done(record.state.attempts)
    return Waiting(
        route.key, subject, message_id, record, _rung(route, record), held, since, None if done else decision
    )


def _unknown(
    route: Route,
    subject: str,
    controls: Controls,
    message_id: str | None = None,
    decision: ControlRecord | None = None,
) -> Waiting:
    hold = controls.held.get(subject)
    held, since = (None, None) if hold is None else (Held.PERSON, hold.at)
    return Waiting(route.key, subject, message_id, None, None, held, since, decision)


def _rung(route: Route, record: AttemptRecord) -> str | None:
    ladder = route.retry.ladder_for(record.state.key)
    if record.held_at is not None or ladder is None or record.state.retries >= ladder.retries:
        return None
    return ladder.rungs[record.state.retries // ladder.retries_per_rung]
