"""A dead letter: a message whose ladder is exhausted, or that can't be delivered at all."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from chaski_core.message.envelope import metadata_of
from chaski_core.retry.ladder import ErrorNote, Reason
from chaski_core.retry.ladder_codec import note_json
from chaski_core.retry.outcome import class_of_key
from chaski_core.timestamps import timestamp


@dataclass(frozen=True, slots=True, order=True)
class DeadLetterKey:
    """What tells a dead letter from every other, and where it is stored."""

    dead_lettered_at: int  # epoch milliseconds
    message_id: str
    subject: str
    route: str


@dataclass(frozen=True, slots=True)
class ReplayMark:
    """Says that a dead letter was sent again, and that its queue has acknowledged it."""

    run: str  # the replay that did it
    epoch: int  # number of the replay: metadata.epoch of the message that was sent
    at: int  # epoch milliseconds
    message_id: str = ""  # identity of the message that was sent; "" where a release before identities sent it

    def as_json(self) -> dict[str, Any]:
        """`{run, epoch, at, messageId}`, the last only where it is known."""
        item = {"run": self.run, "epoch": self.epoch, "at": timestamp(self.at)}
        return item | {"messageId": self.message_id} if self.message_id else item


CLAIM_MS = 300_000  # how long a claim holds; as long as SQS knows the deduplication id of what its run sends


@dataclass(frozen=True, slots=True)
class ReplayClaim:
    """Says that a replay is about to send a dead letter again, so that no other one does at the same time."""

    run: str
    at: int  # epoch milliseconds


class Claimed(StrEnum):
    """Whether a replay may send a dead letter."""

    YES = "yes"
    HELD = "held"  # another run is about to send it
    SENT = "sent"  # another run has sent it since it was read
    DONE = "done"  # this very run has
    GONE = "gone"  # discarded, or its retention is over


def claimable(
    judged: ReplayMark | None, mark: ReplayMark | None, held: ReplayClaim | None, claim: ReplayClaim
) -> Claimed:
    """Whether a dead letter that is there can be claimed.

    Args:
        judged: its mark when the run decided to send it.
        mark: its mark now.
        held: the claim on it now.
        claim: the one to be made.
    """
    if mark != judged:
        return Claimed.DONE if mark is not None and mark.run == claim.run else Claimed.SENT
    if held is not None and held.run != claim.run and claim.at - held.at < CLAIM_MS:
        return Claimed.HELD
    return Claimed.YES


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One kept failure.

    `dead_lettered_at` is the wall clock of the put that kept it. A repeated put of the same message changes nothing: a
    store keeps one dead letter for each identity, so the time is stored once.
    """

    route: str  # namespace/name
    message_id: str  # identity of the message; the label where a release before identities kept it
    id: str  # the label; the identity where the message has none
    subject: str
    dead_lettered_at: int  # epoch milliseconds
    reason: Reason
    error_class: str  # most specific name of the first error: "404", "timeout"; "" where no attempt was made
    target: str  # name of the allow rule, or "none"
    url: str
    attempts: int
    errors: tuple[ErrorNote, ...]
    envelope: Mapping[str, Any] | None  # the whole document; None where the bytes were malformed
    raw: bytes | None = field(default=None, repr=False)  # the bytes as they lay on the queue, if malformed
    detail: str = ""  # what was malformed or refused, in words
    replay: ReplayMark | None = None  # the latest one; what became of it then is another story
    sequence_number: int | None = None  # that its first queue gave the message, where that is known

    @property
    def key(self) -> DeadLetterKey:
        """What tells it from every other."""
        return DeadLetterKey(self.dead_lettered_at, self.message_id, self.subject, self.route)

    @property
    def replay_of(self) -> str | None:
        """Of a replay that failed again: the identity of the message that was accepted."""
        metadata = metadata_of(self.envelope) if self.envelope else None
        return metadata.replay_of if metadata else None

    def as_json(self) -> dict[str, Any]:
        """The item as the command line and exports show it."""
        item: dict[str, Any] = {
            "messageId": self.message_id,
            "id": self.id,
            "subject": self.subject,
            "route": self.route,
            "target": self.target,
            "url": self.url,
            "class": self.error_class,
            "reason": self.reason.value,
            "deadLetteredAt": timestamp(self.dead_lettered_at),
            "attempts": self.attempts,
            "errors": [note_json(note) for note in self.errors],
            "envelope": self.envelope,
        }
        if self.detail:
            item["detail"] = self.detail
        if self.sequence_number is not None:
            item["sequenceNumber"] = str(self.sequence_number)
        if self.replay_of is not None:
            item["replayOf"] = self.replay_of
        if self.replay is not None:
            item["replay"] = self.replay.as_json()
        if self.raw is not None:
            item["raw"] = self.raw.decode("utf-8", "backslashreplace")
        return item


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which dead letters to read; every field left None does not restrict."""

    route: str | None = None
    since: int | None = None  # epoch milliseconds, inclusive
    until: int | None = None  # exclusive
    subject: str | None = None
    target: str | None = None
    error_class: str | None = None  # a class takes its statuses: `4xx` finds `404`
    text: str | None = None  # found anywhere in the envelope's JSON, case-insensitively
    replayed: bool | None = None  # True: only those that were sent again; False: only those that were not

    def keeps(self, letter: DeadLetter, document: str) -> bool:
        """Whether a dead letter passes; `document` is its envelope as text."""
        classes = {letter.error_class, class_of_key(letter.error_class)}
        return (
            (self.route is None or letter.route == self.route)
            and (self.since is None or letter.dead_lettered_at >= self.since)
            and (self.until is None or letter.dead_lettered_at < self.until)
            and (self.subject is None or letter.subject == self.subject)
            and (self.target is None or letter.target == self.target)
            and (self.error_class is None or self.error_class in classes)
            and (self.replayed is None or (letter.replay is not None) is self.replayed)
            and (self.text is None or self.text.casefold() in document.casefold())
        )
