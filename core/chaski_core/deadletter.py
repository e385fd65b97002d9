"""A dead letter: a message whose ladder is exhausted, or that can't be delivered at all."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chaski_core.ladder import ErrorNote, Reason
from chaski_core.ladderjson import note_json
from chaski_core.outcome import class_of_key
from chaski_core.timestamps import timestamp


@dataclass(frozen=True, slots=True, order=True)
class LetterKey:
    """What tells a dead letter from every other."""

    dead_lettered_at: int  # epoch milliseconds
    id: str
    subject: str
    route: str


@dataclass(frozen=True, slots=True)
class ReplayMark:
    """Says that a dead letter was sent again, and that its queue has acknowledged it."""

    run: str  # the replay that did it
    epoch: int  # metadata.epoch of the message that was sent
    at: int  # epoch milliseconds

    def as_json(self) -> dict[str, Any]:
        """`{run, epoch, at}`."""
        return {"run": self.run, "epoch": self.epoch, "at": timestamp(self.at)}


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One kept failure.

    `dead_lettered_at` is fixed by the message (the SentTimestamp of the exhausted SQS message; in Strict the time
    written to the attempt record first), never the time of a repeated put, so a repeated put hits the same key.
    """

    route: str  # namespace/name
    id: str
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

    @property
    def key(self) -> LetterKey:
        """What tells it from every other."""
        return LetterKey(self.dead_lettered_at, self.id, self.subject, self.route)

    def as_json(self) -> dict[str, Any]:
        """The item as the command line and exports show it."""
        item: dict[str, Any] = {
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
