"""Judges a dead letter: what is sent for it, or why it is not. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from chaski_core.deadletter import DeadLetter, LetterKey
from chaski_core.envelope import Metadata, metadata_of, write_envelope
from chaski_core.ports import OutgoingMessage
from chaski_core.route.resolved import ResolvedRoute
from chaski_core.subject import deduplication_id, group_id

MAX_QUEUE_BYTES = 327_680  # MaximumMessageSize of every queue
REPLAY_FIELD = "replay"  # in metadata: the run that sent the message


class Skip(StrEnum):
    """Why a dead letter is not sent again."""

    MALFORMED = "malformed: its bytes are no message"
    NO_ROUTE = "its route is not here"
    NOT_ALLOWED = "no allow rule covers its URL now"
    REPLAYED = "sent again before, by another run"
    DONE = "sent by this run before"
    OWN = "came of this very run"
    TOO_LARGE = "too large for a queue with its new metadata"


@dataclass(frozen=True, slots=True)
class Run:
    """One replay, however often it is started anew."""

    id: str
    again: bool = False  # also what another run sent already
    to_url: str | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """What is sent for a dead letter, and what decides its turn."""

    key: LetterKey
    order: int  # epoch milliseconds: when it was accepted, as far as that is known
    url: str  # of the queue
    target: str  # URL that will be called
    epoch: int
    message: OutgoingMessage


Allowed = Callable[[str, str], bool]  # route, URL -> whether an allow rule covers it


def judge(letter: DeadLetter, run: Run, routes: Mapping[str, ResolvedRoute], allowed: Allowed) -> Ready | Skip:
    """What is to be done with a dead letter."""
    if letter.envelope is None:
        return Skip.MALFORMED
    before = _before(letter, run)
    if before is not None:
        return before
    resolved = routes.get(letter.route)
    if resolved is None:
        return Skip.NO_ROUTE
    document = _rewritten(letter.envelope, run)
    target = str(document["body"].get("url", ""))
    if not allowed(letter.route, target):
        return Skip.NOT_ALLOWED
    kept = metadata_of(letter.envelope) or Metadata()
    epoch = max(kept.epoch, letter.replay.epoch if letter.replay else 0) + 1
    metadata = replace(kept, id=letter.id, route=letter.route, epoch=epoch, ladder=None)
    body = write_envelope(document, metadata)
    if len(body) > MAX_QUEUE_BYTES:
        return Skip.TOO_LARGE
    message = OutgoingMessage(body, group_id(letter.subject), deduplication_id(letter.id, epoch, "first", 0))
    return Ready(letter.key, _order(letter, kept), resolved.place(letter.subject)[2], target, epoch, message)


def rewritten_url(url: str, to_url: str) -> str:
    """The URL of a message that is sent elsewhere: `to_url`, with the message's own path and query where it has none."""
    given = urlsplit(to_url)
    if given.path or given.query:
        return to_url
    own = urlsplit(url)
    return to_url + (own.path or "/") + (f"?{own.query}" if own.query else "")


def _before(letter: DeadLetter, run: Run) -> Skip | None:
    metadata = letter.envelope.get("metadata") if letter.envelope else None
    if isinstance(metadata, dict) and metadata.get(REPLAY_FIELD) == run.id:
        return Skip.OWN
    if letter.replay is None:
        return None
    if letter.replay.run == run.id:
        return Skip.DONE
    return None if run.again else Skip.REPLAYED


def _rewritten(envelope: Mapping[str, Any], run: Run) -> dict[str, Any]:
    metadata = envelope.get("metadata")
    document = {**envelope, "metadata": {**(metadata if isinstance(metadata, dict) else {}), REPLAY_FIELD: run.id}}
    if run.to_url is not None:
        body = document["body"]
        document["body"] = {**body, "url": rewritten_url(str(body.get("url", "")), run.to_url)}
    return document


def _order(letter: DeadLetter, metadata: Metadata) -> int:
    if metadata.accepted_at is not None:
        return metadata.accepted_at
    return min([letter.dead_lettered_at, *(note.at for note in letter.errors)])
