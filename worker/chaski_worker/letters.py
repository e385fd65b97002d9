"""Builds dead letters: pure, with the time fixed by the message."""

from chaski_core.deadletter import DeadLetter
from chaski_core.envelope import Envelope
from chaski_core.ladder import GiveUp, LadderState
from chaski_core.ports import ReceivedMessage
from chaski_worker.triage import Deliverable, Unfit


def of_unfit(route: str, message: ReceivedMessage, unfit: Unfit, target: str) -> DeadLetter:
    """The dead letter of a message that was not attempted."""
    ladder = unfit.ladder
    return DeadLetter(
        route=route,
        id=unfit.id,
        subject=unfit.envelope.subject if unfit.envelope else message.group_id,
        dead_lettered_at=message.sent_at,
        reason=unfit.reason,
        error_class=ladder.key if ladder else "",
        target=target,
        url=url_of(unfit.envelope),
        attempts=ladder.attempts if ladder else 0,
        errors=ladder.errors if ladder else (),
        envelope=unfit.envelope.document if unfit.envelope else None,
        raw=None if unfit.envelope else message.body,
        detail=unfit.detail,
    )


def of_failure(route: str, task: Deliverable, decision: GiveUp, target: str, at_ms: int) -> DeadLetter:
    """The dead letter of a message whose ladder has ended.

    `at_ms`: in Relaxed the SentTimestamp of the SQS message, in Strict what its attempt record fixed.
    """
    state: LadderState = decision.state
    return DeadLetter(
        route=route,
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
    )


def url_of(envelope: Envelope | None) -> str:
    """The URL that an envelope names, or "" where it names none."""
    url = envelope.body.get("url") if envelope else None
    return url if isinstance(url, str) else ""
