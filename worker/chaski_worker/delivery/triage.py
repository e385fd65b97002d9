"""Decides whether a received message can be attempted: a pure function of the message, its stage and the time."""

from dataclasses import dataclass
from enum import StrEnum

from chaski_core.message.envelope import Envelope, Malformed, Metadata, read_envelope
from chaski_core.message.identity import is_label
from chaski_core.ports import ReceivedMessage
from chaski_core.retry.ladder import LadderState, Reason
from chaski_core.timestamps import timestamp
from chaski_core.values import message_value


class Stage(StrEnum):
    """The attempts that a consumer makes; the value of the metric label `stage`."""

    FIRST = "first"  # from the route's own queues; in Strict the retries as well, because a head stays in its queue
    RETRY = "retry"  # from rung queues


_RETRY = Stage.RETRY  # Python 3.11 finds a member by a call of its metaclass


@message_value
class Deliverable:
    """A message to attempt."""

    message_id: str  # the identity
    envelope: Envelope
    ladder: LadderState | None  # from the message's metadata; None before its first error
    sequence_number: int = 0  # from its first queue
    queued_at: int = 0  # epoch milliseconds, by its first queue
    due_at: int | None = None  # epoch milliseconds; of a message on a rung that may not be attempted before
    generation: int = 0  # of its first queue; 0: unknown, since a release before put it on its rung

    @property
    def id(self) -> str:
        """The label; the identity where the message has none."""
        return label_of(self.envelope, self.message_id)


@dataclass(frozen=True, slots=True)
class Undeliverable:
    """A message that becomes a dead letter without an attempt."""

    message_id: str  # the identity
    reason: Reason
    detail: str
    envelope: Envelope | None  # None if malformed
    ladder: LadderState | None = None

    @property
    def id(self) -> str:
        """The label; the identity where the message has none."""
        return label_of(self.envelope, self.message_id) if self.envelope else self.message_id


def label_of(envelope: Envelope, message_id: str) -> str:
    """The `id` that a producer or ingest gave a message; its identity where it has none that is a valid label."""
    given = envelope.metadata.id if envelope.metadata else None
    return given if given and is_label(given) else message_id


def url_of(envelope: Envelope | None) -> str:
    """The URL in an envelope, or "" where it has none."""
    url = envelope.body.get("url") if envelope else None
    return url if isinstance(url, str) else ""


def identity_of(message: ReceivedMessage, metadata: Metadata | None, stage: Stage) -> tuple[str, int]:
    """The MessageId and SequenceNumber that a message's first queue gave it.

    On the route's own queues these are the queue's: metadata in a message there was not written by Chaski. On a rung they
    are in the metadata; a message that a release without identities put there has those of the rung's queue.
    """
    if stage is _RETRY and metadata is not None and metadata.message_id is not None:
        return metadata.message_id, metadata.sequence_number or 0
    return message.message_id, message.sequence_number


def queued_at(message: ReceivedMessage, metadata: Metadata | None, stage: Stage) -> int:
    """When a message's first queue accepted it, in epoch milliseconds.

    On a rung it is in the metadata. A message that a release without it put there has the time of its acceptance, or, if it
    is a replay, that of the rung's queue.
    """
    if stage is not _RETRY or metadata is None:
        return message.sent_at
    if metadata.queued_at is not None:
        return metadata.queued_at
    if metadata.accepted_at is not None and metadata.replay_of is None:
        return metadata.accepted_at
    return message.sent_at


@dataclass(frozen=True, slots=True)
class AgeLimits:
    """Ages in seconds from which a message is not attempted any more; None: no limit."""

    expiry: int | None = None  # in its present queue, which is about to delete it
    route: int | None = None  # since its first queue accepted it: `delivery.maxAgeSeconds`


def triage(
    message: ReceivedMessage, stage: Stage, now_ms: int, limits: AgeLimits, generation: int = 0
) -> Deliverable | Undeliverable:
    """Judges one received message.

    Args:
        message: as received.
        stage: of the consumer that received it.
        now_ms: epoch milliseconds.
        limits: on its age.
        generation: of the queue that it was received from, unless that is a rung's.
    """
    envelope = read_envelope(message.body)
    if isinstance(envelope, Malformed):
        return Undeliverable(message.message_id, Reason.MALFORMED, envelope.reason, None)
    metadata = envelope.metadata
    message_id, sequence_number = identity_of(message, metadata, stage)
    ladder = metadata.ladder if metadata and stage is _RETRY else None
    if limits.expiry is not None and now_ms - message.sent_at > limits.expiry * 1000:
        days = limits.expiry / 86_400
        detail = f"older than {days:g} days; SQS would silently delete it after 14"
        return Undeliverable(message_id, Reason.EXPIRED, detail, envelope, ladder)
    if stage is _RETRY and ladder is None:
        detail = "on a rung's queue without a ladder state in its metadata"
        return Undeliverable(message_id, Reason.NO_METADATA, detail, envelope)
    since = queued_at(message, metadata, stage)
    if limits.route is not None and now_ms - since > limits.route * 1000:
        detail = f"queued at {timestamp(since)}, more than delivery.maxAgeSeconds ({limits.route}) ago"
        return Undeliverable(message_id, Reason.TOO_OLD, detail, envelope, ladder)
    due_at = None
    if metadata and stage is _RETRY:
        due_at, generation = metadata.due_at, metadata.generation
    return Deliverable(message_id, envelope, ladder, sequence_number, since, due_at, generation)
