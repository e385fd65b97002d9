"""A dead letter: a message that will not be attempted any more, stored whole unless its route says otherwise.

What is shown of it may be redacted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from chaski_core import json_codec
from chaski_core.message.envelope import metadata_of
from chaski_core.redaction import NOTHING, REDACTED, Redaction, redacted_body, without_echoes
from chaski_core.retry.ladder import ErrorNote, Reason, note_json
from chaski_core.retry.outcome import class_of_key
from chaski_core.timestamps import timestamp


@dataclass(frozen=True, slots=True, order=True)
class DeadLetterKey:
    """The unique key of a dead letter."""

    dead_lettered_at: int  # epoch milliseconds
    message_id: str
    subject: str
    route: str


@dataclass(frozen=True, slots=True)
class ReplayMark:
    """A dead letter was sent again, and its queue has acknowledged it."""

    run: str  # the replay that sent it
    epoch: int  # number of the replay: metadata.epoch of the message that was sent
    at: int  # epoch milliseconds
    message_id: str = ""  # identity of the message that was sent; "" if sent by a release before identities

    def as_json(self) -> dict[str, Any]:
        """`{run, epoch, at, messageId}`, the last only if known."""
        item = {"run": self.run, "epoch": self.epoch, "at": timestamp(self.at)}
        return item | {"messageId": self.message_id} if self.message_id else item


CLAIM_MS = (
    300_000  # how long a claim holds; as long as SQS remembers the deduplication id of the message that its run sends
)


@dataclass(frozen=True, slots=True)
class ReplayClaim:
    """A replay is about to send a dead letter again; no other replay may send it at the same time."""

    run: str
    at: int  # epoch milliseconds


class Claimed(StrEnum):
    """Whether a replay may send a dead letter."""

    YES = "yes"
    HELD = "held"  # another run is about to send it
    SENT = "sent"  # another run has sent it since it was read
    DONE = "done"  # the same run has sent it
    GONE = "gone"  # it does not exist: discarded, or its retention has ended


def claimable(
    judged: ReplayMark | None, mark: ReplayMark | None, held: ReplayClaim | None, claim: ReplayClaim
) -> Claimed:
    """Whether an existing dead letter can be claimed.

    Args:
        judged: its mark when the run decided to send it.
        mark: its mark now.
        held: the claim on it now.
        claim: the requested claim.
    """
    if mark != judged:
        return Claimed.DONE if mark is not None and mark.run == claim.run else Claimed.SENT
    if held is not None and held.run != claim.run and claim.at - held.at < CLAIM_MS:
        return Claimed.HELD
    return Claimed.YES


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter.

    `dead_lettered_at` is the wall clock of the put that stored it. A repeated put of the same message changes nothing: a
    store has one dead letter for each identity, so the time is stored once.
    """

    route: str  # namespace/name
    message_id: str  # identity of the message; the label if stored by a release before identities
    id: str  # the label; the identity if the message has none
    subject: str
    dead_lettered_at: int  # epoch milliseconds
    reason: Reason
    error_class: str  # most specific name of the first error: "404", "timeout"; "" where no attempt was made
    target: str  # name of the allow rule, or "none"
    url: str
    attempts: int
    errors: tuple[ErrorNote, ...]
    envelope: Mapping[str, Any] | None  # the whole document; None where the bytes were malformed
    raw: bytes | None = field(default=None, repr=False)  # the bytes of the queue's message, if malformed
    detail: str = ""  # what was malformed or refused, as a text
    replay: ReplayMark | None = None  # the latest replay; its outcome is not part of the dead letter
    sequence_number: int | None = None  # given by the first queue, if known
    redaction: Redaction = NOTHING  # of its route, when it was stored

    def shown(self) -> "DeadLetter":
        """The dead letter as it may be shown: the same if nothing is redacted. Only a replay uses the original."""
        if not self.redaction:
            return self
        envelope, raw, hidden = self.envelope, self.raw, list[str]()
        if raw is not None:
            raw = REDACTED.encode()  # pointers have no meaning in bytes that are not an envelope
        if envelope is not None:
            body = envelope.get("body")
            shown, hidden = redacted_body(body, self.redaction) if isinstance(body, dict) else (REDACTED, hidden)
            metadata = {"metadata": without_echoes(envelope["metadata"], hidden)} if "metadata" in envelope else {}
            envelope = {**envelope, "body": shown, **metadata}
        errors = tuple(
            replace(note, detail=without_echoes(note.detail, hidden), excerpt=without_echoes(note.excerpt, hidden))
            for note in self.errors
        )
        detail = without_echoes(self.detail, hidden) if self.raw is None else ""  # it may quote the bytes
        return replace(self, envelope=envelope, raw=raw, errors=errors, detail=detail, redaction=NOTHING)

    def to_store(self) -> "DeadLetter":
        """The dead letter as it is stored: the same, or without the parts that its route does not want stored.

        `redaction.stored` then says whether any part is missing: no replay sends such a message.
        """
        if not self.redaction.stored:
            return self
        shown = self.shown()
        is_whole = (shown.envelope, shown.raw) == (self.envelope, self.raw)
        return replace(shown, redaction=replace(self.redaction, stored=not is_whole))

    @property
    def key(self) -> DeadLetterKey:
        """Its unique key."""
        return DeadLetterKey(self.dead_lettered_at, self.message_id, self.subject, self.route)

    @property
    def replay_of(self) -> str | None:
        """The identity of the accepted message, if this is a replay that failed again."""
        metadata = metadata_of(self.envelope) if self.envelope else None
        return metadata.replay_of if metadata else None

    def document_text(self, *, indented: bool = False) -> str:
        """The message as text, redacted: its envelope as JSON, or where it has none the malformed bytes, leniently decoded."""
        shown = self.shown()
        if shown.envelope is not None:
            return json_codec.dumps(shown.envelope, indented=indented).decode()
        return (shown.raw or b"").decode("utf-8", "backslashreplace")

    def as_json(self) -> dict[str, Any]:
        """The dead letter as the command line and exports show it, redacted."""
        if self.redaction:
            return self.shown().as_json()
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
    """Selects dead letters; a field that is None does not restrict."""

    route: str | None = None
    since: int | None = None  # epoch milliseconds, inclusive
    until: int | None = None  # exclusive
    subject: str | None = None
    target: str | None = None
    error_class: str | None = None  # a class includes its statuses: `4xx` matches `404`
    text: str | None = None  # anywhere in the document's text as it is shown, case-insensitively
    replayed: bool | None = None  # True: only replayed ones; False: only those that were not replayed

    def matches(self, dead_letter: DeadLetter) -> bool:
        """Whether a dead letter fits every field."""
        classes = {dead_letter.error_class, class_of_key(dead_letter.error_class)}
        return (
            (self.route is None or dead_letter.route == self.route)
            and (self.since is None or dead_letter.dead_lettered_at >= self.since)
            and (self.until is None or dead_letter.dead_lettered_at < self.until)
            and (self.subject is None or dead_letter.subject == self.subject)
            and (self.target is None or dead_letter.target == self.target)
            and (self.error_class is None or self.error_class in classes)
            and (self.replayed is None or (dead_letter.replay is not None) is self.replayed)
            and (self.text is None or self.text.casefold() in dead_letter.document_text().casefold())
        )
