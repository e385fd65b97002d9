"""What to do with a message before any attempt: a pure decision over what was received."""

from dataclasses import dataclass
from enum import StrEnum

from chaski_core.envelope import Envelope, Malformed, read_envelope
from chaski_core.ids import is_message_id
from chaski_core.ladder import LadderState, Reason
from chaski_core.ports import ReceivedMessage
from chaski_core.values import message_value


class Stage(StrEnum):
    """Which attempts a consumer makes: the value of the metric label `stage`."""

    FIRST = "first"  # from the route's own queues; in Strict the retries as well, because a head stays where it is
    RETRY = "retry"  # from rung queues


@message_value
class Deliverable:
    """A message to attempt."""

    id: str
    envelope: Envelope
    ladder: LadderState | None  # as the message carries it; None before its first error


@dataclass(frozen=True, slots=True)
class Unfit:
    """A message that goes to the dead letters unattempted."""

    id: str
    reason: Reason
    detail: str
    envelope: Envelope | None  # None if malformed
    ladder: LadderState | None = None


def triage(message: ReceivedMessage, stage: Stage, now_ms: int, expire_after_seconds: int) -> Deliverable | Unfit:
    """Judges one received message.

    Args:
        message: as received.
        stage: of the consumer that received it.
        now_ms: epoch milliseconds.
        expire_after_seconds: age from which a message is given up, because its queue is about to delete it.
    """
    envelope = read_envelope(message.body)
    if isinstance(envelope, Malformed):
        return Unfit(message.message_id, Reason.MALFORMED, envelope.reason, None)
    metadata = envelope.metadata
    given = metadata.id if metadata else None
    message_id = given if given and is_message_id(given) else message.message_id
    ladder = metadata.ladder if metadata and stage is Stage.RETRY else None
    if now_ms - message.sent_at > expire_after_seconds * 1000:
        days = expire_after_seconds / 86_400
        detail = f"older than {days:g} days, and its queue deletes it without a word after 14"
        return Unfit(message_id, Reason.EXPIRED, detail, envelope, ladder)
    if stage is Stage.RETRY and ladder is None:
        detail = "lay on a rung queue without saying how far it has climbed"
        return Unfit(message_id, Reason.NO_METADATA, detail, envelope)
    return Deliverable(message_id, envelope, ladder)
