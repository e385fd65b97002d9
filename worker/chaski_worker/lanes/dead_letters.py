"""Builds dead letters. Pure: `at_ms` is the wall clock of the put that is tried."""

from chaski_core.dead_letter import DeadLetter
from chaski_core.message.envelope import Envelope
from chaski_core.ports import ReceivedMessage
from chaski_core.retry.ladder import GiveUp, LadderState
from chaski_worker.delivery.triage import Deliverable, Undeliverable


def of_unfit(route: str, message: ReceivedMessage, unfit: Undeliverable, target: str, at_ms: int) -> DeadLetter:
    """The dead letter of a message that was not attempted."""
    ladder = unfit.ladder
    return DeadLetter(
        route=route,
        message_id=unfit.message_id,
        id=unfit.id,
        subject=unfit.envelope.subject if unfit.envelope else message.group_id,
        dead_lettered_at=at_ms,
        reason=unfit.reason,
        error_class=ladder.key if ladder else "",
        target=target,
        url=url_of(unfit.envelope),
        attempts=ladder.attempts if ladder else 0,
        errors=ladder.errors if ladder else (),
        envelope=unfit.envelope.document if unfit.envelope else None,
        raw=None if unfit.envelope else message.body,
        detail=unfit.detail,
        sequence_number=_sequence_number(message, unfit),
    )


def of_failure(route: str, task: Deliverable, decision: GiveUp, target: str, at_ms: int) -> DeadLetter:
    """The dead letter of a message whose ladder has ended."""
    state: LadderState = decision.state
    return DeadLetter(
        route=route,
        message_id=task.message_id,
        id=task.id,
        subject=task.envelope.subject,
        dead_lettered_at=at_ms,
        reason=decision.reason,
        error_class=state.key,
        target=target,
        url=url_of(task.envelope),
        attempts=state.attempts,
        errors=state.errors,
        envelope=task.envelope.document,
        detail=state.errors[-1].detail if state.errors else "",
        sequence_number=task.sequence_number or None,
    )


def _sequence_number(message: ReceivedMessage, unfit: Undeliverable) -> int | None:
    if message.message_id == unfit.message_id:
        return message.sequence_number
    metadata = unfit.envelope.metadata if unfit.envelope else None
    return metadata.sequence_number if metadata else None


def url_of(envelope: Envelope | None) -> str:
    """The URL that an envelope names, or "" where it names none."""
    url = envelope.body.get("url") if envelope else None
    return url if isinstance(url, str) else ""
